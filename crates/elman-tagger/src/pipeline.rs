//! From words to tags: a model that an implementation of the network has prepared.

use std::sync::Arc;

use elman::ndarray::{ArrayView1, ArrayView2};
use elman::{Network, Sentences, Tagger};

use crate::forms::{Base, Text};
use crate::model::grows;
use crate::valid::label_all;
use crate::{Error, Evaluation, Labels, Model, Scheme, TaggedSentence, Tagging, ValidTags, Vocabulary};

/// A model made ready by an implementation of the network: from words to tags.
///
/// ```
/// use elman_tagger::{Pipeline, TrainConfig, Trainer, travel};
///
/// let (train, dev) = (travel::corpus(1, 60), travel::corpus(2, 20));
/// let config = TrainConfig { hidden: 16, embed: 10, epochs: 3, ..TrainConfig::default() };
/// let network = elman_reference::Reference::new(); // or any other implementation
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
/// # Ok::<(), elman_tagger::Error>(())
/// ```
pub struct Pipeline {
    vocabulary: Vocabulary,
    labels: Labels,
    tagging: Tagging,
    forced: bool,
    tagger: Words,
    /// Scores may overflow in a long sentence.
    grows: bool,
    valid: Option<ValidTags>,
    /// Memory for the next call.
    sentences: Sentences,
    ids: Vec<u32>,
}

/// A tagger of words or of their forms.
enum Words {
    /// The words of the vocabulary.
    Known(Box<dyn Tagger<f32>>),
    /// Forms: for each call a tagger of its words is made.
    Forms(Base),
}

impl Words {
    fn fork(&self) -> Self {
        match self {
            Words::Known(tagger) => Words::Known(tagger.fork()),
            Words::Forms(base) => {
                Words::Forms(Base { params: base.params.clone(), tagger: base.tagger.fork() })
            }
        }
    }
}

/// A tag with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored<'a> {
    /// The tag.
    pub tag: &'a str,
    /// Its probability, in [0, 1].
    pub score: f32,
}

impl Pipeline {
    /// Prepares `network` for the parameters of `model`.
    ///
    /// # Errors
    /// The network's errors.
    pub fn new(model: &Model, network: &dyn Network<f32>) -> Result<Self, Error> {
        let tagger = network.tagger(model.params())?;
        let valid = || ValidTags::new(model.labels(), model.tagging());
        Ok(Pipeline {
            vocabulary: model.vocabulary().clone(),
            labels: model.labels().clone(),
            tagging: model.tagging(),
            forced: model.config().scheme.is_some(),
            tagger: if model.vocabulary().features().is_none() {
                Words::Known(tagger)
            } else {
                Words::Forms(Base { params: Arc::new(model.params().clone()), tagger })
            },
            grows: grows(model.params().shape().cell),
            valid: model.config().valid_iob.then(valid),
            sentences: Sentences::new(),
            ids: Vec::new(),
        })
    }

    /// Another pipeline of the same model, for another thread. What the network has prepared is shared.
    pub fn fork(&self) -> Self {
        Pipeline {
            vocabulary: self.vocabulary.clone(),
            labels: self.labels.clone(),
            tagging: self.tagging,
            forced: self.forced,
            tagger: self.tagger.fork(),
            grows: self.grows,
            valid: self.valid.clone(),
            sentences: Sentences::new(),
            ids: Vec::new(),
        }
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

    /// One tag for each word; an empty sentence yields an empty list.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag(&mut self, words: &[impl AsRef<str>]) -> Result<Vec<&str>, Error> {
        let mut text = Text::default();
        let words = match self.tagger {
            Words::Known(_) => self.vocabulary.ids(words),
            Words::Forms(_) => text.ids(&self.vocabulary, words),
        };
        self.sentences.clear();
        if !words.is_empty() {
            self.sentences.push(&words, &[])?;
        }
        self.label(&text)?;
        self.labels.tags_of(&self.ids)
    }

    /// The ids of the tags of the sentences, whose words a text may have numbered.
    fn label(&mut self, text: &Text) -> Result<(), Error> {
        let (batch, valid, grows) = (self.sentences.batch(), self.valid.as_ref(), self.grows);
        self.ids.clear();
        self.ids.resize(batch.words().len(), 0);
        let ids = &mut self.ids[..];
        let mut label = |tagger: &mut dyn Tagger<f32>| {
            for sentence in batch.iter().filter(|_| grows) {
                check_finite(tagger.scores(sentence.words)?)?;
            }
            label_all(tagger, valid, batch, ids)
        };
        match &mut self.tagger {
            Words::Known(tagger) => label(tagger.as_mut()),
            Words::Forms(base) => label(text.tagger(base)?.as_mut()),
        }
    }

    /// The tags of many sentences, in their order: the same as one at a time, but faster with some implementations.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag_all(&mut self, sentences: &[impl AsRef<[String]>]) -> Result<Vec<Vec<&str>>, Error> {
        self.sentences.clear();
        let mut text = Text::default();
        for words in sentences.iter().map(AsRef::as_ref).filter(|words| !words.is_empty()) {
            let ids = match self.tagger {
                Words::Known(_) => self.vocabulary.ids(words),
                Words::Forms(_) => text.ids(&self.vocabulary, words),
            };
            self.sentences.push(&ids, &[])?;
        }
        self.label(&text)?;
        let mut rest = &self.ids[..];
        sentences
            .iter()
            .map(|words| {
                let (ids, after) = rest.split_at(words.as_ref().len());
                rest = after;
                self.labels.tags_of(ids)
            })
            .collect()
    }

    /// For each word the `count` most probable tags, the most probable first; of equally probable ones the first
    /// label comes first.
    ///
    /// The first is the tag that [`Pipeline::tag`] gives, unless two tags are so nearly equal that their
    /// probabilities round to the same number.
    ///
    /// # Errors
    /// The network's errors.
    pub fn best_tags(
        &mut self,
        words: &[impl AsRef<str>],
        count: usize,
    ) -> Result<Vec<Vec<Scored<'_>>>, Error> {
        Ok(self.scored(words, count, None)?.1)
    }

    /// One tag for each word and, from the same pass, [`Pipeline::best_tags`]. With `valid`, the tags are the most
    /// probable ones among the sequences that a scheme allows; a model that was trained so has its own.
    ///
    /// # Errors
    /// The network's errors.
    #[allow(clippy::type_complexity, reason = "tags, and beside each the best")]
    pub fn scored(
        &mut self,
        words: &[impl AsRef<str>],
        count: usize,
        valid: Option<&ValidTags>,
    ) -> Result<(Vec<&str>, Vec<Vec<Scored<'_>>>), Error> {
        if words.is_empty() {
            return Ok(Default::default());
        }
        let s = match &mut self.tagger {
            Words::Known(tagger) => tagger.scores(&self.vocabulary.ids(words))?.to_owned(),
            Words::Forms(base) => {
                let mut text = Text::default();
                let words = text.ids(&self.vocabulary, words);
                text.tagger(base)?.scores(&words)?.to_owned()
            }
        };
        check_finite(s.view())?;
        let ids = match valid.or(self.valid.as_ref()) {
            Some(valid) => valid.best(s.view()),
            None => s.rows().into_iter().map(|row| greatest(row, 1)[0].0).collect(),
        };
        let tags = self.labels.tags_of(&ids)?;
        let scored = |(id, score): (u32, f32)| self.labels.tag(id).map(|tag| Scored { tag, score });
        let ranked = |row| greatest(row, count).into_iter().filter_map(scored).collect();
        Ok((tags, s.rows().into_iter().filter(|_| count > 0).map(ranked).collect()))
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

/// The greatest of some scores with their ids, at most `count`, the greatest first; of equals the first.
fn greatest(row: ArrayView1<'_, f32>, count: usize) -> Vec<(u32, f32)> {
    let all = row.iter().zip(0..).map(|(score, id)| (id, *score));
    // A stable sort, as the insertion below, keeps the order of the ids among equals.
    if count > row.len() / 8 && count > 1 {
        let mut all: Vec<(u32, f32)> = all.collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        return all;
    }
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, score) in all {
        if best.len() < count || best.last().is_some_and(|last| score > last.1) {
            let place = best.iter().position(|other| score > other.1).unwrap_or(best.len());
            best.insert(place, (id, score));
            best.truncate(count);
        }
    }
    best
}

fn check_finite(s: ArrayView2<'_, f32>) -> Result<(), Error> {
    let odd = s.iter().find(|score| !score.is_finite());
    odd.map_or(Ok(()), |score| Err(Error::shape("score of a tag", "a finite number", score)))
}

#[cfg(test)]
mod tests {
    use elman::{Activation, Cell, Params};
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

    /// A state that doubles with each word is finite in a short sentence alone.
    #[test]
    fn scores_that_overflow_in_a_long_sentence_are_refused_with_or_without_being_asked_for() {
        let corpus = travel::corpus(1, 20);
        let network = Reference::new();
        let cell = Cell::Elman(Activation::Relu);
        let config = TrainConfig { hidden: 2, embed: 2, window: 1, cell, ..TrainConfig::default() };
        let model = Trainer::new(&network, config, &corpus, &corpus).unwrap().into_model();
        let mut params = Params::zeros(model.params().shape()).unwrap();
        params.wh_mut().diag_mut().fill(2.0);
        params.h0_mut().fill(1.0);
        params.w_mut().fill(1.0);
        let (vocabulary, labels) = (model.vocabulary().clone(), model.labels().clone());
        let model = Model::from_elsewhere(params, vocabulary, labels, "test").unwrap();
        let mut pipeline = Pipeline::new(&model, &network).unwrap();
        for (words, is_finite) in [(20, true), (300, false)] {
            let sentence = vec!["to".to_owned(); words];
            let results = [
                pipeline.tag(&sentence).map(drop),
                pipeline.tag_all(&[&sentence]).map(drop),
                pipeline.best_tags(&sentence, 1).map(drop),
            ];
            for result in results {
                let message = result.err().map(|error| error.to_string());
                assert_eq!(message.is_none(), is_finite, "{message:?}");
                assert!(message.is_none_or(|m| m.starts_with("score of a tag: expected a finite number")));
            }
        }
    }

    #[test]
    fn the_greatest_scores_are_those_of_a_stable_sort() {
        let scores: Vec<f32> = (0..97).map(|id| ((id * 37) % 11) as f32).collect();
        let row = ArrayView1::from(&scores[..]);
        let sorted = greatest(row, 97);
        assert!(sorted.windows(2).all(|w| w[0].1 > w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0)));
        for count in [1, 2, 5, 12, 13, 97, 500] {
            assert_eq!(greatest(row, count), sorted[..count.min(97)], "{count}");
        }
        assert!(greatest(row, 0).is_empty());
    }

    #[test]
    fn the_best_tags_are_sorted_and_begin_with_the_pipelines() {
        let (train, dev) = (travel::corpus(1, 80), travel::corpus(2, 20));
        let network = Reference::new();
        let config = TrainConfig { hidden: 12, embed: 8, epochs: 2, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        trainer.run_epoch(&mut |_| {}).unwrap();
        let model = trainer.into_model();
        let mut pipeline = Pipeline::new(&model, &network).unwrap();
        let mut fork = pipeline.fork();
        for sentence in &dev {
            let best = fork.best_tags(sentence.words(), 3).unwrap();
            let tags: Vec<&str> = best.iter().map(|word| word[0].tag).collect();
            assert_eq!(tags, pipeline.tag(sentence.words()).unwrap());
            assert!(best.iter().all(|word| word.len() == 3 && word.is_sorted_by(|a, b| a.score >= b.score)));
            let all = fork.best_tags(sentence.words(), usize::MAX).unwrap();
            for word in all {
                assert_eq!(word.len(), model.labels().size());
                assert!((word.iter().map(|s| s.score).sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
        assert!(pipeline.best_tags(&[""; 0], 3).unwrap().is_empty());
    }
}
