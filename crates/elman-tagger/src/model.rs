use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use elman::ndarray::{ArrayView1, ArrayView2};
use elman::{Activation, Cell, Layout, Params, Shape};
use indexmap::IndexSet;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::folder::{self, Claim};
use crate::limits::{MAX_CONFIG, MAX_HEADER, MAX_NAME, MAX_NAMES, MAX_TOKEN, MAX_WEIGHTS, check_shape};
use crate::lines::{BYTE_ORDER_MARK, Lines, name_fault};
use crate::trainer::not_finite;
use crate::vocabulary::UNKNOWN;
use crate::{EpochRecord, Error, Labels, Measure, Tagging, TrainConfig, Vocabulary};

const CONFIG: &str = "config.toml";
const WEIGHTS: &str = "weights.safetensors";
const VOCAB: &str = "vocab.txt";
const LABELS: &str = "labels.txt";
const LOG: &str = "training.log";
/// The number of words, as `config.toml` names it.
const VOCAB_COUNT: &str = "vocab";
const FILES: [&str; 5] = [CONFIG, WEIGHTS, VOCAB, LABELS, LOG];
/// What messages call the folder.
const WHAT: &str = "model";

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// The result of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch that the parameters are from; 0: the untrained ones.
    pub best_epoch: usize,
    /// F1 on the development corpus after that epoch, in percent.
    pub dev_f1: f64,
    /// Words of the development corpus whose tag was right after that epoch, in percent.
    #[serde(default)]
    pub dev_accuracy: f64,
    /// By which of the two the epochs were compared.
    #[serde(default)]
    pub measure: Measure,
    /// The version of [the standard](elman::BITS) that decided every bit of the training; `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// The implementation that trained, as [`Network::name`](elman::Network::name) gives it.
    pub network: String,
}

/// A tagger's parameters, with all that is needed to use them.
///
/// # The model folder
/// | file | content |
/// |---|---|
/// | `config.toml` | `format = 1`, `vocab` and `classes`, the [`TrainConfig`] as `[training]`, the [`Outcome`] as `[outcome]`, the SHA-256 of the three files below as `[sha256]` |
/// | `weights.safetensors` | `emb`, `wx`, `wh`, `w`, `bh`, `b`, `h0`, of a GRU also `bhn`, of an LSTM also `c0`, of a CRF also `transitions`, `start`, `end`; dtype F32, shapes as in [`Params`] |
/// | `vocab.txt` | the normalised words in the order of their ids, one a line; the first is `<UNK>` |
/// | `labels.txt` | the tags in the order of their ids, one a line |
/// | `training.log` | one line an epoch, columns parted by tabs; for people, never read back |
///
/// The sums bind the files: those of two models, or a file that was changed, are refused. Whoever changes one by hand
/// removes `[sha256]`; the models of earlier versions have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    config: TrainConfig,
    vocabulary: Vocabulary,
    labels: Labels,
    params: Params<f32>,
    outcome: Outcome,
}

/// `config.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u32,
    vocab: usize,
    classes: usize,
    /// Of weights, words and tags. Before the other tables: a file that was cut off cannot lack it alone.
    sha256: Option<BTreeMap<String, String>>,
    training: TrainConfig,
    outcome: Outcome,
}

impl ConfigFile {
    /// Refuses a file that is not the one this config was written with.
    fn check_sum(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(sums) = &self.sha256 else { return Ok(()) };
        let (found, expected) = (sum(content), sums.get(name.as_ref()).map_or("none", String::as_str));
        if found != expected {
            let expected = format!("{expected}, as in {CONFIG}: the file of another model, or a changed one");
            return Err(input(path, None, format!("SHA-256 {found}"), expected));
        }
        Ok(())
    }
}

/// Reads a file whose size a limit or a shape bounds.
type Reader<'a, Size> = &'a dyn Fn(&Path, Size) -> Result<Vec<u8>, Error>;

fn sum(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

impl Model {
    pub(crate) fn from_parts(
        config: TrainConfig,
        vocabulary: Vocabulary,
        labels: Labels,
        params: Params<f32>,
        outcome: Outcome,
    ) -> Self {
        Model { config, vocabulary, labels, params, outcome }
    }

    /// A model of parameters from elsewhere. Its [`Model::config`] has the sizes and the normalisation, and the
    /// tutorial's values where it would tell how the model was trained; its [`Model::outcome`] has no epochs, and
    /// `source` in the place of the implementation that trained.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names the tensor that does not fit the others, the vocabulary or the labels, or has an
    /// entry that is not finite; or sums that can leave the finite numbers.
    pub fn from_elsewhere(
        params: Params<f32>,
        vocabulary: Vocabulary,
        labels: Labels,
        source: impl Into<String>,
    ) -> Result<Self, Error> {
        let shape = params.shape();
        check_shape(&shape)?;
        for (what, expected, found) in [
            ("number of words", shape.vocab, vocabulary.size()),
            ("number of tags", shape.classes, labels.size()),
        ] {
            if found != expected {
                return Err(Error::shape(what, format!("{expected}, as the parameters have"), found));
            }
        }
        if let Some((name, index, value)) = not_finite(&params) {
            return Err(Error::shape(format!("{name}{index:?}"), "a finite number", value));
        }
        if let Some((what, largest)) = overflow(&params) {
            return Err(Error::shape(what, format!("at most {:e}", f32::MAX), format!("{largest:e}")));
        }
        let config = TrainConfig {
            feedback: shape.feedback,
            cell: shape.cell,
            layers: shape.layers,
            bidirectional: shape.bidirectional,
            head: shape.head,
            hidden: shape.hidden,
            embed: shape.embed,
            window: shape.window,
            normalization: vocabulary.normalization(),
            features: vocabulary.features(),
            ..TrainConfig::default()
        };
        let outcome = Outcome {
            epochs: 0,
            best_epoch: 0,
            dev_f1: 0.0,
            dev_accuracy: 0.0,
            measure: Measure::F1,
            bits: None,
            network: source.into(),
        };
        Ok(Model { config, vocabulary, labels, params, outcome })
    }

    /// How it was trained; the normalisation is that of [`Model::vocabulary`].
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The words it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The tags it gives.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// How its tags mark phrases: by the scheme that the training was given, or as the tags look.
    pub fn tagging(&self) -> Tagging {
        let tagging = Tagging::of_tags(self.labels.tags());
        self.config.scheme.map_or(tagging, |scheme| tagging.with_scheme(scheme))
    }

    /// Its tensors.
    pub fn params(&self) -> &Params<f32> {
        &self.params
    }

    /// The result of the training.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The SHA-256 of the weights in hexadecimal digits: of the entries of [`Params::as_slice`] (the tensors in the order
    /// of [`Layout::table`], each row by row), each a little-endian number of 32 bits, and of nothing else.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        self.params.as_slice().iter().for_each(|entry| hash.update(entry.to_le_bytes()));
        hex(&hash.finalize())
    }

    /// The sizes of its network.
    pub fn shape(&self) -> Shape {
        self.config.shape(self.vocabulary.size(), self.labels.size())
    }

    /// Checks that [`Model::save`] could write to this path now; leaves nothing behind.
    ///
    /// # Errors
    /// Those of [`Model::save`].
    pub fn check_target(path: impl AsRef<Path>) -> Result<(), Error> {
        folder::check(path.as_ref(), WHAT, &FILES)
    }

    /// Takes the model folder for this process alone, until the claim is dropped: for a training, which writes to it
    /// only after hours.
    ///
    /// # Errors
    /// Those of [`Model::save`]; the process that has the folder, if another one has.
    pub fn claim(path: impl AsRef<Path>) -> Result<Claim, Error> {
        Claim::new(path, WHAT, &FILES)
    }

    /// Writes the model folder. A folder that is there must be a model folder or empty, and is replaced as a
    /// whole: whatever happens in the middle, a crash included, either the old or the new one is there and
    /// whole. The enclosing folder must exist.
    ///
    /// # Errors
    /// [`Error::Input`] if something else than a model is at `path`; [`Error::Io`] if the system refuses, or another
    /// process keeps writing there. The old content is then as before, unless the message says that the new one is in
    /// place.
    pub fn save(&self, path: impl AsRef<Path>, history: &[EpochRecord]) -> Result<(), Error> {
        folder::save(path.as_ref(), WHAT, &FILES, &self.files(history)?)
    }

    /// Writes the model to a folder that [`Model::claim`] took, as [`Model::save`] does.
    ///
    /// # Errors
    /// Those of [`Model::save`].
    pub fn save_to(&self, claim: &Claim, history: &[EpochRecord]) -> Result<(), Error> {
        claim.replace(&self.files(history)?)
    }

    fn files(&self, history: &[EpochRecord]) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
        let shape = self.params.shape();
        let parts = [
            (WEIGHTS, weights(&self.params)?),
            (VOCAB, lines(self.vocabulary.words())),
            (LABELS, lines(self.labels.tags())),
        ];
        let config = ConfigFile {
            format: FORMAT,
            vocab: shape.vocab,
            classes: shape.classes,
            training: self.config.clone(),
            outcome: self.outcome.clone(),
            sha256: Some(parts.iter().map(|(name, content)| ((*name).to_owned(), sum(content))).collect()),
        };
        let config = toml::to_string(&config)
            .map_err(|error| Error::shape("config", "values that TOML can hold", error))?;
        let mut files = vec![(CONFIG, config.into_bytes())];
        files.extend(parts);
        files.push((LOG, log(history).into_bytes()));
        Ok(files)
    }

    /// Reads a model folder.
    ///
    /// Sizes are checked before memory is taken: no file and no size of the network may be beyond
    /// [`limits`](crate::limits), and `weights.safetensors` must have exactly the size that `config.toml` makes
    /// it. Only the files named above are opened, and none that is a link, a folder or a device.
    ///
    /// # Errors
    /// [`Error::Io`] if a file is missing or cannot be read; [`Error::Input`] names the file and the line or
    /// tensor that is not as [`Model`] describes.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        // A training may put a new folder in the place of this one while it is read.
        let path = path.as_ref();
        folder::read(path, CONFIG, Self::load_from).map_err(|error| match error {
            Error::Io { path: file, source, .. }
                if file == path.join(CONFIG)
                    && matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                let problem = match fs::metadata(path) {
                    Ok(found) if found.is_dir() => "the folder has no config.toml, so it is no model",
                    Ok(_) => "it is a file, and a model is a folder",
                    Err(_) => "there is no such folder",
                };
                let text = format!("{problem}; elman train --model DIR and elman import write model folders");
                let source = io::Error::new(source.kind(), text);
                Error::Io { path: path.to_owned(), action: "read the model", source }
            }
            other => other,
        })
    }

    /// A model of the files of its folder, by name and content, where there is no file system: in a browser, say. Files of
    /// other names are passed over.
    ///
    /// # Errors
    /// [`Error::Input`] names the file that is missing, or what is not as [`Model`] describes.
    pub fn from_files(files: &[(String, Vec<u8>)]) -> Result<Self, Error> {
        let read = |path: &Path, limit| {
            let file = files.iter().find(|(name, _)| path == Path::new(name));
            match file {
                None => Err(input(path, None, "no such file", "the files of a model folder")),
                Some((_, content)) if content.len() as u64 > limit => {
                    Err(input(path, None, format!("{} bytes", content.len()), format!("at most {limit}")))
                }
                Some((_, content)) => Ok(content.clone()),
            }
        };
        Self::parse(Path::new(""), &read, &|path, _| read(path, MAX_WEIGHTS))
    }

    fn load_from(folder: &Path) -> Result<Self, Error> {
        Self::parse(folder, &read_file, &read_weights_file)
    }

    /// The model of a folder whose files two functions read: texts of a limited size, and the weights.
    fn parse(folder: &Path, read: Reader<'_, u64>, read_weights: Reader<'_, Shape>) -> Result<Self, Error> {
        let path = folder.join(CONFIG);
        let config = parse_config(&path, read(&path, MAX_CONFIG)?)?;
        let (vocab_path, labels_path) = (folder.join(VOCAB), folder.join(LABELS));
        let vocab = read(&vocab_path, MAX_NAMES)?;
        let words = parse_names(&vocab_path, &vocab, config.vocab, VOCAB_COUNT)?;
        if words.first().is_none_or(|first| first != UNKNOWN) {
            return Err(input(&vocab_path, Some(1), "another word", format!("{UNKNOWN}, the first word")));
        }
        let labels = read(&labels_path, MAX_NAMES)?;
        let tags = parse_names(&labels_path, &labels, config.classes, "classes")?;
        let (path, shape) = (folder.join(WEIGHTS), config.training.shape(config.vocab, config.classes));
        let weights = read_weights(&path, shape)?;
        let params = parse_weights(&path, shape, &weights)?;
        // Last: what else is wrong with a file says more.
        for (path, content) in [(&vocab_path, &vocab), (&labels_path, &labels), (&path, &weights)] {
            config.check_sum(path, content)?;
        }
        Ok(Model {
            vocabulary: Vocabulary::from_checked(
                words,
                config.training.normalization,
                config.training.features,
            ),
            labels: Labels::from_checked(tags),
            params,
            config: config.training,
            outcome: config.outcome,
        })
    }
}

fn parse_config(path: &Path, bytes: Vec<u8>) -> Result<ConfigFile, Error> {
    let text = String::from_utf8(bytes)
        .map_err(|error| input(path, None, error.utf8_error().to_string(), "UTF-8 text"))?;
    let config: ConfigFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count() as u64);
        input(path, line, error.message(), "the config of a model")
    })?;
    if config.format != FORMAT {
        return Err(input(path, None, format!("format {}", config.format), format!("format {FORMAT}")));
    }
    let shape = config.training.shape(config.vocab, config.classes);
    config.training.check().and_then(|()| Ok(check_shape(&shape)?)).map_err(|error| at(path, error))?;
    let Outcome { epochs, best_epoch, dev_f1, dev_accuracy, .. } = &config.outcome;
    for (name, percent) in [("dev_f1", dev_f1), ("dev_accuracy", dev_accuracy)] {
        if !(0.0..=100.0).contains(percent) {
            return Err(input(path, None, format!("{name} is {percent}"), "0 to 100"));
        }
    }
    if best_epoch > epochs {
        return Err(input(
            path,
            None,
            format!("best_epoch is {best_epoch}"),
            format!("at most {epochs}, the epochs"),
        ));
    }
    Ok(config)
}

/// The error of a value that a file has: the message names the value, the file is added here.
pub(crate) fn at(path: &Path, error: Error) -> Error {
    use elman::Error::{Shape, Unsupported};
    match error {
        Error::Network(Shape { what, expected, found } | Unsupported { what, expected, found }) => {
            input(path, None, format!("{what} is {found}"), expected)
        }
        other => other,
    }
}

/// The next word or tag of a file that has one a line, each once.
fn next_name(
    lines: &mut Lines<&[u8]>,
    before: &IndexSet<String>,
    longest: usize,
) -> Result<Option<String>, Error> {
    let Some(line) = lines.next_line()? else { return Ok(None) };
    let fault = name_fault(line, longest);
    let name = line.to_owned();
    if let Some((problem, expected)) = fault {
        return Err(lines.error(problem, expected));
    }
    match before.get_index_of(&name) {
        Some(first) => {
            Err(lines.error(format!("the name of line {} again", first + 1), "each word or tag once"))
        }
        None => Ok(Some(name)),
    }
}

/// The words or tags of a file, one a line, as many as `config.toml` says.
fn parse_names(path: &Path, bytes: &[u8], count: usize, what: &str) -> Result<IndexSet<String>, Error> {
    let mut lines = Lines::new(bytes, path);
    let mut names = IndexSet::new();
    while let Some(name) =
        next_name(&mut lines, &names, if what == VOCAB_COUNT { MAX_NAME } else { MAX_TOKEN })?
    {
        if names.len() == count {
            return Err(lines.error("one line more", format!("{count}, {what} in {CONFIG}")));
        }
        names.insert(name);
    }
    if names.len() != count {
        let problem = format!("{} lines", names.len());
        return Err(input(path, None, problem, format!("{count}, {what} in {CONFIG}")));
    }
    Ok(names)
}

/// The bytes of a safetensors file that has the size it must have.
pub(crate) fn read_weights_file(path: &Path, shape: Shape) -> Result<Vec<u8>, Error> {
    let (mut file, size) = open(path, MAX_WEIGHTS)?;
    let io = |source| Error::Io { path: path.to_owned(), action: "read", source };
    let tensors = 4 * shape.parameters() as u64; // checked with the config
    let mut length = [0; 8];
    if size < 8 {
        return Err(input(path, None, format!("{size} bytes"), "a safetensors file"));
    }
    file.read_exact(&mut length).map_err(io)?;
    let header = u64::from_le_bytes(length);
    if header > MAX_HEADER {
        return Err(input(
            path,
            None,
            format!("a header of {header} bytes"),
            format!("at most {MAX_HEADER}"),
        ));
    }
    if size != 8 + header + tensors {
        let expected =
            format!("{}, 8 + {header} for the header + 4 for each parameter", 8 + header + tensors);
        return Err(input(path, None, format!("{size} bytes"), expected));
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size as usize)
        .map_err(|_| input(path, None, format!("{size} bytes"), "a file that fits into the free memory"))?;
    bytes.extend_from_slice(&length);
    file.take(header + tensors).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The tensors of a safetensors file.
pub(crate) fn parse_weights(path: &Path, shape: Shape, bytes: &[u8]) -> Result<Params<f32>, Error> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| input(path, None, error.to_string(), "a safetensors file"))?;
    if let Some(key) = repeated_key(bytes) {
        return Err(input(path, None, format!("{key:?} twice in the header"), "each name once"));
    }
    let names: Vec<&str> = shape.table().map(|tensor| tensor.name.as_str()).collect();
    if let Some(name) = file.names().into_iter().find(|name| !names.contains(name)) {
        return Err(input(path, None, format!("tensor {name:?}"), names.join(", ")));
    }
    let mut params = Params::zeros(shape)?;
    for (name, mut tensor) in params.tensors_mut() {
        let found = file
            .tensor(name.as_str())
            .map_err(|_| input(path, None, format!("no tensor {name}"), names.join(", ")))?;
        if found.dtype() != Dtype::F32 {
            return Err(input(path, None, format!("{name} is of type {}", found.dtype()), "F32"));
        }
        if found.shape() != tensor.shape() {
            let problem = format!("{name} has shape {:?}", found.shape());
            return Err(input(path, None, problem, format!("{:?}", tensor.shape())));
        }
        for (entry, bytes) in tensor.iter_mut().zip(found.data().as_chunks().0) {
            *entry = f32::from_le_bytes(*bytes);
        }
    }
    if let Some((name, index, value)) = not_finite(&params) {
        return Err(input(path, None, format!("{name}{index:?} is {value}"), "a finite number"));
    }
    if let Some((what, largest)) = overflow(&params) {
        let problem = format!("the {what} can reach {largest:e}");
        return Err(input(
            path,
            None,
            problem,
            format!("weights with which they stay within {:e}", f32::MAX),
        ));
    }
    Ok(params)
}

/// Sums that finite weights could bring to infinity, and how large they can get; `None` if there are none such.
pub(crate) fn overflow(params: &Params<f32>) -> Option<(&'static str, f64)> {
    let largest = |entries: ArrayView1<'_, f32>| {
        entries.iter().fold(0.0, |most: f64, entry| most.max(f64::from(entry.abs())))
    };
    // The largest sum of the absolute values of a column.
    let column = |matrix: ArrayView2<'_, f32>| {
        let mut sums = vec![0.0; matrix.ncols()];
        for row in matrix.rows() {
            sums.iter_mut().zip(row).for_each(|(sum, entry)| *sum += f64::from(entry.abs()));
        }
        sums.into_iter().fold(0.0, f64::max)
    };
    // A state is in [-1, 1], or the first one; so are the probabilities that a Jordan network feeds back. With ReLU it
    // can grow with the sentence: here with a sentence of one word, and Pipeline looks at the scores of others. Each layer
    // gets the states of the one below.
    let (mut sums, mut last) = (0.0, params.emb().rows().into_iter().map(largest).fold(0.0, f64::max));
    for number in 0..params.shape().layers {
        let input = last;
        last = 1.0;
        for direction in params.shape().directions() {
            let layer = params.layer_at(number, *direction);
            let state = largest(layer.h0()).max(1.0);
            let biases = largest(layer.bh()) + layer.bhn().map_or(0.0, largest);
            let states = input * column(layer.wx()) + state * column(layer.wh()) + biases;
            sums = f64::max(sums, states);
            last = f64::max(last, if grows(params.shape().cell) { state.max(states) } else { state });
        }
    }
    let mut scores = last * column(params.w()) + largest(params.b());
    // A CRF adds at most the range of the scores of the next word to those of a word, and twice its own.
    if let Some(crf) = params.crf() {
        let rows = crf.transitions.rows().into_iter().map(largest);
        let own = rows.fold(largest(crf.start), f64::max).max(largest(crf.end));
        scores += 2.0 * scores + 4.0 * own;
    }
    [("sums before the activation", sums), ("scores", scores)]
        .into_iter()
        .find(|(_, largest)| *largest > f64::from(f32::MAX))
}

/// Whether the states of a cell can grow with the sentence.
pub(crate) fn grows(cell: Cell) -> bool {
    cell == Cell::Elman(Activation::Relu)
}

/// A name that the header of a safetensors file has twice: each reader takes another one of the two.
pub fn repeated_key(file: &[u8]) -> Option<String> {
    /// Counts the names of an object, and those of the objects in it.
    struct Names<'a>(&'a mut Option<String>);

    impl<'de> DeserializeSeed<'de> for Names<'_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Names<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a header")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = HashSet::new();
            while let Some(name) = map.next_key::<String>()? {
                map.next_value_seed(Names(&mut *self.0))?;
                if let Some(name) = seen.replace(name) {
                    self.0.get_or_insert(name);
                }
            }
            Ok(())
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(())
        }

        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }

        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
    }

    let (length, rest) = file.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut repeated = None;
    // Other faults of a header are named by its reader.
    let header = std::str::from_utf8(header).ok()?;
    let _ = Names(&mut repeated).deserialize(&mut serde_json::Deserializer::from_str(header));
    repeated
}

/// The tensors as a safetensors file.
pub(crate) fn weights(params: &Params<f32>) -> Result<Vec<u8>, Error> {
    let bytes: Vec<u8> = params.as_slice().iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let refused = |error| Error::shape("weights", "tensors that safetensors can hold", error);
    let mut rest = &bytes[..];
    let views = params
        .shape()
        .table()
        .map(|tensor| {
            let (data, after) = rest.split_at(4 * tensor.entries());
            rest = after;
            Ok((tensor.name.as_str(), TensorView::new(Dtype::F32, tensor.dims(), data)?))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    safetensors::serialize(views, None).map_err(refused)
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut text = Vec::new();
    for (number, name) in names.enumerate() {
        // A reader drops one byte order mark at the start of a file.
        if number == 0 && name.starts_with(BYTE_ORDER_MARK) {
            text.extend_from_slice(BYTE_ORDER_MARK.as_bytes());
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
    }
    text
}

fn log(history: &[EpochRecord]) -> String {
    let mut log = String::from(
        "epoch\tlr\tloss\tdev_precision\tdev_recall\tdev_f1\tdev_accuracy\tseconds\twords_per_second\n",
    );
    for e in history {
        log += &format!(
            "{}\t{}\t{:.6}\t{:.2}\t{:.2}\t{:.2}\t{:.2}\t{:.3}\t{:.0}\n",
            e.epoch,
            e.learning_rate,
            e.loss,
            e.dev_precision,
            e.dev_recall,
            e.dev_f1,
            e.dev_accuracy,
            e.seconds,
            e.words_per_second
        );
    }
    log
}

/// The words or tags of a file, one a line, in their order: how the files of a model folder hold them.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Input`] names the line that is empty, no word, or there before, and a
/// file of more than 64 MiB.
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_NAMES)?;
    let mut lines = Lines::new(&bytes[..], path);
    let mut names = IndexSet::new();
    while let Some(name) = next_name(&mut lines, &names, MAX_NAME)? {
        names.insert(name);
    }
    Ok(names.into_iter().collect())
}

/// Opens a regular file and gives its size, which is at most `limit`.
fn open(path: &Path, limit: u64) -> Result<(File, u64), Error> {
    let io = |source| Error::Io { path: path.to_owned(), action: "open", source };
    let regular = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(input(path, None, "a link, a folder or a device", "a file")),
    };
    regular(fs::symlink_metadata(path).map_err(io)?)?;
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Should a link or a pipe have taken the file's place by now: neither follow the one nor wait for the other.
        options.custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(path).map_err(io)?;
    let size = regular(file.metadata().map_err(io)?)?;
    if size > limit {
        return Err(input(path, None, format!("{size} bytes"), format!("at most {limit}")));
    }
    Ok((file, size))
}

pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let (file, _) = open(path, limit)?;
    let mut bytes = Vec::new();
    // The limit once more, should the file have grown since.
    file.take(limit).read_to_end(&mut bytes).map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    Ok(bytes)
}

pub(crate) fn input(
    path: &Path,
    line: Option<u64>,
    problem: impl Into<String>,
    expected: impl Into<String>,
) -> Error {
    Error::Input { path: PathBuf::from(path), line, problem: problem.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use elman::Feedback;
    use elman_reference::Reference;

    use super::*;
    use crate::{Normalization, Trainer, travel};

    fn model() -> Model {
        model_of(Feedback::Hidden)
    }

    fn model_of(feedback: Feedback) -> Model {
        let (train, dev) = (travel::corpus(1, 30), travel::corpus(2, 10));
        let config = TrainConfig {
            feedback,
            hidden: 5,
            embed: 4,
            window: 3,
            epochs: 1,
            seed: 9,
            normalization: Normalization { lowercase: false, digits: true },
            ..TrainConfig::default()
        };
        let network = Reference::new();
        let mut trainer = Trainer::new(&network, config, &train, &dev).unwrap();
        trainer.run_epoch(&mut |_| {}).unwrap();
        trainer.into_model()
    }

    fn saved() -> (tempfile::TempDir, PathBuf, Model) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let model = model();
        model.save(&path, &[]).unwrap();
        (parent, path, model)
    }

    /// The message of loading a model one of whose files was changed, without the folder's path.
    fn message(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let (_parent, path, _) = saved();
        let mut bytes = fs::read(path.join(file)).unwrap();
        change(&mut bytes);
        fs::write(path.join(file), bytes).unwrap();
        let error = Model::load(&path).expect_err("a broken model must be refused");
        assert!(matches!(error, Error::Input { .. }), "{error:?}");
        error.to_string().replace(&format!("{}/", path.display()), "")
    }

    fn replaced(file: &str, from: &str, to: &str) -> String {
        message(file, |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            *bytes = text.replacen(from, to, 1).into_bytes();
        })
    }

    #[test]
    fn a_jordan_model_comes_back_as_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let model = model_of(Feedback::Output);
        model.save(&path, &[]).unwrap();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        assert!(config.contains("[training]\nnetwork = \"jordan\"\n"), "{config}");
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model);
        assert_eq!(loaded.params().shape().feedback, Feedback::Output);
        let elsewhere = Model::from_elsewhere(
            model.params.clone(),
            Vocabulary::from_words(
                model.vocabulary.words().map(str::to_owned),
                Normalization { lowercase: false, digits: true },
            )
            .unwrap(),
            model.labels.clone(),
            "a test",
        )
        .unwrap();
        assert_eq!(elsewhere.shape(), model.shape());
        assert_eq!(elsewhere.config().normalization, Normalization { lowercase: false, digits: true });
        // The weights of one network are not those of the other.
        fs::write(path.join(CONFIG), config.replace("network = \"jordan\"\n", "")).unwrap();
        let message = Model::load(&path).unwrap_err().to_string();
        assert!(message.contains("weights.safetensors"), "{message}");
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_parent, path, model) = saved();
        assert_eq!(Model::load(&path).unwrap(), model);
        assert_eq!(model.params().shape(), model.shape());
        assert_eq!(model.config(), &model.config);
        // The same model makes the same bytes.
        let other = path.with_file_name("other");
        model.save(&other, &[]).unwrap();
        for file in FILES {
            assert_eq!(fs::read(path.join(file)).unwrap(), fs::read(other.join(file)).unwrap(), "{file}");
        }
        // And other readers find the seven tensors.
        let bytes = fs::read(path.join(WEIGHTS)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort_unstable();
        assert_eq!(names, ["b", "bh", "emb", "h0", "w", "wh", "wx"]);
        // The hash is that of their bytes, in the order of the documentation.
        let order = ["emb", "wx", "wh", "w", "bh", "b", "h0"];
        let data = order.map(|name| file.tensor(name).unwrap().data().to_vec()).concat();
        assert_eq!(model.hash(), sum(&data));
    }

    #[test]
    fn a_config_that_is_wrong_is_named() {
        let is = |from, to, expected: &str| {
            let message = replaced(CONFIG, from, to);
            assert!(message.starts_with("config.toml"), "{message}");
            assert!(message.contains(expected), "{message}");
        };
        is("format = 1", "format = 2", "format 2, expected format 1");
        is("format = 1", "format = 1\nmore = 1", "config.toml:2: unknown field `more`");
        is("hidden = 5", "hidden = -5", "config.toml:12: invalid value: integer `-5`");
        is("hidden = 5", "hidden = 0", "hidden is 0, expected at least 1");
        is("hidden = 5", "hidden = 1000000", "hidden is 1000000, expected at most 32768");
        is("hidden = 5", "hidden = 32768", "number of parameters is 107");
        is("window = 3", "window = 2", "window is 2, expected an odd number");
        is("vocab = ", "vocab = 9000000000000", "expected at most 4294967295, as ids have 32 bits");
        is("vocab = ", "vocab = 9223372036854775807 # ", "expected at most 4294967295");
        is("learning_rate = 0", "learning_rate = nan # ", "learning_rate is NaN");
        is("recipe = \"tutorial\"", "recipe = \"mine\"", "unknown variant `mine`");
        is("[outcome]", "[outcome", "config.toml:");
        is("dev_f1 = ", "dev_f1 = nan # ", "dev_f1 is NaN, expected 0 to 100");
        is("dev_f1 = ", "dev_f1 = 100.1 # ", "dev_f1 is 100.1, expected 0 to 100");
        is("dev_accuracy = ", "dev_accuracy = -0.1 # ", "dev_accuracy is -0.1, expected 0 to 100");
        is("best_epoch = ", "best_epoch = 9 # ", "best_epoch is 9, expected at most 1, the epochs");
        assert!(message(CONFIG, |b| b.push(0xff)).contains("UTF-8"));
        assert!(
            message(CONFIG, |b| b.resize(MAX_CONFIG as usize + 1, b' ')).contains("expected at most 65536")
        );
    }

    #[test]
    fn words_and_tags_that_are_wrong_are_named() {
        assert_eq!(
            replaced(VOCAB, "<UNK>\n", "unk\n"),
            "vocab.txt:1: another word, expected <UNK>, the first word"
        );
        assert!(replaced(VOCAB, "<UNK>\n", "<UNK>\nx\n").contains(": one line more, expected "));
        assert!(
            replaced(VOCAB, "<UNK>\n", "<UNK>\n<UNK>\n").starts_with("vocab.txt:2: the name of line 1 again")
        );
        assert!(replaced(VOCAB, "<UNK>\n", "<UNK>\n\n").starts_with("vocab.txt:2: empty word or tag"));
        // A word may have blanks in it, as tabs part columns.
        assert!(replaced(VOCAB, "<UNK>\n", "<UNK>\na b\n").contains(": one line more, expected "));
        assert!(message(VOCAB, |b| b[0] = 0xff).starts_with("vocab.txt:1: byte 0xff"));
        assert!(message(LABELS, Vec::clear).contains("labels.txt: 0 lines, expected "));
        // A word may have grown when it was normalised, a tag not.
        let long = "x".repeat(MAX_TOKEN + 1);
        let inserted = replaced(VOCAB, "<UNK>\n", &format!("<UNK>\n{long}\n"));
        assert!(inserted.contains(": one line more, expected "), "{inserted}");
        let prefixed = message(LABELS, |bytes| drop(bytes.splice(0..0, long.bytes())));
        assert!(prefixed.starts_with("labels.txt:1: word or tag of "), "{prefixed}");
    }

    #[test]
    fn tensors_that_are_wrong_are_named() {
        let is = |expected: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let message = message(WEIGHTS, change);
            assert!(message.starts_with("weights.safetensors: "), "{message}");
            assert!(message.contains(expected), "{message}");
        };
        let swap = |bytes: &mut Vec<u8>, from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let place = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
            bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
        };
        is("7 bytes, expected a safetensors file", &|b| b.truncate(7));
        is("bytes, expected ", &|b| b.truncate(b.len() - 1));
        is("bytes, expected ", &|b| b.push(0));
        is("a header of 18446744073709551615 bytes, expected at most 65536", &|b| b[..8].fill(0xff));
        is("invalid JSON in header", &|b| b[8] = b'x');
        is("tensor \"xh\", expected emb, wx", &|b| swap(b, "\"wh\"", "\"xh\""));
        is("wh is of type I32, expected F32", &|b| {
            swap(b, "\"wh\":{\"dtype\":\"F32\"", "\"wh\":{\"dtype\":\"I32\"")
        });
        is("wx has shape [5, 12], expected [12, 5]", &|b| swap(b, "[12,5]", "[5,12]"));
        // The last entry of wx, the last tensor of the file.
        is("wx[11, 4] is NaN, expected a finite number", &|b| {
            let place = b.len() - 4;
            b[place..].copy_from_slice(&f32::NAN.to_le_bytes());
        });
        is("wx[11, 4] is -inf, expected a finite number", &|b| {
            let place = b.len() - 4;
            b[place..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        });
    }

    /// Each of these files is right by itself.
    #[test]
    fn files_of_two_models_are_refused_and_a_model_without_sums_is_read() {
        let (_parent, path, model) = saved();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        let sums = &config[config.find("\n[sha256]").unwrap()..config.find("\n[training]").unwrap()];
        assert_eq!(sums.lines().count(), 5, "{sums}");
        let swapped = |bytes: &mut Vec<u8>| {
            let end = bytes.len();
            // The last lines change places, or the last entries.
            let text = String::from_utf8_lossy(bytes).into_owned();
            if text.is_char_boundary(end - 1) && bytes.is_ascii() {
                let mut lines: Vec<&str> = text.lines().collect();
                let last = lines.len() - 1;
                lines.swap(last - 1, last);
                *bytes = (lines.join("\n") + "\n").into_bytes();
            } else {
                bytes[end - 2] ^= 1;
            }
        };
        for name in [WEIGHTS, VOCAB, LABELS] {
            let whole = fs::read(path.join(name)).unwrap();
            let message = message(name, swapped);
            assert!(message.starts_with(&format!("{name}: SHA-256 ")), "{message}");
            assert!(
                message.ends_with("as in config.toml: the file of another model, or a changed one"),
                "{message}"
            );
            // As earlier versions wrote it, or changed by hand.
            let mut changed = whole.clone();
            swapped(&mut changed);
            fs::write(path.join(name), changed).unwrap();
            fs::write(path.join(CONFIG), config.replace(sums, "")).unwrap();
            Model::load(&path).unwrap();
            fs::write(path.join(name), whole).unwrap();
            assert_eq!(Model::load(&path).unwrap(), model);
            fs::write(path.join(CONFIG), &config).unwrap();
        }
        let missing = config.replace("vocab.txt", "vocabulary.txt");
        fs::write(path.join(CONFIG), missing).unwrap();
        let message = Model::load(&path).unwrap_err().to_string();
        assert!(
            message.contains("vocab.txt: SHA-256 ") && message.contains("expected none, as in"),
            "{message}"
        );
    }

    #[test]
    fn a_name_twice_in_a_header_is_refused() {
        let twice = |place: &str, entry: &str| {
            message(WEIGHTS, |bytes| {
                let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
                let mut header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
                let at = header.find(place).unwrap() + place.len();
                header.insert_str(at, entry);
                let tensors = bytes.split_off(8 + length);
                *bytes = (header.len() as u64).to_le_bytes().to_vec();
                bytes.extend(header.into_bytes());
                bytes.extend(tensors);
            })
        };
        // Another file than the one with one entry less, and both are whole.
        let tensor = twice("{", r#""bh":{"dtype":"F32","shape":[5],"data_offsets":[0,20]},"#);
        assert!(tensor.starts_with("weights.safetensors: "), "{tensor}");
        assert!(tensor.contains(r#""bh" twice in the header, expected each name once"#), "{tensor}");
        let inner = twice(r#""wh":{"#, r#""dtype":"F32","#);
        assert!(inner.starts_with("weights.safetensors: "), "{inner}");
        let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        for (text, expected) in [
            (r#"{"a":{"shape":[1,2],"shape":[]}}"#, Some("shape")),
            (r#"{"__metadata__":{"x":"1","x":"2"}}"#, Some("x")),
            (r#"{"a":{"x":1},"b":{"x":1}}"#, None),
            (r#"{"a":"#, None),
        ] {
            assert_eq!(repeated_key(&header(text)).as_deref(), expected, "{text}");
        }
        assert_eq!(repeated_key(b"short"), None);
        assert_eq!(repeated_key(&[0xff; 9]), None);
    }

    #[test]
    fn finite_weights_whose_sums_can_overflow_are_refused() {
        let model = model();
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let huge = f32::MAX / 2.0;
        type Change = fn(&mut Params<f32>, f32);
        let changes: [(&str, Change); 6] = [
            ("scores", |params, huge| params.w_mut().column_mut(1).fill(huge)),
            ("scores", |params, huge| (params.w_mut()[[0, 0]], params.b_mut()[0]) = (huge, huge * 1.5)),
            ("sums before the activation", |params, huge| params.wh_mut().column_mut(1).fill(huge)),
            ("sums before the activation", |params, huge| {
                (params.emb_mut()[[0, 0]], params.wx_mut()[[0, 0]]) = (3.0, huge)
            }),
            ("sums before the activation", |params, huge| {
                (params.h0_mut()[0], params.wh_mut()[[0, 0]]) = (-3.0, huge)
            }),
            ("sums before the activation", |params, huge| {
                (params.bh_mut()[0], params.wh_mut()[[0, 0]]) = (-huge * 1.5, huge)
            }),
        ];
        for (what, change) in changes {
            let mut broken = model.clone();
            change(&mut broken.params, huge);
            broken.save(&path, &[]).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("weights.safetensors: the {what} can reach ")), "{message}");
            let parts = (model.vocabulary.clone(), model.labels.clone());
            let error =
                Model::from_elsewhere(broken.params, parts.0, parts.1, "test").unwrap_err().to_string();
            assert!(error.starts_with(&format!("{what}: expected at most 3.4")), "{error}");
        }
        // With ReLU the scores grow with the states.
        let mut relu = model.clone();
        relu.params.emb_mut().fill(1e20);
        relu.params.wx_mut().fill(1.0);
        relu.params.w_mut().fill(1e18);
        assert_eq!(overflow(&relu.params), None);
        let shape = Shape { cell: Cell::Elman(Activation::Relu), ..relu.params.shape() };
        let mut params = Params::<f32>::zeros(shape).unwrap();
        params.as_mut_slice().copy_from_slice(relu.params.as_slice());
        assert_eq!(overflow(&params).unwrap().0, "scores");
        // Large weights that cannot overflow are read.
        let mut large = model.clone();
        large.params.b_mut().fill(1e38);
        large.save(&path, &[]).unwrap();
        assert_eq!(Model::load(&path).unwrap(), large);
    }

    #[test]
    fn a_missing_file_is_named_and_links_are_refused() {
        for file in [CONFIG, WEIGHTS, VOCAB, LABELS] {
            let (_parent, path, _) = saved();
            fs::rename(path.join(file), path.with_file_name("elsewhere")).unwrap();
            let error = Model::load(&path).unwrap_err();
            let named = if file == CONFIG { path.clone() } else { path.join(file) };
            assert!(matches!(&error, Error::Io { path, .. } if *path == named), "{error}");
            #[cfg(unix)]
            {
                std::os::unix::fs::symlink(path.with_file_name("elsewhere"), path.join(file)).unwrap();
                let error = Model::load(&path).unwrap_err().to_string();
                assert!(error.contains("a link, a folder or a device, expected a file"), "{error}");
            }
        }
    }

    #[test]
    fn a_tag_that_begins_with_a_byte_order_mark_comes_back() {
        let (_parent, path, mut model) = saved();
        let tags = model.labels.tags().enumerate();
        let tags = tags.map(|(id, tag)| if id == 0 { format!("\u{feff}{tag}") } else { tag.to_owned() });
        model.labels = Labels::from_tags(tags).unwrap();
        model.save(&path, &[]).unwrap();
        assert_eq!(Model::load(&path).unwrap(), model);
    }

    /// Neither a file that only seems to be large nor a pipe is read.
    #[cfg(unix)]
    #[test]
    fn what_is_larger_than_its_limit_or_no_file_is_refused_unread() {
        for (file, size) in
            [(CONFIG, MAX_CONFIG), (VOCAB, MAX_NAMES), (LABELS, MAX_NAMES), (WEIGHTS, MAX_WEIGHTS)]
        {
            let (_parent, path, _) = saved();
            let file_of_zeros = File::options().write(true).open(path.join(file)).unwrap();
            if file == CONFIG {
                file_of_zeros.set_len(size).unwrap();
                let message = Model::load(&path).unwrap_err().to_string();
                assert!(!message.contains(&format!("expected at most {size}")), "{message}");
            }
            file_of_zeros.set_len(size + 1).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{file}: {} bytes, expected at most {size}", size + 1)),
                "{message}"
            );
            fs::remove_file(path.join(file)).unwrap();
            let device = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path.join(file), device, mode, 0).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(message.contains("a link, a folder or a device, expected a file"), "{message}");
        }
    }

    #[test]
    fn words_and_epochs_have_a_line_each() {
        let (_parent, path, model) = saved();
        let record = EpochRecord {
            epoch: 1,
            learning_rate: 0.0625,
            loss: 1.5,
            dev_precision: 50.0,
            dev_recall: 25.0,
            dev_accuracy: 75.0,
            dev_f1: 100.0 / 3.0,
            best: true,
            seconds: 2.0,
            words_per_second: 1234.4,
        };
        model.save(&path, &[record]).unwrap();
        assert!(fs::read(path.join(VOCAB)).unwrap().starts_with(b"<UNK>\n"), "no byte order mark");
        assert_eq!(
            fs::read_to_string(path.join(LOG)).unwrap().lines().collect::<Vec<_>>(),
            [
                "epoch\tlr\tloss\tdev_precision\tdev_recall\tdev_f1\tdev_accuracy\tseconds\twords_per_second",
                "1\t0.0625\t1.500000\t50.00\t25.00\t33.33\t75.00\t2.000\t1234"
            ]
        );
    }

    #[test]
    fn what_is_no_model_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("empty")).unwrap();
        for (name, problem) in [
            ("none", "there is no such folder"),
            ("file", "it is a file, and a model is a folder"),
            ("empty", "the folder has no config.toml, so it is no model"),
        ] {
            let message = Model::load(path(name)).unwrap_err().to_string();
            let expected =
                format!("{}: cannot read the model: {problem}; elman train --model", path(name).display());
            assert!(message.starts_with(&expected), "{message}");
        }
    }

    #[test]
    fn a_header_of_tensors_is_limited() {
        let (_parent, path, _) = saved();
        for (header, expected) in [
            (MAX_HEADER, "8 bytes, expected ".to_owned()),
            (MAX_HEADER + 1, format!("a header of {} bytes, expected at most {MAX_HEADER}", MAX_HEADER + 1)),
        ] {
            fs::write(path.join(WEIGHTS), header.to_le_bytes()).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("{WEIGHTS}: {expected}")), "{message}");
        }
    }

    #[test]
    fn a_target_is_checked_and_nothing_left_behind() {
        let (parent, path, model) = saved();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("notes.txt"), "").unwrap();
        Model::check_target(&path).unwrap();
        Model::check_target(parent.path().join("new")).unwrap();
        for target in [other.clone(), path.join(CONFIG), parent.path().join("none/new")] {
            assert!(Model::check_target(&target).is_err(), "{target:?}");
        }
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 2);
        assert_eq!(Model::load(&path).unwrap(), model);
    }

    #[test]
    fn every_truncation_is_refused() {
        let (_parent, path, model) = saved();
        for file in [CONFIG, VOCAB, LABELS, WEIGHTS] {
            let bytes = fs::read(path.join(file)).unwrap();
            // Every length of the small files and of the header, then some of the tensors.
            let lengths = (0..bytes.len()).filter(|n| *n < 1200 || n % 97 == 0);
            for length in lengths {
                fs::write(path.join(file), &bytes[..length]).unwrap();
                // The last line of the config may lose its line end, or digits of its number, and still be read.
                if let Ok(other) = Model::load(&path) {
                    assert!(
                        file == CONFIG && length + 4 > bytes.len(),
                        "{file} cut to {length} of {}",
                        bytes.len()
                    );
                    assert_eq!(other.params(), model.params());
                }
            }
            fs::write(path.join(file), bytes).unwrap();
        }
        assert_eq!(Model::load(&path).unwrap(), model);
    }
}
