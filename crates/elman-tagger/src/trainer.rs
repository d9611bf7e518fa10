//! Training, one epoch at a call.

use std::cmp::Ordering as CmpOrdering;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use elman::{Adam, Batch, Learner, Name, Network, Params, Recurrence, Sentences, Tagger, Update};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::by_word::{WordLearner, suffix};
use crate::checkpoint::{Memory, fingerprint, hex};
use crate::forms::{Dropout, FormLearner, Forms, Text};
use crate::limits::check_shape;
use crate::model::{overflow, weights};
use crate::random::below;
use crate::valid::{decoder, label_all};
use crate::{
    Checkpoint, Error, Evaluation, Labels, Model, Optimizer, Outcome, Recipe, Scheme, TaggedSentence,
    Tagging, TrainConfig, ValidTags, Vectors, Vocabulary,
};

/// One epoch of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: usize,
    /// The learning rate it was trained with.
    pub learning_rate: f64,
    /// The mean over the sentences of each sentence's loss just before the update it took part in, where the
    /// loss of a sentence is the mean over its words of `-ln s[t][label[t]]`, with a CRF `-ln` of the probability of its
    /// tags, divided by their number.
    pub loss: f64,
    /// Precision on the development corpus after the epoch, in percent.
    pub dev_precision: f64,
    /// Recall on the development corpus after the epoch, in percent.
    pub dev_recall: f64,
    /// F1 on the development corpus after the epoch, in percent.
    pub dev_f1: f64,
    /// Words of the development corpus whose tag is right after the epoch, in percent. (0 in the checkpoints of
    /// versions that did not write it.)
    #[serde(default)]
    pub dev_accuracy: f64,
    /// Whether this epoch is better than every one before, as [`Recipe`] says.
    pub best: bool,
    /// Seconds for the updates; the evaluation is not among them.
    pub seconds: f64,
    /// Words of the training corpus in each of those seconds.
    pub words_per_second: f64,
}

/// The number by which epochs are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// F1 of the phrases.
    #[default]
    F1,
    /// The share of words tagged right: for tags that form no phrases ([`Scheme::Plain`]), and for a development
    /// corpus that has no phrase.
    Accuracy,
}

impl Measure {
    /// The number of an epoch, in percent.
    pub fn of(self, record: &EpochRecord) -> f64 {
        match self {
            Measure::F1 => record.dev_f1,
            Measure::Accuracy => record.dev_accuracy,
        }
    }

    /// Whether an F1 and an accuracy are better (greater), worse, or the same: the accuracy decides between equal F1.
    fn compare(self, (f1, accuracy): (f64, f64), (best_f1, best_accuracy): (f64, f64)) -> CmpOrdering {
        let by_accuracy = accuracy.total_cmp(&best_accuracy);
        match self {
            Measure::F1 => f1.total_cmp(&best_f1).then(by_accuracy),
            Measure::Accuracy => by_accuracy,
        }
    }

    /// As [`Measure::compare`], of two epochs.
    pub(crate) fn compare_epochs(self, record: &EpochRecord, best: &EpochRecord) -> CmpOrdering {
        self.compare((record.dev_f1, record.dev_accuracy), (best.dev_f1, best.dev_accuracy))
    }
}

/// How far an epoch has come; see [`Trainer::run_epoch`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Sentences done in it.
    pub sentences: usize,
    /// Sentences in the training corpus.
    pub of: usize,
    /// Words done in it.
    pub words: usize,
    /// Mean loss of the sentences done.
    pub loss: f64,
}

/// An implementation of the network and of the recurrence alone, which word-by-word training needs.
pub trait Implementation: Network<f32> + Recurrence<f32> {}

impl<I: Network<f32> + Recurrence<f32>> Implementation for I {}

/// The updates of a training.
enum Mode<'a> {
    /// One for each batch of sentences.
    BySentence(Box<dyn Learner<f32>>, Update<f32>),
    /// One for each batch of sentences whose words are forms.
    Forms(Box<FormLearner<'a>>, Update<f32>),
    /// One for each word: [`TrainConfig::by_word`].
    ByWord(WordLearner<'a, f32>),
}

impl<'a> Mode<'a> {
    fn new(
        implementation: &'a dyn Implementation,
        config: &TrainConfig,
        forms: Option<&Arc<Forms>>,
        frozen: &HashSet<u32>,
        params: Params<f32>,
    ) -> Result<Self, Error> {
        let rate = config.learning_rate as f32;
        Ok(match config.by_word {
            None => {
                let update = match config.optimizer {
                    Optimizer::Sgd => Update::sgd(rate),
                    Optimizer::Adam => Update::Adam(Adam {
                        clip: config.clip.map(|clip| clip as f32),
                        weight_decay: config.weight_decay as f32,
                        normalise: config.normalise,
                        ..Adam::new(rate, params.shape())?
                    }),
                };
                match forms {
                    None => Mode::BySentence(implementation.learner(params)?, update),
                    Some(forms) => {
                        let dropout = Dropout { rate: config.dropout, seed: config.seed };
                        let learner =
                            FormLearner::new(implementation, forms.clone(), dropout, frozen.clone(), params)?;
                        Mode::Forms(Box::new(learner), update)
                    }
                }
            }
            Some(windows) => Mode::ByWord(WordLearner::new(implementation, windows, params)?),
        })
    }

    /// One update, of this number from 0.
    fn step(&mut self, batch: Batch<'_>, number: u64, learning_rate: f32) -> Result<f32, Error> {
        Ok(match self {
            Mode::BySentence(learner, update) => {
                update.set_learning_rate(learning_rate);
                learner.step(batch, update)?
            }
            Mode::Forms(learner, update) => {
                update.set_learning_rate(learning_rate);
                learner.step(batch, number, update)?
            }
            Mode::ByWord(learner) => learner.step(batch, learning_rate)?,
        })
    }

    fn params(&self) -> Params<f32> {
        match self {
            Mode::BySentence(learner, _) => learner.params(),
            Mode::Forms(learner, _) => learner.params().clone(),
            Mode::ByWord(learner) => learner.params().clone(),
        }
    }

    /// The memory of the updates, if their rule has one.
    fn memory(&self) -> Option<Memory> {
        match self {
            Mode::BySentence(_, Update::Adam(adam)) | Mode::Forms(_, Update::Adam(adam)) => {
                Some(Memory { steps: adam.steps, moments: adam.moments.clone() })
            }
            _ => None,
        }
    }

    /// Goes on with the memory of other updates of the same rule.
    fn remember(&mut self, memory: Option<Memory>) {
        let (Mode::BySentence(_, update) | Mode::Forms(_, update)) = self else { return };
        if let (Update::Adam(adam), Some(Memory { steps, moments })) = (update, memory) {
            (adam.steps, adam.moments) = (steps, moments);
        }
    }
}

/// Trains a tagger, one epoch at a call.
///
/// An update is made for each batch of sentences or, with [`TrainConfig::by_word`], for each word: from a run of the
/// recurrence over at most so many words, the last of which is this one, starting from h0; then each row of the
/// embeddings that was in a window is divided by its norm. That is the training of the code of Mesnil et al. (2013),
/// from which the Theano tutorial came.
///
/// The order of the sentences in epoch `e` depends on the seed and on `e` alone.
///
/// ```
/// use elman_tagger::{TrainConfig, Trainer, travel};
///
/// let (train, dev) = (travel::corpus(1, 60), travel::corpus(2, 20));
/// let config = TrainConfig { hidden: 20, embed: 10, epochs: 2, ..TrainConfig::default() };
/// let network = elman_reference::Reference::new(); // or any other implementation
/// let mut trainer = Trainer::new(&network, config, &train, &dev)?;
/// while !trainer.is_finished() {
///     let record = trainer.run_epoch(&mut |_progress| {})?;
///     println!("epoch {}: loss {:.3}, dev F1 {:.2}", record.epoch, record.loss, record.dev_f1);
/// }
/// assert!(trainer.history()[1].loss < trainer.history()[0].loss);
/// let model = trainer.into_model();
/// # Ok::<(), elman_tagger::Error>(())
/// ```
pub struct Trainer<'a> {
    implementation: &'a dyn Implementation,
    config: TrainConfig,
    vocabulary: Vocabulary,
    labels: Labels,
    train: Sentences,
    /// The words of the corpora, if words are trained as forms; `train` and `dev` then hold their numbers.
    train_forms: Option<Arc<Forms>>,
    dev_forms: Option<Forms>,
    /// The embeddings that stay as they are.
    frozen: HashSet<u32>,
    /// Memory for a batch.
    batch: Sentences,
    dev: Sentences,
    dev_tags: Vec<&'a [String]>,
    tagging: Tagging,
    measure: Measure,
    bits: Option<u32>,
    learner: Mode<'a>,
    rate: LearningRate,
    best: Best,
    history: Vec<EpochRecord>,
    /// The SHA-256 of the corpora.
    corpora: String,
    stop: Arc<AtomicBool>,
    between_epochs: bool,
}

/// The parameters of the best epoch so far: a copy that no later epoch changes.
struct Best {
    epoch: usize,
    f1: f64,
    accuracy: f64,
    params: Params<f32>,
}

/// The place of the first parameters.
#[derive(Clone, Copy)]
enum Start<'a> {
    Random,
    Model(&'a Model),
    Vectors(&'a Vectors),
}

impl<'a> Trainer<'a> {
    /// A training about to begin.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if a value of `config` has no meaning or a corpus is empty; the network's errors.
    pub fn new(
        implementation: &'a dyn Implementation,
        config: TrainConfig,
        train: &[TaggedSentence],
        dev: &'a [TaggedSentence],
    ) -> Result<Self, Error> {
        Trainer::begin(implementation, config, Start::Random, train, dev)
    }

    /// A training that starts from vectors of words, as wide as the embeddings: words that have one are known, however
    /// rare, and their embeddings start there.
    ///
    /// # Errors
    /// Those of [`Trainer::new`]; [`elman::Error::Shape`] if the vectors have another width.
    pub fn with_vectors(
        implementation: &'a dyn Implementation,
        config: TrainConfig,
        vectors: &Vectors,
        train: &[TaggedSentence],
        dev: &'a [TaggedSentence],
    ) -> Result<Self, Error> {
        Trainer::begin(implementation, config, Start::Vectors(vectors), train, dev)
    }

    /// A training that goes on from the parameters of a model, with its words, features and tags, on other corpora. The
    /// network and the normalisation are the model's, whatever `config` says.
    ///
    /// # Errors
    /// Those of [`Trainer::new`]; [`elman::Error::Shape`] if the training corpus has a tag that the model has not.
    pub fn from_model(
        implementation: &'a dyn Implementation,
        config: TrainConfig,
        model: &Model,
        train: &[TaggedSentence],
        dev: &'a [TaggedSentence],
    ) -> Result<Self, Error> {
        let of_model = model.config();
        let network = TrainConfig {
            feedback: of_model.feedback,
            cell: of_model.cell,
            layers: of_model.layers,
            bidirectional: of_model.bidirectional,
            head: of_model.head,
            hidden: of_model.hidden,
            embed: of_model.embed,
            window: of_model.window,
            features: of_model.features,
            normalization: of_model.normalization,
            from: Some(hex(&Sha256::digest(weights(model.params())?))),
            ..config
        };
        Trainer::begin(implementation, network, Start::Model(model), train, dev)
    }

    fn begin(
        implementation: &'a dyn Implementation,
        config: TrainConfig,
        start: Start<'_>,
        train: &[TaggedSentence],
        dev: &'a [TaggedSentence],
    ) -> Result<Self, Error> {
        let vectors = match start {
            Start::Vectors(vectors) => Some(vectors),
            _ => None,
        };
        let config = TrainConfig { vectors: vectors.map(Vectors::hash), ..config };
        config.check()?;
        if config.freeze_vectors && vectors.is_none() {
            return Err(Error::unsupported("freeze_vectors", "vectors", "none"));
        }
        for (what, corpus) in [("training corpus", train), ("development corpus", dev)] {
            if corpus.is_empty() {
                return Err(Error::shape(what, "at least 1 sentence", 0));
            }
        }
        let (vocabulary, labels) = match start {
            Start::Model(model) => (model.vocabulary().clone(), model.labels().clone()),
            _ => {
                let words = vectors.into_iter().flat_map(Vectors::words);
                let vocabulary = Vocabulary::new(train, config.normalization).with_words(words);
                (vocabulary.with_features(train, config.features), Labels::new(train))
            }
        };
        let shape = config.shape(vocabulary.size(), labels.size());
        check_shape(&shape)?;
        let mut params = match start {
            Start::Model(model) => model.params().clone(),
            _ => Params::init(shape, config.seed)?,
        };
        let mut frozen = HashSet::new();
        for (row, word) in vocabulary.words().enumerate().skip(1) {
            let Some(vector) = vectors.and_then(|vectors| vectors.get(word)) else { continue };
            if vector.len() != shape.embed {
                return Err(Error::shape("vectors", format!("{} numbers each", shape.embed), vector.len()));
            }
            params.emb_mut().row_mut(row).iter_mut().zip(vector).for_each(|(to, from)| *to = *from);
            if config.freeze_vectors {
                frozen.insert(row as u32);
            }
        }
        let corpora = fingerprint(train, dev);
        let [mut train_ids, mut dev_ids] = [Sentences::new(), Sentences::new()];
        let [mut train_text, mut dev_text] = [(); 2].map(|()| config.has_forms().then(Text::default));
        let ids = |text: &mut Option<Text>, sentence: &TaggedSentence| match text {
            Some(text) => text.ids(&vocabulary, sentence.words()),
            None => vocabulary.ids(sentence.words()),
        };
        for sentence in train {
            train_ids.push(&ids(&mut train_text, sentence), &labels.ids(sentence.tags())?)?;
        }
        for sentence in dev {
            dev_ids.push(&ids(&mut dev_text, sentence), &[])?;
        }
        let [train_forms, dev_forms] = [train_text, dev_text].map(|text| text.map(|text| text.forms));
        let train_forms = train_forms.map(Arc::new);
        let tagging = Tagging::recognise(train.iter().map(TaggedSentence::tags));
        let tagging = config.scheme.map_or(tagging, |scheme| tagging.with_scheme(scheme));
        let has_phrases = dev.iter().any(|sentence| !tagging.phrases(sentence.tags()).is_empty());
        let measure =
            if tagging.scheme() == Scheme::Plain || !has_phrases { Measure::Accuracy } else { Measure::F1 };
        Ok(Trainer {
            train: train_ids,
            batch: Sentences::new(),
            dev: dev_ids,
            dev_tags: dev.iter().map(TaggedSentence::tags).collect(),
            tagging,
            measure,
            bits: implementation.bits().filter(|_| config.follows_the_standard()),
            learner: Mode::new(implementation, &config, train_forms.as_ref(), &frozen, params.clone())?,
            train_forms,
            dev_forms,
            frozen,
            rate: LearningRate::new(&config),
            best: Best { epoch: 0, f1: f64::NEG_INFINITY, accuracy: f64::NEG_INFINITY, params },
            history: Vec::new(),
            implementation,
            config,
            vocabulary,
            labels,
            corpora,
            stop: Arc::default(),
            between_epochs: true,
        })
    }

    /// The training, about to begin, goes on after the last epoch of a checkpoint. With the same implementation of the
    /// network (or one of the same bits) it ends in the same bits as a training that was never interrupted.
    ///
    /// # Errors
    /// [`Error::Input`] if the corpora are not the same, or if the configuration differs in more than the number of
    /// epochs; the network's errors.
    pub fn resume(self, checkpoint: Checkpoint) -> Result<Self, Error> {
        let mut trainer = self;
        let shape = trainer.config.shape(trainer.vocabulary.size(), trainer.labels.size());
        checkpoint.check(&trainer.config, &trainer.corpora, trainer.measure, shape)?;
        for record in &checkpoint.history {
            if record.best {
                trainer.best.epoch = record.epoch;
                trainer.best.f1 = record.dev_f1;
                trainer.best.accuracy = record.dev_accuracy;
            }
            trainer.rate.halves_after(record.best, trainer.measure.of(record) > 0.0);
        }
        trainer.bits = trainer.bits.filter(|bits| checkpoint.bits == Some(*bits));
        trainer.best.params = checkpoint.best;
        let (forms, frozen) = (trainer.train_forms.as_ref(), &trainer.frozen);
        trainer.learner =
            Mode::new(trainer.implementation, &trainer.config, forms, frozen, checkpoint.current)?;
        trainer.learner.remember(checkpoint.memory);
        trainer.history = checkpoint.history;
        Ok(trainer)
    }

    /// The training as it is between two epochs; `None` before the first, and after an epoch that failed or was
    /// stopped in the middle.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        (self.between_epochs && !self.history.is_empty()).then(|| Checkpoint {
            path: Default::default(),
            config: self.config.clone(),
            corpora: self.corpora.clone(),
            measure: self.measure,
            bits: self.bits,
            history: self.history.clone(),
            current: self.learner.params(),
            memory: self.learner.memory(),
            best: self.best.params.clone(),
        })
    }

    /// Stops [`Trainer::run_epoch`] after the update during which `stop` becomes true.
    pub fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whether the last epoch is done, the learning rate was halved below [`Recipe::LAST_LEARNING_RATE`], or
    /// [`TrainConfig::patience`] is spent.
    pub fn is_finished(&self) -> bool {
        let (epochs, config) = (self.history.len(), &self.config);
        epochs >= config.epochs
            || config.recipe.halves()
                && self.rate.rate < Recipe::LAST_LEARNING_RATE
                && self.rate.rate < config.learning_rate
            || config.patience.is_some_and(|patience| epochs - self.best.epoch >= patience)
    }

    /// Trains one epoch, then evaluates on the development corpus. `progress` is called after every update.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a loss or a parameter is no longer finite; [`Error::Interrupted`] as
    /// [`Trainer::stop_when`] says; the network's errors. The best model so far is then still whole.
    pub fn run_epoch(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<&EpochRecord, Error> {
        let epoch = self.history.len() + 1;
        let learning_rate = self.rate.rate;
        // A browser without an operating system has no clock.
        let start = (!cfg!(target_arch = "wasm32")).then(Instant::now);
        let all = self.train.batch();
        let order = order(self.config.seed, epoch, all.len());
        self.between_epochs = false;
        let (mut done, mut words, mut sum) = (0, 0, 0.0);
        let updates = order.len().div_ceil(self.config.batch);
        for (update, chosen) in order.chunks(self.config.batch).enumerate() {
            let learning_rate = self.rate.of_update(self.history.len(), update, updates);
            let batch = match chosen {
                [one] => all.slice(*one..one + 1),
                _ => {
                    self.batch.clear();
                    for sentence in chosen.iter().map(|index| all.sentence(*index)) {
                        self.batch.push(sentence.words, sentence.labels)?;
                    }
                    self.batch.batch()
                }
            };
            let number = (self.history.len() * updates + update) as u64;
            let loss = f64::from(self.learner.step(batch, number, learning_rate as f32)?);
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch, sentence: done + 1, loss, learning_rate });
            }
            done += batch.len();
            words += batch.words().len();
            sum += loss * batch.len() as f64;
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted { epoch, sentences: done });
            }
            progress(Progress { epoch, sentences: done, of: order.len(), words, loss: sum / done as f64 });
        }
        let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());

        let params = self.learner.params();
        // The last updates of an epoch may have broken what no loss has seen yet.
        if let Some((_, _, value)) = not_finite(&params) {
            return Err(Error::Diverged { epoch, sentence: done, loss: f64::from(value), learning_rate });
        }
        // Nor has any loss seen the sentence whose scores would overflow; such a model is not read again.
        if overflow(&params).is_some() {
            return Err(Error::Diverged { epoch, sentence: done, loss: f64::INFINITY, learning_rate });
        }
        let evaluation = self.evaluate(&params)?;
        let (dev, accuracy) = (evaluation.total(), evaluation.accuracy());
        let gained = match self.measure.compare((dev.f1(), accuracy), (self.best.f1, self.best.accuracy)) {
            // The tutorial waits for a better F1. At an equal one above 0 with as many tags right, a smaller loss would
            // keep its last epochs going, whose learning rate is next to nothing.
            CmpOrdering::Equal => {
                let undecided = self.measure == Measure::Accuracy || dev.f1() == 0.0;
                undecided && self.dev_loss(&params)? < self.dev_loss(&self.best.params)?
            }
            order => order == CmpOrdering::Greater,
        };
        if gained {
            self.best = Best { epoch, f1: dev.f1(), accuracy, params };
        }
        let score = if self.measure == Measure::F1 { dev.f1() } else { accuracy };
        if self.rate.halves_after(gained, score > 0.0) && self.config.recipe == Recipe::Tutorial {
            let forms = self.train_forms.as_ref();
            let best = self.best.params.clone();
            self.learner = Mode::new(self.implementation, &self.config, forms, &self.frozen, best)?;
        }
        self.history.push(EpochRecord {
            epoch,
            learning_rate,
            loss: sum / done as f64,
            dev_precision: dev.precision(),
            dev_recall: dev.recall(),
            dev_f1: dev.f1(),
            dev_accuracy: accuracy,
            best: gained,
            seconds,
            words_per_second: words as f64 / seconds,
        });
        self.between_epochs = true;
        Ok(&self.history[epoch - 1])
    }

    fn evaluate(&self, params: &Params<f32>) -> Result<Evaluation, Error> {
        let mut evaluation = Evaluation::default();
        let dev = self.dev.batch();
        let mut predicted = vec![0; dev.words().len()];
        let valid = self.config.valid_iob.then(|| ValidTags::new(&self.labels, self.tagging));
        let (params, valid) = decoder(params, valid);
        label_all(self.dev_tagger(&params)?.as_mut(), valid.as_ref(), dev, &mut predicted)?;
        let mut rest = &predicted[..];
        for tags in &self.dev_tags {
            let (ids, after) = rest.split_at(tags.len());
            rest = after;
            let predicted = self.labels.tags_of(ids)?;
            evaluation.add_as((tags, &self.tagging), (&predicted, &self.tagging))?;
        }
        Ok(evaluation)
    }

    /// A tagger of the development corpus.
    fn dev_tagger(&self, params: &Params<f32>) -> Result<Box<dyn Tagger<f32>>, Error> {
        Ok(match &self.dev_forms {
            Some(forms) => self.implementation.tagger(&forms.compose(params)?)?,
            None => self.implementation.tagger(params)?,
        })
    }

    /// The mean over the words of the development corpus of `-ln s[t][label[t]]` (with a CRF of the marginals); words whose
    /// tag training lacks are not among them.
    fn dev_loss(&self, params: &Params<f32>) -> Result<f64, Error> {
        let (mut sum, mut words) = (0.0, 0);
        let mut tagger = self.dev_tagger(params)?;
        for (sentence, tags) in self.dev.batch().iter().zip(&self.dev_tags) {
            let s = tagger.scores(sentence.words)?;
            for (row, tag) in s.rows().into_iter().zip(*tags) {
                if let Some(id) = self.labels.id(tag) {
                    sum -= f64::from(row[id as usize].max(f32::MIN_POSITIVE)).ln();
                    words += 1;
                }
            }
        }
        Ok(sum / f64::from(words.max(1)))
    }

    /// What is trained, and how.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The words of the training corpus.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The tags of the training corpus.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// How the tags mark phrases: as the config says, or as was recognised in the training corpus.
    pub fn tagging(&self) -> Tagging {
        self.tagging
    }

    /// By which number epochs are compared.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// The epochs so far.
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// The model of the best epoch; before the first epoch, the untrained one.
    pub fn into_model(self) -> Model {
        let outcome = Outcome {
            epochs: self.history.len(),
            best_epoch: self.best.epoch,
            dev_f1: self.best.f1.max(0.0),
            dev_accuracy: self.best.accuracy.max(0.0),
            measure: self.measure,
            bits: self.bits,
            network: self.implementation.name() + &self.config.by_word.map(suffix).unwrap_or_default(),
        };
        Model::from_parts(self.config, self.vocabulary, self.labels, self.best.params, outcome)
    }
}

/// The learning rate and the number of epochs since the last gain (tutorial) or halving (standard).
pub(crate) struct LearningRate {
    recipe: Recipe,
    pub(crate) rate: f64,
    /// By how much the rate falls in an epoch.
    falls_by: f64,
    /// Updates until it is reached.
    warm_up: usize,
    waited: usize,
    /// Whether any epoch had a score above 0.
    begun: bool,
}

impl LearningRate {
    pub(crate) fn new(config: &TrainConfig) -> Self {
        let TrainConfig { recipe, learning_rate, epochs, warm_up, .. } = *config;
        let falls_by = if recipe == Recipe::Linear { learning_rate / epochs as f64 } else { 0.0 };
        LearningRate { recipe, rate: learning_rate, falls_by, warm_up, waited: 0, begun: false }
    }

    /// The rate of an update, counted from 0, of so many in each epoch.
    fn of_update(&self, epochs_before: usize, update: usize, updates: usize) -> f64 {
        let risen = (epochs_before * updates + update + 1) as f64 / self.warm_up.max(1) as f64;
        (self.rate - self.falls_by * update as f64 / updates as f64) * risen.min(1.0)
    }

    /// Takes note of one more epoch, after which the rate is that of the next; whether it was halved. Until a score is above 0
    /// there is nothing to wait for.
    pub(crate) fn halves_after(&mut self, gained: bool, above_zero: bool) -> bool {
        self.begun |= above_zero;
        self.rate -= self.falls_by;
        self.waited = if gained || !self.begun { 0 } else { self.waited + 1 };
        let halves = self.recipe.halves() && self.waited >= Recipe::PATIENCE;
        if halves {
            self.rate *= 0.5;
            if self.recipe == Recipe::Standard {
                self.waited = 0;
            }
        }
        halves
    }
}

/// The order of `count` sentences in an epoch: a Fisher-Yates shuffle by ChaCha8, whose key is the seed and
/// whose stream is the epoch.
fn order(seed: u64, epoch: usize, count: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(&mut rng, last + 1));
    }
    order
}

/// The first entry that is infinite or no number: its tensor, its index, and itself.
pub(crate) fn not_finite(params: &Params<f32>) -> Option<(Name, Vec<usize>, f32)> {
    params.tensors().find_map(|(name, tensor)| {
        let (index, value) = tensor.indexed_iter().find(|(_, value)| !value.is_finite())?;
        Some((name, elman::ndarray::Dimension::slice(&index).to_vec(), *value))
    })
}

#[cfg(test)]
mod tests {
    use elman::{Cell, Feedback};
    use elman_reference::Reference;

    use super::*;
    use crate::{Features, travel};

    fn config() -> TrainConfig {
        TrainConfig {
            hidden: 20,
            embed: 12,
            window: 5,
            learning_rate: 0.3,
            epochs: 8,
            ..TrainConfig::default()
        }
    }

    /// A development corpus with a tag that training never sees.
    fn never_seen() -> [TaggedSentence; 1] {
        let own = |text: &str| vec![text.to_owned()];
        [TaggedSentence::new(own("hello"), own("B-never")).unwrap()]
    }

    fn history(config: TrainConfig) -> (Vec<EpochRecord>, Model) {
        let (train, dev) = (travel::corpus(1, 200), travel::corpus(2, 50));
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        (trainer.history().to_vec(), trainer.into_model())
    }

    #[test]
    fn the_rate_falls_as_the_recipes_say() {
        let rates = |recipe, gains: &[bool]| {
            let mut rate =
                LearningRate { recipe, rate: 1.0, falls_by: 0.0, warm_up: 0, waited: 0, begun: true };
            gains.iter().map(|gained| (rate.halves_after(*gained, true), rate.rate).1).collect::<Vec<_>>()
        };
        let mut gains = vec![true];
        gains.extend([false; 12]);
        gains.extend([true, false]);
        let start = [1.0; 10];
        let tutorial = rates(Recipe::Tutorial, &gains);
        assert_eq!(tutorial[..10], start);
        assert_eq!(tutorial[10..], [0.5, 0.25, 0.125, 0.125, 0.125]);
        let standard = rates(Recipe::Standard, &gains);
        assert_eq!(standard[..10], start);
        assert_eq!(standard[10..], [0.5, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(rates(Recipe::Constant, &gains), [1.0; 15]);
        let standard = rates(Recipe::Standard, &[false; 30]);
        assert_eq!((standard[8], standard[9], standard[19], standard[29]), (1.0, 0.5, 0.25, 0.125));
    }

    #[test]
    fn a_linear_rate_falls_to_zero_after_it_has_risen() {
        let config = TrainConfig {
            recipe: Recipe::Linear,
            learning_rate: 1.0,
            epochs: 4,
            warm_up: 3,
            ..TrainConfig::default()
        };
        let mut rate = LearningRate::new(&config);
        let mut found = Vec::new();
        for epoch in 0..4 {
            found.extend((0..2).map(|update| rate.of_update(epoch, update, 2)));
            assert!(!rate.halves_after(false, true));
        }
        assert_eq!(found, [1.0 / 3.0, 0.875 * (2.0 / 3.0), 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
        assert_eq!(rate.rate, 0.0);
    }

    #[test]
    fn adam_learns_and_patience_ends_it() {
        let adam = TrainConfig {
            optimizer: Optimizer::Adam,
            recipe: Recipe::Constant,
            learning_rate: 0.01,
            batch: 8,
            clip: Some(5.0),
            weight_decay: 0.01,
            ..config()
        };
        let (records, _) = history(adam.clone());
        assert!(records[7].loss < 0.5 * records[0].loss && records[7].dev_f1 > 20.0, "{records:?}");
        // A rate that changes nothing: the first epoch is the best.
        let still =
            TrainConfig { learning_rate: 1e-30, weight_decay: 0.0, patience: Some(3), epochs: 9, ..adam };
        let (records, _) = history(still);
        let best = records.iter().filter(|record| record.best).map(|record| record.epoch).max().unwrap();
        assert_eq!(records.len(), (best + 3).min(9), "{records:?}");
        assert!(records.len() < 9, "{records:?}");
    }

    #[test]
    fn features_and_dropout_learn_and_their_model_tags_as_it_was_evaluated() {
        let config = TrainConfig {
            optimizer: Optimizer::Adam,
            recipe: Recipe::Constant,
            learning_rate: 0.02,
            batch: 8,
            dropout: 0.25,
            features: Features { affixes: 3, shape: true },
            valid_iob: true,
            ..config()
        };
        let (records, model) = history(config.clone());
        assert!(records[7].loss < 0.6 * records[0].loss && records[7].dev_f1 > 20.0, "{records:?}");
        let mut pipeline = crate::Pipeline::new(&model, &Reference::new()).unwrap();
        let dev = travel::corpus(2, 50);
        assert_eq!(pipeline.evaluate(&dev).unwrap().total().f1(), model.outcome().dev_f1);
        // One at a time, in a fork, and from its folder.
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path().join("m"), &records).unwrap();
        let loaded = Model::load(folder.path().join("m")).unwrap();
        assert_eq!(loaded, model);
        let mut loaded = crate::Pipeline::new(&loaded, &Reference::new()).unwrap();
        let words: Vec<_> = dev.iter().map(TaggedSentence::words).collect();
        let together = pipeline.owned_tags(&words);
        let mut fork = pipeline.fork();
        for (words, tags) in words.iter().zip(&together) {
            let of_iob2 = Tagging::new(Scheme::Iob2).convert(tags, Scheme::Iob2);
            assert_eq!(*tags, of_iob2, "an I without its B");
            assert_eq!(fork.tag(words).unwrap(), *tags);
            let scored = loaded.scored_all(&[words], 0).unwrap();
            assert_eq!(scored[0].tags.iter().map(|scored| scored.tag).collect::<Vec<_>>(), *tags);
        }
        // Dropout alone.
        let alone = TrainConfig { features: Features::default(), epochs: 3, ..config };
        let (records, _) = history(alone);
        assert!(records[2].loss < records[0].loss, "{records:?}");
    }

    #[test]
    fn a_training_goes_on_from_a_model_with_its_words_and_tags() {
        let features = Features { affixes: 2, shape: true };
        let (records, model) = history(TrainConfig { features, bidirectional: true, ..config() });
        let (train, dev) = (travel::corpus(5, 60), travel::corpus(6, 20));
        let network = Reference::new();
        let other = TrainConfig { hidden: 7, learning_rate: 0.01, epochs: 1, ..config() };
        let mut trainer = Trainer::from_model(&network, other.clone(), &model, &train, &dev).unwrap();
        assert_eq!((trainer.vocabulary(), trainer.labels()), (model.vocabulary(), model.labels()));
        let record = trainer.run_epoch(&mut |_| {}).unwrap();
        assert!(record.loss < 0.6 * records[0].loss, "{record:?}, {records:?}");
        // Its checkpoint is not taken for one of a training from the beginning.
        let checkpoint = trainer.checkpoint().unwrap();
        let config = TrainConfig { from: None, ..trainer.config().clone() };
        let beginning = Trainer::new(&network, config, &train, &dev).unwrap();
        let message = beginning.resume(checkpoint).map(drop).unwrap_err();
        assert!(message.to_string().contains(": from is "), "{message}");
        let next = trainer.into_model();
        assert_eq!((next.params().shape(), next.shape()), (model.params().shape(), model.shape()));
        let message =
            Trainer::from_model(&network, other, &model, &never_seen(), &dev).map(drop).unwrap_err();
        assert_eq!(message.to_string(), "tag: expected one of the labels, found \"B-never\"");
    }

    #[test]
    fn a_training_starts_from_vectors_and_leaves_frozen_ones() {
        let (train, dev) = (travel::corpus(5, 40), travel::corpus(6, 20));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        // Of "flight" and of a word that occurs once; and of one that occurs nowhere.
        let count = |word: &str| train.iter().flat_map(TaggedSentence::words).filter(|w| *w == word).count();
        let rare = train.iter().flat_map(TaggedSentence::words).find(|word| count(word) == 1).unwrap();
        std::fs::write(&path, format!("to 1 2 3\n{rare} 4 5 6\nzzz 7 8 9\n")).unwrap();
        let read = |width| Vectors::read(&path, width, [&train[..], &dev], config().normalization).unwrap();
        let (vectors, network) = (read(3), Reference::new());
        for freeze_vectors in [false, true] {
            let config = TrainConfig { embed: 3, freeze_vectors, epochs: 2, ..config() };
            let begin = || Trainer::with_vectors(&network, config.clone(), &vectors, &train, &dev).unwrap();
            let mut trainer = begin();
            let id = trainer.vocabulary().id("to") as usize;
            assert_ne!(trainer.vocabulary().id(rare), 0);
            assert_eq!(trainer.vocabulary().id("zzz"), 0);
            assert_eq!(trainer.best.params.emb().row(id).to_vec(), [1.0, 2.0, 3.0]);
            assert_eq!(trainer.config().vectors, Some(vectors.hash()));
            trainer.run_epoch(&mut |_| {}).unwrap();
            let mut resumed = begin().resume(trainer.checkpoint().unwrap()).unwrap();
            for trainer in [&mut trainer, &mut resumed] {
                trainer.run_epoch(&mut |_| {}).unwrap();
                let is_same = trainer.learner.params().emb().row(id).to_vec() == [1.0, 2.0, 3.0];
                assert_eq!(is_same, freeze_vectors);
            }
            assert_eq!(resumed.into_model(), trainer.into_model());
        }
        let fails =
            |config| Trainer::with_vectors(&network, config, &vectors, &train, &dev).map(drop).unwrap_err();
        assert_eq!(fails(config()).to_string(), "vectors: expected 12 numbers each, found 3");
        let frozen = TrainConfig { freeze_vectors: true, ..config() };
        let message = Trainer::new(&network, frozen, &train, &dev).map(drop).unwrap_err().to_string();
        assert_eq!(message, "freeze_vectors: expected vectors, found none");
    }

    #[test]
    fn the_order_is_a_shuffle_that_seed_and_epoch_decide() {
        let first = order(7, 1, 100);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order(7, 1, 100));
        assert_ne!(first, order(7, 2, 100));
        assert_ne!(first, order(8, 1, 100));
        // A change here would change every model that is trained.
        assert_eq!(order(345, 1, 6), [3, 2, 0, 1, 5, 4]);
        // Each position is reached about equally often: 6000 shuffles of 6, 1000 ± 4 standard deviations.
        let mut reached = [[0; 6]; 6];
        for epoch in 0..6000 {
            order(1, epoch, 6).into_iter().enumerate().for_each(|(place, index)| reached[place][index] += 1);
        }
        assert!(reached.iter().flatten().all(|n| (885..=1115).contains(n)), "{reached:?}");
    }

    #[test]
    fn training_learns_and_is_reproducible() {
        let (records, model) = history(config());
        assert_eq!(records.iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(records[7].loss < 0.5 * records[0].loss && records[7].dev_f1 > 20.0, "{records:?}");
        let (again, same) = history(config());
        assert_eq!(model.params(), same.params());
        assert_eq!(records[7].loss, again[7].loss);
        let (_, other) = history(TrainConfig { seed: 1, ..config() });
        assert_ne!(model.params(), other.params());
    }

    #[test]
    fn a_jordan_network_learns_too() {
        let (records, model) = history(TrainConfig { feedback: Feedback::Output, ..config() });
        assert!(records[7].loss < 0.5 * records[0].loss && records[7].dev_f1 > 20.0, "{records:?}");
        assert_eq!(model.params().shape().feedback, Feedback::Output);
        assert!(model.params().h0().iter().all(|v| *v != 0.0), "s0 is learned");
    }

    #[test]
    fn the_mean_loss_is_that_of_the_sentences_before_their_update() {
        // With a learning rate of nearly nothing and no embedding changed by its norm, it is the loss of the
        // untrained network; batches change how it is summed, not what it is.
        let (train, dev) = (travel::corpus(1, 7), travel::corpus(2, 3));
        let network = Reference::new();
        let mut expected = None;
        for batch in [1, 3, 7, 100] {
            let config = TrainConfig { learning_rate: 1e-30, batch, epochs: 1, ..config() };
            let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
            let first_batch = trainer.best.params.clone();
            let mut grad = Params::zeros(first_batch.shape()).unwrap();
            let all = trainer.train.batch();
            let untrained = f64::from(network.gradient(&first_batch, all, &mut grad).unwrap());
            let words = all.words().len();
            let mut calls = Vec::new();
            let loss = trainer.run_epoch(&mut |p| calls.push(p)).unwrap().loss;
            assert_eq!(calls.len(), 7usize.div_ceil(batch));
            assert_eq!((calls.last().unwrap().sentences, calls.last().unwrap().words), (7, words));
            assert_eq!(calls.last().unwrap().loss, loss);
            if batch >= 7 {
                // One update: every loss is that of the untrained network, up to rounding in f32.
                assert!((loss - untrained).abs() < 1e-5 * untrained, "{loss} {untrained}");
                expected.get_or_insert(loss);
            }
        }
        assert!(expected.is_some());
    }

    #[test]
    fn training_by_word_learns_and_its_model_says_so() {
        let (train, dev) = (travel::corpus(1, 100), travel::corpus(2, 30));
        let config = TrainConfig { by_word: Some(9), learning_rate: 0.1, epochs: 3, ..config() };
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let records = trainer.history();
        assert!(records[2].loss < 0.6 * records[0].loss && records[2].dev_f1 > 20.0, "{records:?}");
        assert_eq!(trainer.into_model().outcome().network, "reference, by word (9)");
    }

    #[test]
    fn every_cell_learns() {
        for cell in Cell::ALL {
            let config = TrainConfig { cell, epochs: 5, ..config() };
            let (records, model) = history(config);
            assert!(
                records[4].loss < 0.6 * records[0].loss && records[4].dev_f1 > 20.0,
                "{cell}: {records:?}"
            );
            assert_eq!(model.params().shape().cell, cell);
        }
    }

    #[test]
    fn the_best_model_is_a_copy_of_the_best_epoch() {
        // With a rate this high the F1 goes up and down; whatever the best epoch was, evaluating the kept model
        // gives its F1.
        let (train, dev) = (travel::corpus(1, 200), travel::corpus(2, 50));
        let network = Reference::new();
        let config = TrainConfig { learning_rate: 1.5, epochs: 12, ..config() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let best = trainer.history().iter().max_by(|a, b| a.dev_f1.total_cmp(&b.dev_f1)).unwrap().dev_f1;
        let kept = trainer.evaluate(&trainer.best.params).unwrap().total().f1();
        assert!(best > 0.0);
        assert_eq!(kept, best);
        assert_eq!(trainer.history()[trainer.best.epoch - 1].dev_f1, best);
        assert!(trainer.best.epoch < 12, "a later epoch must follow for this test to show anything");
        assert_ne!(trainer.best.params, trainer.learner.params());
    }

    #[test]
    fn where_the_rate_falls_one_recipe_goes_back_to_the_best_and_the_other_goes_on() {
        // There is one tag: the F1 is 100, and the first epoch is the best.
        let one_tag = |corpus: Vec<TaggedSentence>| -> Vec<TaggedSentence> {
            let tags = |s: &TaggedSentence| vec!["B-x".to_owned(); s.words().len()];
            corpus.iter().map(|s| TaggedSentence::new(s.words().to_vec(), tags(s)).unwrap()).collect()
        };
        let (train, dev) = (one_tag(travel::corpus(1, 10)), one_tag(travel::corpus(2, 5)));
        let network = Reference::new();
        for (recipe, goes_back) in [(Recipe::Tutorial, true), (Recipe::Standard, false)] {
            let small = TrainConfig { hidden: 4, embed: 3, window: 3, epochs: 20, ..config() };
            let config = TrainConfig { recipe, learning_rate: 1.5 * Recipe::LAST_LEARNING_RATE, ..small };
            let mut trainer = Trainer::new(&network, config.clone(), &train, &dev).unwrap();
            assert_eq!(trainer.config(), &config);
            while !trainer.is_finished() {
                let record = trainer.run_epoch(&mut |_| {}).unwrap().clone();
                assert_eq!(record.best, record.epoch == 1);
                let words = record.words_per_second * record.seconds;
                let expected = trainer.train.batch().words().len() as f64;
                assert!((words / expected - 1.0).abs() < 1e-9, "{words}, {expected}");
            }
            // A rate that is below the last one from the start was not halved.
            let config = TrainConfig { learning_rate: 0.5 * Recipe::LAST_LEARNING_RATE, epochs: 3, ..config };
            let mut small = Trainer::new(&network, config, &train, &dev).unwrap();
            while !small.is_finished() {
                small.run_epoch(&mut |_| {}).unwrap();
            }
            assert_eq!(small.history().len(), 3, "{recipe:?}");
            // Halved once, the rate is below the last one.
            assert_eq!(trainer.history.len(), 11, "{recipe:?}");
            assert_eq!(trainer.learner.params() == trainer.best.params, goes_back, "{recipe:?}");
        }
    }

    /// A corpus of tags without phrases: the travel corpus's tags, each with a letter that no scheme has.
    fn plain(corpus: Vec<TaggedSentence>) -> Vec<TaggedSentence> {
        let tags = |s: &TaggedSentence| s.tags().iter().map(|tag| format!("T{tag}")).collect();
        corpus.iter().map(|s| TaggedSentence::new(s.words().to_vec(), tags(s)).unwrap()).collect()
    }

    #[test]
    fn tags_without_phrases_are_judged_by_accuracy() {
        let (train, dev) = (plain(travel::corpus(1, 200)), plain(travel::corpus(2, 50)));
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config(), &train, &dev).unwrap();
        assert_eq!((trainer.tagging().scheme(), trainer.measure()), (Scheme::Plain, Measure::Accuracy));
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let records = trainer.history().to_vec();
        let mut best = f64::NEG_INFINITY;
        for record in &records {
            assert!(
                record.best == (record.dev_accuracy > best) || record.dev_accuracy == best,
                "{records:?}"
            );
            best = best.max(record.dev_accuracy);
        }
        assert!(best > records[0].dev_accuracy, "{records:?}");
        let outcome = trainer.into_model().outcome().clone();
        assert!(outcome.best_epoch > 1 && outcome.dev_accuracy == best, "{outcome:?}");
        assert_eq!(outcome.measure, Measure::Accuracy);
    }

    #[test]
    fn before_the_first_f1_above_zero_epochs_are_told_apart_and_patience_is_not_spent() {
        // The only phrase has a tag that training lacks.
        let own = |text: &str| text.split(' ').map(str::to_owned).collect();
        let (train, dev) =
            (travel::corpus(1, 20), [TaggedSentence::new(own("to mars"), own("O B-never")).unwrap()]);
        let network = Reference::new();
        let config = TrainConfig { learning_rate: 1e-3, epochs: 14, ..config() };
        let mut trainer = Trainer::new(&network, config.clone(), &train, &dev).unwrap();
        let forced = TrainConfig { scheme: Some(Scheme::Io), ..config };
        assert_eq!(Trainer::new(&network, forced, &train, &dev).unwrap().tagging().scheme(), Scheme::Io);
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let records = trainer.history();
        assert!(records.iter().all(|record| record.dev_f1 == 0.0), "{records:?}");
        assert_eq!((trainer.measure(), records.len()), (Measure::F1, 14));
        assert!(records.iter().all(|record| record.learning_rate == 1e-3), "{records:?}");
        assert!(trainer.best.epoch > 11, "the loss falls in every epoch: {records:?}");

        // A development corpus in which nothing is a phrase cannot have an F1 above 0.
        let outside = TaggedSentence::new(vec!["to".into()], vec!["O".into()]).unwrap();
        let dev = [outside];
        let trainer = Trainer::new(&network, TrainConfig::default(), &train, &dev).unwrap();
        assert_eq!((trainer.tagging().scheme(), trainer.measure()), (Scheme::Iob2, Measure::Accuracy));
    }

    #[test]
    fn iobes_scores_as_its_iob2() {
        let train = travel::corpus(1, 120);
        let dev = travel::corpus(2, 30);
        let iobes = |corpus: &[TaggedSentence]| -> Vec<TaggedSentence> {
            let tags = |s: &TaggedSentence| Tagging::new(Scheme::Iob2).convert(s.tags(), Scheme::Iobes);
            corpus.iter().map(|s| TaggedSentence::new(s.words().to_vec(), tags(s)).unwrap()).collect()
        };
        let network = Reference::new();
        let (train, dev_iobes) = (iobes(&train), iobes(&dev));
        let mut trainer =
            Trainer::new(&network, TrainConfig { epochs: 6, ..config() }, &train, &dev_iobes).unwrap();
        assert_eq!(trainer.tagging().scheme(), Scheme::Iobes);
        while !trainer.is_finished() {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let f1 = trainer.history().iter().map(|record| record.dev_f1).fold(0.0, f64::max);
        assert!(f1 > 10.0, "{f1}");
        // The model against the same corpus, in either scheme.
        let mut pipeline = crate::Pipeline::new(&trainer.into_model(), &network).unwrap();
        let same = pipeline.evaluate(&dev_iobes).unwrap();
        assert_eq!(same.total().f1(), f1);
        let other = pipeline.evaluate(&dev).unwrap();
        assert_eq!(other.total(), same.total());
        assert!(other.accuracy() >= same.accuracy());
    }

    fn record(dev_f1: f64, dev_accuracy: f64) -> EpochRecord {
        EpochRecord {
            epoch: 1,
            learning_rate: 1.0,
            loss: 1.0,
            dev_precision: dev_f1,
            dev_recall: dev_f1,
            dev_f1,
            dev_accuracy,
            best: false,
            seconds: 1.0,
            words_per_second: 1.0,
        }
    }

    #[test]
    fn of_equal_f1_the_greater_accuracy_is_the_better() {
        let compare =
            |measure: Measure, a, b: (f64, f64)| measure.compare_epochs(&record(50.0, a), &record(b.0, b.1));
        assert_eq!(compare(Measure::F1, 90.0, (50.0, 80.0)), CmpOrdering::Greater);
        assert_eq!(compare(Measure::F1, 80.0, (50.0, 90.0)), CmpOrdering::Less);
        assert_eq!(compare(Measure::F1, 90.0, (50.0, 90.0)), CmpOrdering::Equal);
        assert_eq!(compare(Measure::F1, 99.0, (51.0, 80.0)), CmpOrdering::Less);
        assert_eq!(compare(Measure::Accuracy, 90.0, (51.0, 80.0)), CmpOrdering::Greater);
    }

    #[test]
    fn a_training_that_diverges_later_keeps_the_best_model() {
        let (train, dev) = (travel::corpus(1, 60), travel::corpus(2, 20));
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config(), &train, &dev).unwrap();
        for _ in 0..2 {
            trainer.run_epoch(&mut |_| {}).unwrap();
        }
        let best = trainer.best.params.clone();
        trainer.rate.rate = 1e38;
        let error = trainer.run_epoch(&mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Diverged { epoch: 3, .. }), "{error}");
        assert_eq!((trainer.history().len(), trainer.checkpoint()), (2, None));
        let model = trainer.into_model();
        assert!(*model.params() == best && not_finite(model.params()).is_none());
    }

    /// A model that could not be read again is none: its scores overflow in a sentence that training has not.
    #[test]
    fn weights_that_could_overflow_end_a_training() {
        let (train, dev) = (travel::corpus(1, 60), travel::corpus(2, 20));
        let network = Reference::new();
        let config = TrainConfig { learning_rate: 1e-30, ..config() };
        let mut trainer = Trainer::new(&network, config.clone(), &train, &dev).unwrap();
        trainer.run_epoch(&mut |_| {}).unwrap();
        let mut params = trainer.best.params.clone();
        // At the states of this network, all near 0.5, the terms cancel.
        for (unit, mut row) in params.w_mut().rows_mut().into_iter().enumerate() {
            row.fill(if unit % 2 == 0 { 3e37 } else { -3e37 });
        }
        trainer.learner = Mode::new(&network, &config, None, &HashSet::new(), params).unwrap();
        let error = trainer.run_epoch(&mut |_| {}).unwrap_err();
        let Error::Diverged { epoch: 2, sentence: 60, loss, .. } = error else { panic!("{error}") };
        assert_eq!(loss, f64::INFINITY);
    }

    #[test]
    fn a_diverging_training_stops_with_its_place() {
        let (train, dev) = (travel::corpus(1, 200), travel::corpus(2, 50));
        let network = Reference::new();
        let config = TrainConfig { learning_rate: 1e38, epochs: 3, ..config() };
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        let error = loop {
            match trainer.run_epoch(&mut |_| {}) {
                Ok(_) => assert!(!trainer.is_finished(), "no divergence at a learning rate of 1e38"),
                Err(error) => break error,
            }
        };
        // At once, not at the end of the epoch.
        assert!(matches!(error, Error::Diverged { epoch: 1, sentence: 2..200, .. }), "{error}");
    }

    #[test]
    fn a_tag_that_only_the_development_corpus_has_counts_as_wrong() {
        let (train, dev) = (travel::corpus(1, 20), never_seen());
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config(), &train, &dev).unwrap();
        assert_eq!(trainer.run_epoch(&mut |_| {}).unwrap().dev_recall, 0.0);
        assert!(Trainer::new(&network, config(), &[], &dev).is_err());
        assert!(Trainer::new(&network, config(), &train, &[]).is_err());
    }
}
