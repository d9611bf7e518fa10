use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::builder::RangedU64ValueParser;
use elman::{Activation, Cell, Feedback, Head, Network, Shape};
use elman_tagger::{
    Checkpoint, Claim, EpochRecord, Error, Evaluation, Features, FileKind, Measure, Model, Normalization,
    Optimizer, Pipeline, Progress, Recipe, Scheme, TaggedSentence, TrainConfig, Trainer, Vectors, limits,
    write_output,
};
use indicatif::{HumanDuration, ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::input::{self, LayoutArgs};
use crate::kernels::KernelArgs;
use crate::output::{Rows, check_file, evaluation_json, first_of, in_model, note};
use crate::page::Page;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Training corpus: a CoNLL column file (first column word, last column tag), .conllu or JSON lines, also
    /// compressed by gzip. Given several times, all are read
    #[arg(long, value_name = "FILE", required = true)]
    train: Vec<PathBuf>,
    /// Development corpus, which decides which epoch is the best
    #[arg(long, value_name = "FILE", required = true)]
    dev: Vec<PathBuf>,
    /// Test corpus; conlleval's report on it is printed at the end
    #[arg(long, value_name = "FILE")]
    test: Vec<PathBuf>,
    /// The model folder to write; a model that is there is replaced at the end
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Also writes an HTML page: curves, F1 and confusions of the slots, the worst sentences of the test corpus
    /// (without one, of the development corpus)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Writes a checkpoint to the folder MODEL.checkpoint after every N epochs and at the end
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_EPOCHS))]
    checkpoint_every: Option<usize>,
    /// Goes on from MODEL.checkpoint, if there is one; the model has the same bits as without interruption
    #[arg(long)]
    resume: bool,
    /// Goes on from the parameters of a model, with its network, words, features and tags
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "resume", "network", "cell", "activation", "layers", "bidirectional", "head", "hidden", "embed", "window", "affixes",
        "shape", "lowercase", "digits", "vectors",
    ])]
    from: Option<PathBuf>,
    /// Starts the embeddings from a text of vectors as word2vec, GloVe and fastText write it, also compressed by gzip; the
    /// words of the corpora that it has are known, however rare
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Leaves these embeddings as they are
    #[arg(long, requires = "vectors")]
    freeze_vectors: bool,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    kernel: KernelArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Recipe")]
struct RecipeArgs {
    /// A named set of the options below, which win where they are given (`elman recipes` lists them)
    #[arg(long, value_enum, default_value_t)]
    recipe: RecipeName,
    /// What the next word sees of a word: the hidden state (Elman) or the probabilities of its labels (Jordan)
    #[arg(long, value_enum, default_value_t)]
    network: NetworkName,
    /// The arithmetic of a hidden unit [default: elman]
    #[arg(long, value_enum)]
    cell: Option<CellName>,
    /// The nonlinearity of the cell elman
    #[arg(long, value_enum, default_value_t)]
    activation: ActivationName,
    /// Layers, each of which reads the states of the one below
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = from_1_to(Shape::MAX_LAYERS))]
    layers: usize,
    /// Let each layer also read from the last word to the first, with weights of its own [with the recipe best: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    bidirectional: Option<bool>,
    /// The head, which makes tags of the scores of the words [default: softmax; with the recipe best crf]
    #[arg(long, value_enum)]
    head: Option<HeadName>,
    /// How the learning rate falls [default: tutorial]
    #[arg(long, value_enum)]
    schedule: Option<ScheduleName>,
    /// The rule of the updates [default: sgd]
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerName>,
    /// Last epoch [default: 60]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_EPOCHS))]
    epochs: Option<usize>,
    /// End after N epochs without a better one
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_EPOCHS))]
    patience: Option<usize>,
    /// Width of the hidden state [default: 200]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_HIDDEN))]
    hidden: Option<usize>,
    /// Width of a word's embedding [default: 50]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_EMBED))]
    embed: Option<usize>,
    /// Words around and with each word that the network sees; odd [default: 7]
    #[arg(long, value_name = "N", value_parser = odd)]
    window: Option<usize>,
    /// Learning rate of the first epoch [default: 0.0970806646812754; with adam 0.001]
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Updates in which the learning rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(..1_000_000_000))]
    warm_up: usize,
    /// Sentences in one update [default: 1]
    #[arg(long, value_name = "N", value_parser = from_1_to(limits::MAX_BATCH))]
    batch: Option<usize>,
    /// An update for each word instead of each sentence, from a run of at most N words that ends with it, as
    /// in the code of Mesnil et al. (2013)
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "9", value_parser = from_1_to(10_000))]
    by_word: Option<usize>,
    /// With adam: the largest norm of a gradient; a larger one is scaled to it
    #[arg(long, value_name = "X", value_parser = positive, allow_negative_numbers = true)]
    clip: Option<f64>,
    /// With adam: the share of each weight that an update of learning rate 1 takes away [default: 0]
    #[arg(long, value_name = "X", value_parser = share, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// With adam: divide changed embeddings by their norms, as gradient descent always does
    #[arg(long)]
    normalise: bool,
    /// The share of the embeddings, and of the states before the output, that each update leaves out [default: 0]
    #[arg(long, value_name = "X", value_parser = share, allow_negative_numbers = true)]
    dropout: Option<f64>,
    /// See prefixes and suffixes of words, known or not, of 1 to N characters [default: 0]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(..=Features::MAX_AFFIXES as u64))]
    affixes: Option<usize>,
    /// See the shape of words, known or not: capitals, small letters, digits
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    shape: Option<bool>,
    /// Have no I-x without its B-x: in the F1 by which epochs are compared, and whenever the model tags
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    valid_iob: Option<bool>,
    /// Decides the first parameters, the order of the sentences, and dropout
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().seed, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// How the tags mark phrases, by which they are scored [default: recognised in the training corpus]
    #[arg(long, value_enum)]
    scheme: Option<SchemeName>,
    /// Read every word in lower case
    #[arg(long)]
    lowercase: bool,
    /// Read every digit as the word DIGIT
    #[arg(long)]
    digits: bool,
}

/// The recipes by name.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RecipeName {
    /// The Theano tutorial's, with its code's learning rates
    #[default]
    Tutorial,
    /// The tutorial's, with the learning rates of its comment
    Standard,
    /// A better tagger than the tutorial's, in a quarter of its epochs
    Fast,
    /// Of GRU units in both directions and with a CRF: the best F1 that was found
    Best,
}

impl RecipeName {
    /// The settings that the name stands for.
    pub(crate) fn config(self) -> TrainConfig {
        let tutorial = TrainConfig::default();
        let fast = TrainConfig {
            recipe: Recipe::Linear,
            optimizer: Optimizer::Adam,
            clip: Some(5.0),
            dropout: 0.25,
            features: Features { affixes: 4, shape: true },
            valid_iob: true,
            hidden: 100,
            window: 5,
            learning_rate: 0.005,
            epochs: 15,
            batch: 16,
            ..tutorial.clone()
        };
        match self {
            RecipeName::Tutorial => tutorial,
            RecipeName::Standard => TrainConfig { recipe: Recipe::Standard, ..tutorial },
            RecipeName::Fast => fast,
            RecipeName::Best => TrainConfig {
                cell: Cell::Gru,
                bidirectional: true,
                head: Head::Crf,
                window: 1,
                dropout: 0.4,
                ..fast
            },
        }
    }
}

/// The two networks by name.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum NetworkName {
    /// The hidden state is fed back, from h0 on
    #[default]
    Elman,
    /// The output is fed back, from s0 on
    Jordan,
}

impl From<NetworkName> for Feedback {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Elman => Feedback::Hidden,
            NetworkName::Jordan => Feedback::Output,
        }
    }
}

/// The cells by name.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CellName {
    /// One gate: h[t] = f(x[t]·wx + h[t-1]·wh + bh)
    #[default]
    Elman,
    /// The gated recurrent unit, as PyTorch's nn.GRU
    Gru,
    /// Long short-term memory, as PyTorch's nn.LSTM
    Lstm,
}

/// The heads by name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HeadName {
    /// The most probable tag of each word by itself
    Softmax,
    /// The most probable tags of the sentence, with a score for each tag after another: a linear-chain conditional
    /// random field
    Crf,
}

impl From<HeadName> for Head {
    fn from(name: HeadName) -> Self {
        match name {
            HeadName::Softmax => Head::Softmax,
            HeadName::Crf => Head::Crf,
        }
    }
}

/// The activations by name.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ActivationName {
    /// 1 / (1 + e^-a), the tutorial's
    #[default]
    Sigmoid,
    /// The hyperbolic tangent
    Tanh,
    /// max(a, 0)
    Relu,
}

/// The cell of the options, or that of a recipe.
///
/// # Errors
/// A combination of options that does not exist.
pub(crate) fn cell_of(
    cell: Option<CellName>,
    activation: ActivationName,
    recipe: RecipeName,
) -> Result<Cell, Error> {
    let activation = match activation {
        ActivationName::Sigmoid => Activation::Sigmoid,
        ActivationName::Tanh => Activation::Tanh,
        ActivationName::Relu => Activation::Relu,
    };
    let cell = match cell {
        None if activation == Activation::Sigmoid => return Ok(recipe.config().cell),
        None | Some(CellName::Elman) => return Ok(Cell::Elman(activation)),
        Some(CellName::Gru) => Cell::Gru,
        Some(CellName::Lstm) => Cell::Lstm,
    };
    if activation != Activation::Sigmoid {
        let option = format!("option --activation with --cell {cell}");
        return Err(Error::unsupported(option, "none", activation));
    }
    Ok(cell)
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum ScheduleName {
    /// As the tutorial's code: halved after EVERY epoch from the tenth without a better F1 on
    #[default]
    Tutorial,
    /// As the tutorial's comment: halved after ten epochs without a better F1, then ten more
    Standard,
    /// Not at all
    Constant,
    /// In equal steps, to 0 after the last epoch
    Linear,
}

/// The rules of the updates by name.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum OptimizerName {
    /// Gradient descent, embeddings divided by their norms: the tutorial's
    #[default]
    Sgd,
    /// Adam, for batches of some 16 sentences
    Adam,
}

/// The schemes of tags by name.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum SchemeName {
    /// I inside phrases, B only between two of one type
    Iob1,
    /// B at the first word of each phrase, I at the others
    #[value(alias = "bio")]
    Iob2,
    /// IOB2 with E at the last word and S at a phrase of one word
    #[value(alias = "bioes")]
    Iobes,
    /// IOB2 with L at the last word and U at a phrase of one word
    #[value(alias = "biolu")]
    Bilou,
    /// IOBES with M for I
    Bmes,
    /// BMES with W for S
    #[value(alias = "bmew")]
    Bmewo,
    /// IOBES with B for S
    #[value(alias = "bioe")]
    Iobe,
    /// IOBES with I for E
    #[value(alias = "bios")]
    Iobs,
    /// I inside phrases, E only between two of one type
    Ioe1,
    /// E at the last word of each phrase, I at the others
    Ioe2,
    /// (x* at the first word of a phrase, *) at its last one, * elsewhere
    Brackets,
    /// I at every word of a phrase
    Io,
    /// No phrases: parts of speech, for example
    Plain,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Iob1 => Scheme::Iob1,
            SchemeName::Iob2 => Scheme::Iob2,
            SchemeName::Iobes => Scheme::Iobes,
            SchemeName::Bilou => Scheme::Bilou,
            SchemeName::Bmes => Scheme::Bmes,
            SchemeName::Bmewo => Scheme::Bmewo,
            SchemeName::Iobe => Scheme::Iobe,
            SchemeName::Iobs => Scheme::Iobs,
            SchemeName::Ioe1 => Scheme::Ioe1,
            SchemeName::Ioe2 => Scheme::Ioe2,
            SchemeName::Brackets => Scheme::Brackets,
            SchemeName::Io => Scheme::Io,
            SchemeName::Plain => Scheme::Plain,
        }
    }
}

impl From<ScheduleName> for Recipe {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Tutorial => Recipe::Tutorial,
            ScheduleName::Standard => Recipe::Standard,
            ScheduleName::Constant => Recipe::Constant,
            ScheduleName::Linear => Recipe::Linear,
        }
    }
}

pub(crate) fn from_1_to(most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most as u64)
}

fn odd(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(window) if window % 2 == 1 && window <= limits::MAX_WINDOW => Ok(window),
        _ => Err("expected an odd number below 1000".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number greater than 0".into()),
    }
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to below 1".into()),
    }
}

impl Args {
    /// How to train.
    ///
    /// # Errors
    /// A combination of options that does not exist.
    pub(crate) fn config(&self) -> Result<TrainConfig, Error> {
        Ok(TrainConfig { freeze_vectors: self.freeze_vectors, ..self.recipe.config()? })
    }

    /// Says before the first epoch what its user may not expect.
    fn warn(
        &self,
        trainer: &Trainer<'_>,
        train: &[TaggedSentence],
        dev: &[TaggedSentence],
        test: Option<&[TaggedSentence]>,
    ) {
        let (file, tagging) = (input::names(&self.train), trainer.tagging());
        match tagging.scheme() {
            Scheme::Iob2 if tagging.is_conllevals() => {}
            Scheme::Plain => note(&format!(
                "{file}: the tags form no phrases; epochs are compared by accuracy, the share of words tagged \
                 right (--scheme says how tags mark phrases)"
            )),
            _ => note(&format!("{file}: the tags follow {tagging}, and phrases are scored by it")),
        }
        if trainer.measure() == Measure::Accuracy && tagging.scheme() != Scheme::Plain {
            let dev = input::names(&self.dev);
            note(&format!(
                "{dev}: there is no phrase; epochs are compared by accuracy, the share of words tagged right"
            ));
        }
        let tags = trainer.labels().size();
        let words: HashSet<&String> = train.iter().flat_map(TaggedSentence::words).collect();
        if tags > 1000 || (tags > 100 && 2 * tags > words.len()) {
            note(&format!(
                "{file}: {tags} different tags on {} different words; is the last column the tag?",
                words.len()
            ));
        }
        if let Some(longest) =
            train.iter().map(|sentence| sentence.words().len()).filter(|n| *n >= limits::LONG_SENTENCE).max()
        {
            note(&format!(
                "{file}: a sentence of {longest} words; is there a blank line after each sentence?"
            ));
        }
        let corpora = [(&self.dev, Some(dev)), (&self.test, test)];
        for (file, corpus) in corpora.into_iter().filter_map(|(file, corpus)| Some((file, corpus?))) {
            let unknown = corpus.iter().flat_map(TaggedSentence::tags);
            let unknown: Vec<&String> = unknown.filter(|tag| trainer.labels().id(tag).is_none()).collect();
            let distinct: BTreeSet<&str> = unknown.iter().map(|tag| tag.as_str()).collect();
            if !distinct.is_empty() {
                let shown: Vec<&str> = distinct.iter().copied().take(5).collect();
                note(&format!(
                    "{}: {} words have a tag that the training corpus lacks, and count as wrong: {}{}",
                    input::names(file),
                    unknown.len(),
                    shown.join(", "),
                    if distinct.len() > 5 {
                        format!(" and {} more", distinct.len() - 5)
                    } else {
                        String::new()
                    }
                ));
            }
        }
        let config = trainer.config();
        let batch = config.batch;
        if batch > 1 && config.learning_rate == TrainConfig::default().learning_rate {
            note(&format!(
                "--batch {batch}: an update takes the mean of {batch} sentences, so that an epoch has {batch} times \
                 fewer updates of the same size; the learning rate is still that of single sentences (try a \
                 larger --lr)"
            ));
        }
    }
}

impl RecipeArgs {
    fn config(&self) -> Result<TrainConfig, Error> {
        let named = self.recipe.config();
        let optimizer = self.optimizer.map_or(named.optimizer, |name| match name {
            OptimizerName::Sgd => Optimizer::Sgd,
            OptimizerName::Adam => Optimizer::Adam,
        });
        // Settings of another rule of updates are not taken over.
        let named = match optimizer {
            same if same == named.optimizer => named,
            Optimizer::Adam => TrainConfig { learning_rate: 0.001, ..named },
            _ => TrainConfig { clip: None, learning_rate: TrainConfig::default().learning_rate, ..named },
        };
        Ok(TrainConfig {
            feedback: self.network.into(),
            cell: cell_of(self.cell, self.activation, self.recipe)?,
            layers: self.layers,
            bidirectional: self.bidirectional.unwrap_or(named.bidirectional),
            head: self.head.map_or(named.head, Into::into),
            recipe: self.schedule.map_or(named.recipe, Into::into),
            optimizer,
            clip: self.clip.or(named.clip),
            weight_decay: self.weight_decay.unwrap_or(named.weight_decay),
            normalise: self.normalise,
            warm_up: self.warm_up,
            patience: self.patience.or(named.patience),
            dropout: self.dropout.unwrap_or(named.dropout),
            features: Features {
                affixes: self.affixes.unwrap_or(named.features.affixes),
                shape: self.shape.unwrap_or(named.features.shape),
            },
            hidden: self.hidden.unwrap_or(named.hidden),
            embed: self.embed.unwrap_or(named.embed),
            window: self.window.unwrap_or(named.window),
            learning_rate: self.lr.unwrap_or(named.learning_rate),
            epochs: self.epochs.unwrap_or(named.epochs),
            batch: self.batch.unwrap_or(named.batch),
            by_word: self.by_word,
            valid_iob: self.valid_iob.unwrap_or(named.valid_iob),
            from: None,
            vectors: None,
            freeze_vectors: false,
            seed: self.seed,
            scheme: self.scheme.map(Into::into),
            normalization: Normalization { lowercase: self.lowercase, digits: self.digits },
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    // Everything that can be refused is refused before the first epoch.
    let config = args.config()?;
    if config.by_word.is_some() && config.feedback == Feedback::Output {
        return Err(Error::unsupported("option --by-word", "an Elman network", "a Jordan network"));
    }
    config.shape(1, 1).check()?;
    let network = args.kernel.network()?;
    args.report.as_ref().map_or(Ok(()), |file| check_file(file, FileKind::HTML))?;
    let train = args.layout.read(&args.train)?;
    let dev = args.layout.read(&args.dev)?;
    let test = (!args.test.is_empty()).then(|| args.layout.read(&args.test)).transpose()?;
    // From here on a signal ends the training, and no longer the program: what it makes is saved or removed.
    let stop = interrupts()?;
    let claim = Model::claim(&args.model)?;
    if let Some(file) = args.report.as_ref().filter(|file| is_in(file, &args.model)) {
        return Err(in_model(file));
    }
    let checkpoint = checkpoint_of(&args.model);
    let checkpoints = args.checkpoint_every.map(|_| Checkpoint::claim(&checkpoint)).transpose()?;
    let found = if args.resume { Checkpoint::load(&checkpoint)? } else { None };
    if args.resume && found.is_none() {
        note(&format!("{}: no checkpoint yet; training starts from the beginning", checkpoint.display()));
    }
    let from = args.from.as_ref().map(Model::load).transpose()?;
    let vectors = args.vectors.as_ref().map(|file| {
        let corpora = [Some(&train[..]), Some(&dev), test.as_deref()];
        Vectors::read(file, config.embed, corpora.into_iter().flatten(), config.normalization)
    });
    let vectors = vectors.transpose()?;
    let mut trainer = match (&from, &vectors) {
        (Some(from), _) => {
            let news =
                train.iter().flat_map(TaggedSentence::tags).find(|tag| from.labels().id(tag).is_none());
            if let (Some(tag), Some(model)) = (news, &args.from) {
                return Err(Error::Input {
                    path: input::names(&args.train).into(),
                    line: None,
                    problem: format!("the tag {tag:?}"),
                    expected: format!("one of the {} tags of {}", from.labels().size(), model.display()),
                });
            }
            Trainer::from_model(&*network, config, from, &train, &dev)
        }
        (None, Some(vectors)) => Trainer::with_vectors(&*network, config, vectors, &train, &dev),
        (None, None) => Trainer::new(&*network, config, &train, &dev),
    }
    .and_then(|trainer| match found {
        Some(found) => trainer.resume(found),
        None => Ok(trainer),
    })
    .map_err(|error| input::in_file(Path::new(&input::names(&args.train)), error))?;
    trainer.stop_when(stop);
    args.warn(&trainer, &train, &dev, test.as_deref());

    // From here on nothing ends the training but its own end: what fails beside it is said when the model is saved.
    let mut rows = Rows::default();
    let measure = trainer.measure();
    if !args.json {
        rows.print(&header(measure));
    }
    let text = |record: &EpochRecord| {
        if args.json { format!("{}\n", json!({ "epoch": record })) } else { row(record, measure) }
    };
    trainer.history().iter().for_each(|record| rows.print(&text(record)));
    let (mut stopped, mut failed) = (None, Vec::new());
    while !trainer.is_finished() {
        match epoch(&mut trainer, train.len()).map(text) {
            Ok(text) => rows.print(&text),
            // The model of the finished epochs is kept, and the program ends with the error.
            Err(error) if !trainer.history().is_empty() => {
                stopped = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
        if let Some((every, claim)) = args.checkpoint_every.zip(checkpoints.as_ref())
            && (trainer.history().len() % every == 0 || trainer.is_finished())
            && let Some(now) = trainer.checkpoint()
            && let Err(error) = now.save_to(claim)
            && failed.is_empty()
        {
            note(&format!("{error}; the training goes on"));
            failed.push(error);
        }
    }
    let history = trainer.history().to_vec();
    let model = trainer.into_model();
    let (place, unsaved) = save(&model, &claim, &history);

    let outcome = model.outcome();
    let place = place.map_or("there is no model".to_owned(), |place| format!("model in {}", place.display()));
    let test = test.filter(|_| stopped.is_none());
    let network = network.as_ref();
    let evaluated = report(args, &model, network, &history, &dev, test.as_deref(), &mut failed);
    if args.json {
        let test = evaluated.as_ref().map(evaluation_json);
        rows.print(&format!("{}\n", json!({ "outcome": outcome, "hash": model.hash(), "test": test })));
    } else {
        let (name, score) = match measure {
            Measure::F1 => ("F1", outcome.dev_f1),
            _ => ("accuracy", outcome.dev_accuracy),
        };
        rows.print(&format!("best epoch {}: dev {name} {score:.2}; {place}\n", outcome.best_epoch));
        if let Some(evaluated) = evaluated {
            rows.print(&format!("\n{evaluated}"));
        }
    }
    first_of(stopped.into_iter().chain(unsaved).chain(failed).chain(rows.error(&place)))
}

/// Writes the page and evaluates on the test corpus. Errors are put to the others: neither is worth a model.
fn report(
    args: &Args,
    model: &Model,
    network: &dyn Network<f32>,
    history: &[EpochRecord],
    dev: &[TaggedSentence],
    test: Option<&[TaggedSentence]>,
    failed: &mut Vec<Error>,
) -> Option<Evaluation> {
    let mut pipeline = Pipeline::new(model, network).map_err(|error| failed.push(error)).ok()?;
    if let Some(file) = &args.report {
        let (corpus, sentences) =
            test.map_or(("the development corpus", dev), |test| ("the test corpus", test));
        let title = format!("elman train: {}", args.model.display());
        let page = Page { title: &title, model, history, corpus, sentences };
        let written =
            page.html(&mut pipeline).and_then(|page| write_output(file, FileKind::HTML, page.as_bytes()));
        failed.extend(written.err());
    }
    pipeline.evaluate(test?).map_err(|error| failed.push(error)).ok()
}

/// Saves the model: where it was to be, or, if the system refuses now, in a new folder for temporary files. Gives the
/// folder that holds it, and the error.
fn save(model: &Model, claim: &Claim, history: &[EpochRecord]) -> (Option<PathBuf>, Option<Error>) {
    let place = claim.path().to_owned();
    let Err(error) = model.save_to(claim, history) else { return (Some(place), None) };
    // It may be in place, and only not surely on the disk.
    if Model::load(&place).is_ok_and(|there| there == *model) {
        return (Some(place), Some(error));
    }
    let rescued = tempfile::Builder::new().prefix("elman-model-").tempdir().ok().and_then(|folder| {
        model.save(folder.path(), history).ok()?;
        Some(folder.keep())
    });
    if let Some(rescued) = &rescued {
        note(&format!("{}: cannot be written now; the model is in {}", place.display(), rescued.display()));
    }
    (rescued, Some(error))
}

/// Whether a file would be in this folder.
fn is_in(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    matches!((parent.canonicalize(), folder.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Where the checkpoints of a model are: beside it.
fn checkpoint_of(model: &Path) -> PathBuf {
    // `.` has no name of its own.
    let model = match model.file_name() {
        Some(_) => model.to_owned(),
        None => model.canonicalize().unwrap_or_else(|_| model.to_owned()),
    };
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".checkpoint");
    model.with_file_name(name)
}

/// A flag that becomes true when the program is asked to end (SIGINT, SIGTERM, SIGHUP); the second time it ends at once.
/// The signals by which batch systems announce the end, often more than once, set it, too: SIGXCPU (the soft limit of CPU
/// time), SIGUSR1 and SIGUSR2; a second one of these changes nothing.
pub(crate) fn interrupts() -> Result<Arc<AtomicBool>, Error> {
    let watch = |source| Error::Io { path: "signal".into(), action: "watch", source };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS.iter().copied().filter(|signal| !is_ignored(*signal)) {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(watch)?;
    }
    for signal in ANNOUNCEMENTS.iter().copied().filter(|signal| !is_ignored(*signal)) {
        flag::register(signal, stop.clone()).map_err(watch)?;
    }
    Ok(stop)
}

#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];
#[cfg(unix)]
const ANNOUNCEMENTS: [i32; 3] =
    [signal_hook::consts::SIGXCPU, signal_hook::consts::SIGUSR1, signal_hook::consts::SIGUSR2];
#[cfg(not(unix))]
const ANNOUNCEMENTS: [i32; 0] = [];

/// Whether whoever started the program wants it to ignore a signal: `nohup` does for SIGHUP, a script's `&` for SIGINT.
fn is_ignored(signal: i32) -> bool {
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        return mask
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal - 1) & 1 == 1);
    }
    // Elsewhere a program that has no terminal at all is taken for one that was told to outlive it.
    #[cfg(unix)]
    if signal == signal_hook::consts::SIGHUP {
        use std::io::{IsTerminal, stderr, stdin, stdout};
        return !(stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal());
    }
    false
}

/// The head of the table whose rows [`row`] makes.
pub(crate) fn header(measure: Measure) -> String {
    let score = if measure == Measure::F1 { "dev F1" } else { "dev ac" };
    format!("epoch     loss  {score}         lr  seconds  words/s\n")
}

/// One epoch; the star says that it is the best so far.
pub(crate) fn row(e: &EpochRecord, measure: Measure) -> String {
    format!(
        "{:5} {:8.5} {:7.2} {:10.6} {:8.2} {:8.0}{}\n",
        e.epoch,
        e.loss,
        measure.of(e),
        e.learning_rate,
        e.seconds,
        e.words_per_second,
        if e.best { " *" } else { "" }
    )
}

/// One epoch with a bar on the standard error, if that is a terminal.
pub(crate) fn epoch<'t>(trainer: &'t mut Trainer<'_>, sentences: usize) -> Result<&'t EpochRecord, Error> {
    let bar = ProgressBar::new(sentences as u64).with_finish(ProgressFinish::AndClear).with_style(
        ProgressStyle::with_template("{prefix} {wide_bar} {percent}%, {msg}")
            .expect("a template known to be right"),
    );
    let (start, last) = (Instant::now(), trainer.config().epochs);
    let record = trainer.run_epoch(&mut |p: Progress| {
        if !bar.is_hidden() {
            bar.set_prefix(format!("epoch {}/{last}", p.epoch));
            bar.set_message(message(&p, last, start.elapsed()));
            bar.set_position(p.sentences as u64);
        }
    })?;
    bar.finish_and_clear();
    Ok(record)
}

/// What the bar says: the speed, the loss, and the time that is left in the epoch and, if none ends earlier,
/// in all epochs.
fn message(p: &Progress, last: usize, elapsed: Duration) -> String {
    let epoch = elapsed.as_secs_f64() * p.of as f64 / p.sentences.max(1) as f64;
    let left = epoch - elapsed.as_secs_f64();
    let all = left + epoch * last.saturating_sub(p.epoch) as f64;
    let speed = p.words as f64 / elapsed.as_secs_f64().max(1e-9);
    let time = |seconds: f64| HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    format!("{speed:.0} words/s, loss {:.4}, {:#} left, at most {:#} in all", p.loss, time(left), time(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_fast_and_how_long() {
        let progress = Progress { epoch: 2, sentences: 25, of: 100, words: 500, loss: 0.5 };
        assert_eq!(
            message(&progress, 4, Duration::from_secs(2)),
            "250 words/s, loss 0.5000, 6s left, at most 22s in all"
        );
    }
}
