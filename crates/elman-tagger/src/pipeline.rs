use elman::{Error, Network, Tagger};

use crate::{Evaluation, Labels, Model, Scheme, TaggedSentence, Tagging, Vocabulary};

/// A model made ready by an implementation of the network: from words to tags.
///
/// ```
/// use elman_tagger::{Pipeline, TrainConfig, Trainer, travel};
///
/// # fn network() -> impl elman::Network<f32> { elman_reference::Reference::new() }
/// let (train, dev) = (travel::corpus(1, 60), travel::corpus(2, 20));
/// let config = TrainConfig { hidden: 16, embed: 10, epochs: 3, ..TrainConfig::default() };
/// let network = network(); // any implementation of elman::Network<f32>
/// let mut trainer = Trainer::new(&network, config, &train, &dev)?;
/// while !trainer.is_finished() {
///     trainer.run_epoch(&mut |_| {})?;
/// }
///
/// // Or Model::load("folder")
/// let mut pipeline = Pipeline::new(&trainer.into_model(), &network)?;
/// let tags = pipeline.tag(&["a", "train", "from", "lisbon", "to", "vienna"])?;
/// assert_eq!(tags.len(), 6);
/// println!("{}", pipeline.evaluate(&dev)?);
/// # Ok::<(), elman::Error>(())
/// ```
pub struct Pipeline {
    vocabulary: Vocabulary,
    labels: Labels,
    tagging: Tagging,
    forced: bool,
    tagger: Box<dyn Tagger>,
}

impl Pipeline {
    /// Prepares `network` for the parameters of `model`.
    ///
    /// # Errors
    /// The network's errors.
    pub fn new(model: &Model, network: &dyn Network<f32>) -> Result<Self, Error> {
        Ok(Pipeline {
            vocabulary: model.vocabulary().clone(),
            labels: model.labels().clone(),
            tagging: model.tagging(),
            forced: model.config().scheme.is_some(),
            tagger: network.tagger(model.params())?,
        })
    }

    /// The same, with tags that are scored by this scheme, whatever they look like.
    pub fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.tagging = self.tagging.with_scheme(scheme);
        self.forced = true;
        self
    }

    /// How the model's tags mark phrases.
    pub fn tagging(&self) -> Tagging {
        self.tagging
    }

    /// How the tags of a corpus mark phrases: as the model's if it has no others, or if the scheme was given;
    /// otherwise as they look.
    pub fn tagging_of(&self, corpus: &[TaggedSentence]) -> Tagging {
        let all_known =
            || corpus.iter().flat_map(TaggedSentence::tags).all(|tag| self.labels.id(tag).is_some());
        if self.forced || all_known() {
            self.tagging
        } else {
            Tagging::recognise(corpus.iter().map(TaggedSentence::tags))
        }
    }

    /// One tag for each word; none for none.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag(&mut self, words: &[impl AsRef<str>]) -> Result<Vec<&str>, Error> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids = Vec::with_capacity(words.len());
        self.tagger.label(&self.vocabulary.sentence(words)?, &mut ids)?;
        self.labels.tags_of(&ids)
    }

    /// The tags of many sentences, in their order: the same as one at a time, but some implementations are
    /// faster so. A sentence without words gets none.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag_all(&mut self, sentences: &[impl AsRef<[String]>]) -> Result<Vec<Vec<&str>>, Error> {
        let filled = sentences
            .iter()
            .filter(|words| !words.as_ref().is_empty())
            .map(|words| self.vocabulary.sentence(words.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut ids = self.tagger.label_all(&filled)?.into_iter();
        sentences
            .iter()
            .map(|words| match words.as_ref() {
                [] => Ok(Vec::new()),
                _ => self.labels.tags_of(&ids.next().unwrap_or_default()),
            })
            .collect()
    }

    /// Tags a corpus and compares with its own tags; phrases are those of the tags' schemes, as
    /// [`Evaluation::add_as`] says.
    ///
    /// # Errors
    /// The network's errors.
    pub fn evaluate(&mut self, corpus: &[TaggedSentence]) -> Result<Evaluation, Error> {
        let mut evaluation = Evaluation::default();
        let (tagging, own) = (self.tagging_of(corpus), self.tagging);
        let words: Vec<&[String]> = corpus.iter().map(TaggedSentence::words).collect();
        for (sentence, predicted) in corpus.iter().zip(self.tag_all(&words)?) {
            evaluation.add_as((sentence.tags(), &tagging), (&predicted, &own))?;
        }
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests {
    use elman_reference::Reference;

    use super::*;
    use crate::{Normalization, TrainConfig, Trainer, travel};

    #[test]
    fn one_at_a_time_or_all_together_and_normalised() {
        let (train, dev) = (travel::corpus(1, 120), travel::corpus(2, 30));
        let network = Reference::new();
        let normalization = Normalization { lowercase: true, digits: true };
        let config =
            TrainConfig { hidden: 20, embed: 12, epochs: 6, normalization, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let f1 = trainer.history().iter().map(|e| e.dev_f1).fold(0.0, f64::max);
        let mut pipeline = Pipeline::new(&trainer.into_model(), &network).unwrap();
        assert!(f1 > 0.0);
        assert_eq!(pipeline.evaluate(&dev).unwrap().total().f1(), f1);

        let mut sentences: Vec<Vec<String>> = dev.iter().map(|s| s.words().to_vec()).collect();
        sentences.insert(1, Vec::new());
        let together: Vec<Vec<String>> = pipeline
            .tag_all(&sentences)
            .unwrap()
            .into_iter()
            .map(|tags| tags.into_iter().map(str::to_owned).collect())
            .collect();
        for (words, tags) in sentences.iter().zip(&together) {
            assert_eq!(pipeline.tag(words).unwrap(), *tags);
            let upper: Vec<String> = words.iter().map(|w| w.to_uppercase()).collect();
            assert_eq!(pipeline.tag(&upper).unwrap(), *tags);
        }
    }
}
