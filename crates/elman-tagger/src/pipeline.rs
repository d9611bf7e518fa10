//! From words to tags: a model that an implementation of the network has prepared.

use std::sync::Arc;

use elman::{Network, Params, Sentences, Tagger};
use serde::Serialize;

use crate::forms::{Base, Text};
use crate::model::grows;
use crate::sequences::best_sequences;
use crate::valid::{decoder, label_all};
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
    /// The parameters, if the head is a CRF.
    crf: Option<Arc<Params<f32>>>,
    /// With a softmax: the sequences that are allowed.
    valid: Option<ValidTags>,
    /// Memory for the next call.
    sentences: Sentences,
    ids: Vec<u32>,
    scores: Vec<f32>,
}

/// A tagger of words or of their forms.
enum Words {
    /// The words of the vocabulary.
    Known(Box<dyn Tagger<f32>>),
    /// Forms: for each call a tagger of its words is made.
    Forms(Base),
}

impl Words {
    /// Calls the tagger of a text.
    fn run(
        &mut self,
        text: &Text,
        call: impl FnOnce(&mut dyn Tagger<f32>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Words::Known(tagger) => call(tagger.as_mut()),
            Words::Forms(base) => call(text.tagger(base)?.as_mut()),
        }
    }

    fn fork(&self) -> Self {
        match self {
            Words::Known(tagger) => Words::Known(tagger.fork()),
            Words::Forms(base) => {
                Words::Forms(Base { params: base.params.clone(), tagger: base.tagger.fork() })
            }
        }
    }
}

/// The tags of a sentence and their probabilities; see [`Pipeline::scored_all`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scoring<'a> {
    /// One tag for each word, as [`Pipeline::tag`] gives it, with its own probability.
    pub tags: Vec<Scored<'a>>,
    /// For each word the most probable tags by themselves, the most probable first.
    pub best: Vec<Vec<Scored<'a>>>,
    /// Of a CRF: the most probable sequences, the most probable first.
    pub sequences: Vec<Sequence<'a>>,
}

/// The tags of a whole sentence with their probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sequence<'a> {
    /// A tag for each word.
    pub tags: Vec<&'a str>,
    /// The probability of all of them together, in [0, 1].
    pub score: f64,
}

/// A tag with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
        let params = || Arc::new(model.params().clone());
        let crf = model.params().crf().map(|_| params());
        let pipeline = Pipeline {
            vocabulary: model.vocabulary().clone(),
            labels: model.labels().clone(),
            tagging: model.tagging(),
            forced: model.config().scheme.is_some(),
            tagger: if model.vocabulary().features().is_none() {
                Words::Known(tagger)
            } else {
                Words::Forms(Base { params: crf.clone().unwrap_or_else(params), tagger })
            },
            grows: grows(model.params().shape().cell),
            crf,
            valid: None,
            sentences: Sentences::new(),
            ids: Vec::new(),
            scores: Vec::new(),
        };
        if model.config().valid_iob { pipeline.with_valid_tags() } else { Ok(pipeline) }
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
            crf: self.crf.clone(),
            valid: self.valid.clone(),
            sentences: Sentences::new(),
            ids: Vec::new(),
            scores: Vec::new(),
        }
    }

    /// The same, with tags that are scored by this scheme, whatever they look like.
    pub fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.tagging = self.tagging.with_scheme(scheme);
        self.forced = true;
        self
    }

    /// The same, with the most probable tags among the sequences that their scheme allows, as [`ValidTags`] finds them; a
    /// model that was trained so gives them anyway. The probabilities of a CRF are those among these sequences.
    ///
    /// # Errors
    /// The network's errors.
    pub fn with_valid_tags(mut self) -> Result<Self, Error> {
        let valid = ValidTags::new(&self.labels, self.tagging);
        let Some(params) = &self.crf else {
            self.valid = Some(valid);
            return Ok(self);
        };
        let params = Arc::new(decoder(params, Some(valid)).0.into_owned());
        self.tagger = match &self.tagger {
            Words::Known(tagger) => Words::Known(tagger.prepare(&params)?),
            Words::Forms(base) => {
                Words::Forms(Base { params: params.clone(), tagger: base.tagger.prepare(&params)? })
            }
        };
        self.crf = Some(params);
        Ok(self)
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
        let text = self.read([words])?;
        self.label(&text)?;
        self.labels.tags_of(&self.ids)
    }

    /// The tags of many sentences, in their order: the same as one at a time, but faster with some implementations.
    ///
    /// # Errors
    /// The network's errors.
    pub fn tag_all(&mut self, sentences: &[impl AsRef<[String]>]) -> Result<Vec<Vec<&str>>, Error> {
        self.label_all(sentences.iter().map(AsRef::as_ref))?;
        let mut rest = &self.ids[..];
        let tags = |words: &[String]| self.labels.tags_of(split(&mut rest, words.len()));
        sentences.iter().map(AsRef::as_ref).map(tags).collect()
    }

    /// The ids of the tags that [`Pipeline::tag_all`] gives, one sentence after the other: one for each word.
    ///
    /// # Errors
    /// The network's errors.
    pub fn label_all<'w, W: AsRef<str> + 'w>(
        &mut self,
        sentences: impl IntoIterator<Item = &'w [W]>,
    ) -> Result<&[u32], Error> {
        let text = self.read(sentences)?;
        self.label(&text)?;
        Ok(&self.ids)
    }

    /// For each word the `count` most probable tags, the most probable first; of equally probable ones the first
    /// label comes first.
    ///
    /// The first is the tag that [`Pipeline::tag`] gives, unless two tags are so nearly equal that their
    /// probabilities round to the same number, or the scheme does not allow it; or a CRF chose it with those of the other
    /// words.
    ///
    /// # Errors
    /// The network's errors.
    pub fn best_tags(
        &mut self,
        words: &[impl AsRef<str>],
        count: usize,
    ) -> Result<Vec<Vec<Scored<'_>>>, Error> {
        let text = self.read([words])?;
        self.score(&text)?;
        let rows = self.scores.chunks_exact(self.labels.size().max(1));
        Ok(rows.map(|row| scored(&self.labels, &greatest(row, count))).collect())
    }

    /// Of each sentence the tags with their probabilities and, from the same pass, [`Pipeline::best_tags`]; with a CRF also
    /// the `count` most probable sequences, at most [`MAX_SEQUENCES`](crate::MAX_SEQUENCES).
    ///
    /// # Errors
    /// The network's errors.
    pub fn scored_all(
        &mut self,
        sentences: &[impl AsRef<[String]>],
        count: usize,
    ) -> Result<Vec<Scoring<'_>>, Error> {
        let text = self.read(sentences.iter().map(AsRef::as_ref))?;
        self.score(&text)?;
        let mut sequences = Vec::new();
        if let Some(crf) = self.crf.as_ref().and_then(|params| params.crf()) {
            let batch = self.sentences.batch();
            self.ids.clear();
            self.ids.resize(batch.words().len(), 0);
            self.tagger.run(&text, |tagger| {
                tagger.label_all(batch, &mut self.ids)?;
                for sentence in batch.iter().filter(|_| count > 0) {
                    sequences.push(best_sequences(crf, tagger.emissions(sentence.words)?, count));
                }
                Ok(())
            })?;
        }
        let (classes, is_crf) = (self.labels.size(), self.crf.is_some());
        let (mut rest, mut ids_of_all, mut sequences) =
            (&self.scores[..], &self.ids[..], sequences.into_iter());
        let sequence =
            |(ids, score): (Vec<u32>, f64)| Ok(Sequence { tags: self.labels.tags_of(&ids)?, score });
        let of_sentence = |words: &[String]| {
            let scores = split(&mut rest, words.len() * classes);
            let rows = || scores.chunks_exact(classes.max(1));
            let ranked: Vec<Vec<(u32, f32)>> = rows().map(|row| greatest(row, count.max(1))).collect();
            let mut ids: Vec<u32> = if is_crf {
                split(&mut ids_of_all, words.len()).to_vec()
            } else {
                ranked.iter().map(|best| best[0].0).collect()
            };
            if let Some(valid) = self.valid.as_ref().filter(|valid| !valid.allows(&ids)) {
                ids = valid.best(scores);
            }
            let own: Vec<(u32, f32)> =
                ids.iter().zip(rows()).map(|(id, row)| (*id, row[*id as usize])).collect();
            let best = ranked.iter().map(|best| scored(&self.labels, &best[..count.min(best.len())]));
            let of_words = if words.is_empty() { None } else { sequences.next() };
            Ok(Scoring {
                tags: scored(&self.labels, &own),
                best: best.collect(),
                sequences: of_words.into_iter().flatten().map(sequence).collect::<Result<_, Error>>()?,
            })
        };
        sentences.iter().map(AsRef::as_ref).map(of_sentence).collect()
    }

    /// Takes sentences up as ids of words, those without words apart. The text numbers the words of a model of forms.
    fn read<'w, W: AsRef<str> + 'w>(
        &mut self,
        sentences: impl IntoIterator<Item = &'w [W]>,
    ) -> Result<Text, Error> {
        self.sentences.clear();
        let mut text = Text::default();
        for words in sentences.into_iter().filter(|words| !words.is_empty()) {
            let ids = match self.tagger {
                Words::Known(_) => self.vocabulary.ids(words),
                Words::Forms(_) => text.ids(&self.vocabulary, words),
            };
            self.sentences.push(&ids, &[])?;
        }
        Ok(text)
    }

    /// The ids of the tags of the sentences.
    fn label(&mut self, text: &Text) -> Result<(), Error> {
        if self.grows {
            self.score(text)?;
        }
        let (batch, valid) = (self.sentences.batch(), self.valid.as_ref());
        self.ids.clear();
        self.ids.resize(batch.words().len(), 0);
        self.tagger.run(text, |tagger| label_all(tagger, valid, batch, &mut self.ids))
    }

    /// The probabilities of the tags, `[words, labels]`.
    fn score(&mut self, text: &Text) -> Result<(), Error> {
        let batch = self.sentences.batch();
        self.scores.clear();
        self.scores.resize(batch.words().len() * self.labels.size(), 0.0);
        self.tagger.run(text, |tagger| Ok(tagger.score_all(batch, &mut self.scores)?))?;
        let odd = self.scores.iter().find(|score| !score.is_finite());
        odd.map_or(Ok(()), |score| Err(Error::shape("score of a tag", "a finite number", score)))
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
impl Pipeline {
    /// [`Pipeline::tag_all`], so that the pipeline is free for other calls.
    pub(crate) fn owned_tags(&mut self, sentences: &[impl AsRef<[String]>]) -> Vec<Vec<String>> {
        let all = self.tag_all(sentences).unwrap();
        all.into_iter().map(|tags| tags.into_iter().map(str::to_owned).collect()).collect()
    }
}

/// Takes the first `count` of a slice.
fn split<'s, T>(rest: &mut &'s [T], count: usize) -> &'s [T] {
    let (first, others) = rest.split_at(count);
    *rest = others;
    first
}

fn scored<'l>(labels: &'l Labels, best: &[(u32, f32)]) -> Vec<Scored<'l>> {
    best.iter().filter_map(|(id, score)| labels.tag(*id).map(|tag| Scored { tag, score: *score })).collect()
}

/// The greatest of some scores with their ids, at most `count`, the greatest first; of equals the first.
fn greatest(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let all = row.iter().zip(0..).map(|(score, id)| (id, *score));
    if count > row.len() / 8 && count > 1 {
        // A stable sort, as the insertion below, keeps the order of the ids among equals.
        let mut all: Vec<(u32, f32)> = all.collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        return all;
    }
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    // No greater score is left out.
    let mut least = if count == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
    for (id, score) in all {
        if score > least || best.len() < count {
            let place = best.iter().position(|other| score > other.1).unwrap_or(best.len());
            best.insert(place, (id, score));
            best.truncate(count);
            if best.len() == count {
                least = best[count - 1].1;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use elman::{Activation, Cell, Head};
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
        let together = pipeline.owned_tags(&sentences);
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

    /// Trained from the sentence as a whole: the tags are the first of the best sequences, alone and all together; their
    /// probabilities add up.
    #[test]
    fn a_crf_is_trained_and_gives_whole_sequences() {
        let (train, dev) = (travel::corpus(1, 120), travel::corpus(2, 30));
        let network = Reference::new();
        let features = crate::Features { affixes: 2, shape: true };
        for (valid_iob, features) in
            [(false, Default::default()), (true, Default::default()), (true, features)]
        {
            let config = TrainConfig {
                hidden: 12,
                embed: 8,
                epochs: 4,
                learning_rate: 0.3,
                head: Head::Crf,
                valid_iob,
                features,
                ..TrainConfig::default()
            };
            let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
            while !trainer.is_finished() {
                trainer.run_epoch(&mut |_| {}).unwrap();
            }
            let history = trainer.history().to_vec();
            assert!(history[3].loss < 0.8 * history[0].loss, "{history:?}");
            let model = trainer.into_model();
            let f1 = history.iter().map(|e| e.dev_f1).fold(0.0, f64::max);
            let mut pipeline = Pipeline::new(&model, &network).unwrap();
            assert_eq!(pipeline.evaluate(&dev).unwrap().total().f1(), f1);
            let words: Vec<_> = dev.iter().map(|s| s.words().to_vec()).collect();
            let together = pipeline.owned_tags(&words);
            let tagging = pipeline.tagging();
            let mut fork = pipeline.fork();
            for (words, tags) in words.iter().zip(&together) {
                assert_eq!(pipeline.tag(words).unwrap(), *tags);
                let scoring = fork.scored_all(&[words], 5).unwrap().remove(0);
                assert_eq!(scoring.sequences[0].tags, *tags);
                let sum: f64 = scoring.sequences.iter().map(|s| s.score).sum();
                assert!(sum <= 1.0 + 1e-9 && scoring.sequences.is_sorted_by(|a, b| a.score >= b.score));
                for (word, (own, tag)) in scoring.tags.iter().zip(tags).enumerate() {
                    assert_eq!(own.tag, tag);
                    // At least that of all sequences that have it.
                    let of_sequences = scoring.sequences.iter().filter(|s| s.tags[word] == *tag);
                    let least: f64 = of_sequences.map(|s| s.score).sum();
                    assert!(f64::from(own.score) > least - 1e-4 && own.score <= 1.0 + 1e-5);
                }
                if valid_iob {
                    assert!(scoring.sequences.iter().all(|s| tagging.faults(&s.tags, false).is_empty()));
                }
            }
            if !valid_iob {
                let mut valid = pipeline.with_valid_tags().unwrap();
                for words in &words {
                    let tags: Vec<String> =
                        valid.tag(words).unwrap().into_iter().map(str::to_owned).collect();
                    assert!(tagging.faults(&tags, false).is_empty());
                }
            }
        }
    }

    #[test]
    fn the_greatest_scores_are_those_of_a_stable_sort() {
        let scores: Vec<f32> = (0..97).map(|id| ((id * 37) % 11) as f32).collect();
        let row = &scores[..];
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
