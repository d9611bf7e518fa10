use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use elman::{Layout, Params, Shape};
use indexmap::IndexSet;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::folder;
use crate::limits::{MAX_CONFIG, MAX_HEADER, MAX_LINE, MAX_NAMES, MAX_TOKEN, MAX_WEIGHTS, check_shape};
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

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// What a training came to.
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
    /// The implementation that trained, as [`Network::name`](elman::Network::name) gives it.
    pub network: String,
}

/// A tagger's parameters, with all that is needed to use them.
///
/// # The model folder
/// | file | content |
/// |---|---|
/// | `config.toml` | `format = 1`, `vocab` and `classes`, the [`TrainConfig`] as `[training]`, the [`Outcome`] as `[outcome]` |
/// | `weights.safetensors` | `emb`, `wx`, `wh`, `w`, `bh`, `b`, `h0`, of a GRU also `bhn`; dtype F32, shapes as in [`Params`] |
/// | `vocab.txt` | the normalised words in the order of their ids, one a line; the first is `<UNK>` |
/// | `labels.txt` | the tags in the order of their ids, one a line |
/// | `training.log` | one line an epoch, columns parted by tabs; for people, never read back |
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
    training: TrainConfig,
    outcome: Outcome,
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
    /// entry that is not finite.
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
        let config = TrainConfig {
            feedback: shape.feedback,
            cell: shape.cell,
            hidden: shape.hidden,
            embed: shape.embed,
            window: shape.window,
            normalization: vocabulary.normalization(),
            ..TrainConfig::default()
        };
        let outcome = Outcome {
            epochs: 0,
            best_epoch: 0,
            dev_f1: 0.0,
            dev_accuracy: 0.0,
            measure: Measure::F1,
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

    /// What the training came to.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
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
        folder::check(path.as_ref(), &FILES)
    }

    /// Writes the model folder. A folder that is there must be a model folder or empty, and is replaced as a
    /// whole: whatever happens in the middle, a crash included, either the old or the new one is there and
    /// whole. The enclosing folder must exist.
    ///
    /// # Errors
    /// [`Error::Input`] if something else than a model is at `path`; [`Error::Io`] if the system refuses. The
    /// old folder is then as before.
    pub fn save(&self, path: impl AsRef<Path>, history: &[EpochRecord]) -> Result<(), Error> {
        let shape = self.params.shape();
        let config = ConfigFile {
            format: FORMAT,
            vocab: shape.vocab,
            classes: shape.classes,
            training: self.config.clone(),
            outcome: self.outcome.clone(),
        };
        let config = toml::to_string(&config)
            .map_err(|error| Error::shape("config", "values that TOML can hold", error))?;
        let files = [
            (CONFIG, config.into_bytes()),
            (WEIGHTS, weights(&self.params)?),
            (VOCAB, lines(self.vocabulary.words())),
            (LABELS, lines(self.labels.tags())),
            (LOG, log(history).into_bytes()),
        ];
        folder::replace(path.as_ref(), &files)
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
        folder::read(path.as_ref(), Self::load_from)
    }

    fn load_from(folder: &Path) -> Result<Self, Error> {
        let config = read_config(&folder.join(CONFIG))?;
        let vocab_path = folder.join(VOCAB);
        let words = read_names(&vocab_path, config.vocab, VOCAB_COUNT)?;
        if words.first().is_none_or(|first| first != UNKNOWN) {
            return Err(input(&vocab_path, Some(1), "another word", format!("{UNKNOWN}, the first word")));
        }
        let tags = read_names(&folder.join(LABELS), config.classes, "classes")?;
        let (path, shape) = (folder.join(WEIGHTS), config.training.shape(config.vocab, config.classes));
        let params = parse_weights(&path, shape, &read_weights_file(&path, shape)?)?;
        Ok(Model {
            vocabulary: Vocabulary::from_checked(words, config.training.normalization),
            labels: Labels::from_checked(tags),
            params,
            config: config.training,
            outcome: config.outcome,
        })
    }
}

fn read_config(path: &Path) -> Result<ConfigFile, Error> {
    let bytes = read_file(path, MAX_CONFIG)?;
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

/// The words or tags of a file, one a line, as many as `config.toml` says.
fn read_names(path: &Path, count: usize, what: &str) -> Result<IndexSet<String>, Error> {
    let bytes = read_file(path, MAX_NAMES)?;
    let mut lines = Lines::new(&bytes[..], path);
    let mut names = IndexSet::new();
    while let Some(line) = lines.next_line()? {
        let fault = name_fault(line, if what == VOCAB_COUNT { MAX_LINE } else { MAX_TOKEN });
        let name = line.to_owned();
        if let Some((problem, expected)) = fault {
            return Err(lines.error(problem, expected));
        }
        if names.len() == count {
            return Err(lines.error("one line more", format!("{count}, {what} in {CONFIG}")));
        }
        if !names.insert(name) {
            return Err(lines.error("a line that was there before", "each word or tag once"));
        }
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
    Ok(params)
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
/// [`Error::Io`] if the file cannot be read; [`Error::Input`] names the line that is none, and a file of more
/// than 64 MiB.
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_NAMES)?;
    let mut lines = Lines::new(&bytes[..], path);
    let mut names = Vec::new();
    while let Some(line) = lines.next_line()? {
        names.push(line.to_owned());
    }
    Ok(names)
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
        is("hidden = 5", "hidden = -5", "config.toml:7: invalid value: integer `-5`");
        is("hidden = 5", "hidden = 0", "hidden is 0, expected at least 1");
        is("hidden = 5", "hidden = 1000000", "hidden is 1000000, expected at most 32768");
        is("hidden = 5", "hidden = 32768", "number of parameters is 107");
        is("window = 3", "window = 2", "window is 2, expected an odd number");
        is("vocab = ", "vocab = 9000000000000", "expected at most 4294967295, as ids have 32 bits");
        is("vocab = ", "vocab = 9223372036854775807 # ", "expected at most 4294967295");
        is("learning_rate = 0", "learning_rate = nan # ", "learning_rate is NaN");
        is("recipe = \"tutorial\"", "recipe = \"mine\"", "unknown variant `mine`");
        is("[outcome]", "[outcome", "config.toml:");
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
            replaced(VOCAB, "<UNK>\n", "<UNK>\n<UNK>\n").starts_with("vocab.txt:2: a line that was there")
        );
        assert!(replaced(VOCAB, "<UNK>\n", "<UNK>\n\n").starts_with("vocab.txt:2: empty word or tag"));
        assert!(replaced(VOCAB, "<UNK>\n", "<UNK>\na b\n").starts_with("vocab.txt:2: white space"));
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

    #[test]
    fn a_missing_file_is_named_and_links_are_refused() {
        for file in [CONFIG, WEIGHTS, VOCAB, LABELS] {
            let (_parent, path, _) = saved();
            fs::rename(path.join(file), path.with_file_name("elsewhere")).unwrap();
            let error = Model::load(&path).unwrap_err();
            assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(file)), "{error}");
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
            read_lines(path.join(LOG)).unwrap(),
            [
                "epoch\tlr\tloss\tdev_precision\tdev_recall\tdev_f1\tdev_accuracy\tseconds\twords_per_second",
                "1\t0.0625\t1.500000\t50.00\t25.00\t33.33\t75.00\t2.000\t1234"
            ]
        );
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
                // A last line that lost its line end, or digits of its last number, may still be read.
                if let Ok(other) = Model::load(&path) {
                    assert!(length + 4 > bytes.len(), "{file} cut to {length} of {}", bytes.len());
                    assert_eq!(other.params(), model.params());
                }
            }
            fs::write(path.join(file), bytes).unwrap();
        }
        assert_eq!(Model::load(&path).unwrap(), model);
    }
}
