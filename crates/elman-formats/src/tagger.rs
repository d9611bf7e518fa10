//! A whole tagger: parameters with their words and tags.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use elman::ndarray::Axis;
use elman::{Cell, Feedback, Params};
use elman_tagger::{Error, Labels, Model, Normalization, UNKNOWN, Vocabulary, read_lines};

use crate::files::input;
use crate::torch::Naming;
use crate::{Nonlinearity, npy, torch};

/// The words beside a folder's .npy files, one a line in the order of their ids.
pub const WORDS_FILE: &str = "vocab.txt";
/// The tags beside a folder's .npy files.
pub const LABELS_FILE: &str = "labels.txt";

const LABELS: &str = "labels";
const VOCABULARY: &str = "vocabulary";
const NORMALIZATION: &str = "normalization";
const UNKNOWN_ID: &str = "unknown";

/// The words and tags of a network, as files of other systems have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The words, by id, without the padding.
    pub words: Vec<String>,
    /// The tags, by id.
    pub tags: Vec<String>,
    /// The changes of a word before it is looked up.
    pub normalization: Normalization,
}

impl Names {
    /// Those of a model.
    pub fn of(model: &Model) -> Self {
        Names {
            words: model.vocabulary().words().map(str::to_owned).collect(),
            tags: model.labels().tags().map(str::to_owned).collect(),
            normalization: model.vocabulary().normalization(),
        }
    }

    /// As the metadata of an ONNX or safetensors file: `labels` and `vocabulary`, JSON lists by id;
    /// `normalization`, a JSON object; `unknown`, the id of the word that stands for all others.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] if they cannot be written as JSON.
    pub fn to_metadata(&self) -> Result<Vec<(String, String)>, Error> {
        let refused = |error: serde_json::Error| Error::shape("names", "text that JSON can hold", error);
        Ok(vec![
            (LABELS.into(), serde_json::to_string(&self.tags).map_err(refused)?),
            (VOCABULARY.into(), serde_json::to_string(&self.words).map_err(refused)?),
            (NORMALIZATION.into(), serde_json::to_string(&self.normalization).map_err(refused)?),
            (UNKNOWN_ID.into(), self.words.iter().position(|word| word == UNKNOWN).unwrap_or(0).to_string()),
        ])
    }

    /// As the files [`WORDS_FILE`] and [`LABELS_FILE`] beside a folder's .npy files: their names and contents.
    pub fn to_files(&self) -> [(&'static str, Vec<u8>); 2] {
        let lines = |names: &[String]| names.iter().flat_map(|name| [name, "\n"]).collect::<String>();
        [(WORDS_FILE, lines(&self.words).into_bytes()), (LABELS_FILE, lines(&self.tags).into_bytes())]
    }

    /// From the metadata that [`Names::to_metadata`] makes; `None` if it has neither words nor tags.
    ///
    /// # Errors
    /// [`elman::Error::Shape`] names the entry that is missing or not as it must be.
    pub fn from_metadata(metadata: &HashMap<String, String>) -> Result<Option<Self>, Error> {
        if !metadata.contains_key(VOCABULARY) && !metadata.contains_key(LABELS) {
            return Ok(None);
        }
        let list = |name: &str| -> Result<Vec<String>, Error> {
            let text = metadata.get(name).map_or("nothing", String::as_str);
            serde_json::from_str(text).map_err(|error| {
                Error::shape(format!("{name} in the metadata"), "a JSON list of texts", error)
            })
        };
        let normalization = match metadata.get(NORMALIZATION) {
            None => Normalization::default(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Error::shape(
                    format!("{NORMALIZATION} in the metadata"),
                    "a JSON object of lowercase, digits",
                    error,
                )
            })?,
        };
        Ok(Some(Names { words: list(VOCABULARY)?, tags: list(LABELS)?, normalization }))
    }
}

/// What a file of another system does not say by itself.
#[derive(Clone, Debug)]
pub struct Import {
    /// The file of the words, one a line in the order of their ids. By default [`WORDS_FILE`] in the folder (npy) or
    /// the file's metadata (torch).
    pub words: Option<PathBuf>,
    /// The file of the tags; by default [`LABELS_FILE`] or the metadata.
    pub labels: Option<PathBuf>,
    /// The word that stands for all words that the network does not know.
    pub unknown: String,
    /// The changes of a word before it is looked up, besides those in the metadata.
    pub normalization: Normalization,
    /// What stands before the names of options in messages: `--` on a command line.
    pub dashes: &'static str,
}

impl Default for Import {
    fn default() -> Self {
        Import {
            words: None,
            labels: None,
            unknown: UNKNOWN.to_owned(),
            normalization: Normalization::default(),
            dashes: "",
        }
    }
}

impl Import {
    /// Reads the tutorial's folder; the name of its first state says which network it is, if `network` does not.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Input`] name the file that is missing or wrong, and the option that helps.
    pub fn npy(&self, folder: &Path, network: Option<Feedback>) -> Result<Model, Error> {
        let network = match network {
            Some(network) => network,
            None => npy::network_of(folder)?,
        };
        let params = match network {
            Feedback::Hidden => npy::read::<f32>(folder),
            Feedback::Output => npy::read_jordan::<f32>(folder),
        };
        let params = params.map_err(|error| self.about_network(error, folder, network))?;
        let words = self.lines(&self.words, folder.join(WORDS_FILE), "words")?;
        let labels = self.lines(&self.labels, folder.join(LABELS_FILE), "labels")?;
        self.assemble(params, words, labels, Normalization::default(), "imported from npy")
            .map_err(|error| in_file(folder, error))
    }

    /// Reads a file of `nn.RNN` or `nn.GRU`; see [`torch::from_bytes_named`].
    ///
    /// # Errors
    /// As [`Import::npy`].
    pub fn torch(
        &self,
        path: &Path,
        cell: Option<Cell>,
        nonlinearity: Option<Nonlinearity>,
        naming: &Naming,
    ) -> Result<Model, Error> {
        let read = torch::read_named(path, cell, nonlinearity, naming);
        let (params, metadata) = read.map_err(|error| self.with_dashes(error))?;
        let in_file = |error| in_file(path, error);
        let stored = Names::from_metadata(&metadata).map_err(in_file)?;
        if stored.is_none() && (self.words.is_none() || self.labels.is_none()) {
            let expected = format!("them, or the options {0}words and {0}labels", self.dashes);
            return Err(input(path, "no vocabulary and labels in the metadata", expected));
        }
        let stored = stored.unwrap_or_default();
        let of = |file: &Option<PathBuf>, stored: Vec<String>| match file {
            None => Ok::<_, Error>((path.to_owned(), stored)),
            Some(file) => Ok((file.clone(), read_lines(file)?)),
        };
        let words = of(&self.words, stored.words)?;
        let labels = of(&self.labels, stored.tags)?;
        self.assemble(params, words, labels, stored.normalization, "imported from torch").map_err(in_file)
    }

    /// The lines of the file that an option names, or of the one in the folder.
    fn lines(
        &self,
        named: &Option<PathBuf>,
        default: PathBuf,
        option: &str,
    ) -> Result<(PathBuf, Vec<String>), Error> {
        let path = named.clone().unwrap_or(default);
        let lines = read_lines(&path).map_err(|error| match error {
            Error::Io { path, action, source } if source.kind() == io::ErrorKind::NotFound => {
                let hint = format!(
                    "{source}; expected the {option}, one a line in the order of their ids; the option {}{option} \
                     names another file",
                    self.dashes
                );
                Error::Io { path, action, source: io::Error::new(source.kind(), hint) }
            }
            other => other,
        })?;
        Ok((path, lines))
    }

    /// The hint of [`torch`] names options as a command line has them.
    fn with_dashes(&self, error: Error) -> Error {
        match error {
            Error::Input { path, line, problem, expected } => {
                let named = |text: String, option: &str| {
                    text.replace(&format!("--{option} "), &format!("{}{option} ", self.dashes))
                };
                let expected = named(named(expected, "prefix"), "rename");
                Error::Input { path, line, problem, expected }
            }
            other => other,
        }
    }

    /// That a wh does not fit may be because it is the other network's.
    fn about_network(&self, error: Error, folder: &Path, network: Feedback) -> Error {
        match error {
            Error::Input { path, line, problem, expected }
                if path == folder && (problem.starts_with("wh is") || problem.starts_with("h0 is")) =>
            {
                let (this, other) = match network {
                    Feedback::Hidden => ("an Elman", "jordan"),
                    Feedback::Output => ("a Jordan", "elman"),
                };
                let expected = format!(
                    "{expected} in {this} network; the option {}network {other} reads the other",
                    self.dashes
                );
                Error::Input { path, line, problem, expected }
            }
            other => other,
        }
    }

    fn assemble(
        &self,
        params: Params<f32>,
        (words_file, words): (PathBuf, Vec<String>),
        (labels_file, tags): (PathBuf, Vec<String>),
        stored: Normalization,
        source: &str,
    ) -> Result<Model, Error> {
        let shape = params.shape();
        let refuse = |path: &Path, problem: String, expected: String| Err(input(path, problem, expected));
        if words.len() != shape.vocab {
            let expected = format!(
                "{}, one for each row of the embeddings but the last (option {}words)",
                shape.vocab, self.dashes
            );
            return refuse(&words_file, format!("{} words", words.len()), expected);
        }
        if tags.len() != shape.classes {
            let expected =
                format!("{}, one for each column of w (option {}labels)", shape.classes, self.dashes);
            return refuse(&labels_file, format!("{} labels", tags.len()), expected);
        }
        if !words.contains(&self.unknown) {
            let usual = ["<unk>", "unk", "<oov>", "oov", "[unk]"];
            let likely = words.iter().find(|word| usual.contains(&word.to_lowercase().as_str()));
            let expected = format!(
                "the word that stands for all unknown ones; the option {}unknown names another{}",
                self.dashes,
                likely.map_or(String::new(), |word| format!(", perhaps {word}")),
            );
            return refuse(&words_file, format!("no word {:?}", self.unknown), expected);
        }
        let normalization = Normalization {
            lowercase: self.normalization.lowercase || stored.lowercase,
            digits: self.normalization.digits || stored.digits,
        };
        assemble(params, Names { words, tags, normalization }, &self.unknown, source)
    }
}

/// The message of a check that knows of no file, with the file.
fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Network(elman::Error::Shape { what, expected, found }) => {
            input(path, format!("{what} is {found}"), expected)
        }
        other => other,
    }
}

/// A model from parameters and names. The word `unknown`, which stands for all words that the network does not
/// know, becomes [`UNKNOWN`] with id 0, where models have it; the ids before its own, and their rows of the
/// embeddings, move up by one. The probabilities stay the same.
///
/// # Errors
/// [`elman::Error::Shape`] if `unknown` is not among the words, or as [`Model::from_elsewhere`].
pub fn assemble(
    mut params: Params<f32>,
    mut names: Names,
    unknown: &str,
    source: impl Into<String>,
) -> Result<Model, Error> {
    let shape = params.shape();
    if names.words.len() != shape.vocab {
        let expected = format!("{}, one for each row of the embeddings but the last", shape.vocab);
        return Err(Error::shape("number of words", expected, names.words.len()));
    }
    let Some(id) = names.words.iter().position(|word| word == unknown) else {
        return Err(Error::shape(
            "words",
            format!("{unknown:?}, the word that stands for all others"),
            "none such",
        ));
    };
    names.words[..=id].rotate_right(1);
    names.words[0] = UNKNOWN.to_owned();
    if id > 0 {
        let mut order: Vec<usize> = (0..=shape.vocab).collect();
        order[..=id].rotate_right(1);
        let moved = params.emb().select(Axis(0), &order);
        params.emb_mut().assign(&moved);
    }
    let vocabulary = Vocabulary::from_words(names.words, names.normalization)?;
    Model::from_elsewhere(params, vocabulary, Labels::from_tags(names.tags)?, source)
}

#[cfg(test)]
mod tests {
    use elman::{Network, Shape};
    use elman_reference::Reference;

    use super::*;

    fn names() -> Names {
        let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Names {
            words: own(&["to", "from", "rare", "york"]),
            tags: own(&["O", "B-city"]),
            normalization: Normalization { lowercase: true, digits: false },
        }
    }

    #[test]
    fn the_unknown_word_moves_to_the_front_and_nothing_else_changes() {
        let shape = Shape { vocab: 4, embed: 3, window: 3, hidden: 5, classes: 2, ..Shape::ELMAN };
        let params = Params::<f32>::init(shape, 7).unwrap();
        let network = Reference::new();
        let probabilities = |params: &Params<f32>, words: [u32; 5]| network.predict(params, &words).unwrap();
        let model = assemble(params.clone(), names(), "rare", "test").unwrap();
        assert_eq!(model.vocabulary().words().collect::<Vec<_>>(), [UNKNOWN, "to", "from", "york"]);
        assert_eq!(model.vocabulary().id("never seen"), 0);
        assert_eq!(probabilities(&params, [0, 1, 2, 3, 2]), probabilities(model.params(), [1, 2, 0, 3, 0]));
        assert_eq!(model.shape(), shape);
        assert_eq!((model.outcome().epochs, model.outcome().network.as_str()), (0, "test"));
        // The first word as the unknown one: nothing moves.
        assert_eq!(*assemble(params.clone(), names(), "to", "test").unwrap().params(), params);

        let refused = |names: Names, unknown: &str| {
            assemble(params.clone(), names, unknown, "test").unwrap_err().to_string()
        };
        assert!(refused(names(), "none").starts_with("words: expected \"none\""));
        let mut short = names();
        short.words.pop();
        assert!(refused(short, "to").starts_with("number of words: expected 4"));
        let mut tags = names();
        tags.tags.push("I-city".into());
        assert_eq!(refused(tags, "to"), "number of tags: expected 2, as the parameters have, found 3");
        let mut not_finite = params.clone();
        not_finite.wh_mut()[[1, 2]] = f32::NAN;
        let error = assemble(not_finite, names(), "to", "test").unwrap_err().to_string();
        assert_eq!(error, "wh[1, 2]: expected a finite number, found NaN");
    }

    #[test]
    fn metadata_goes_there_and_back() {
        let metadata: HashMap<_, _> = names().to_metadata().unwrap().into_iter().collect();
        assert_eq!(Names::from_metadata(&metadata).unwrap(), Some(names()));
        assert_eq!(Names::from_metadata(&HashMap::new()).unwrap(), None);
        for name in [LABELS, VOCABULARY, NORMALIZATION] {
            let mut broken = metadata.clone();
            broken.insert(name.into(), "{".into());
            assert!(Names::from_metadata(&broken).unwrap_err().to_string().starts_with(name));
        }
    }
}
