use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use elman::{Activation, Cell, Feedback, Params};
use elman_formats::tagger::{Import, Names};
use elman_formats::{Nonlinearity, Number, npy, onnx, torch};
use elman_tagger::{Error, Labels, Model, Normalization, Pipeline, Vocabulary};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple};

use crate::convert::{self, Any, PerProcess, exception, lock};
use crate::network::{Computation, NewArguments};

/// A tagger: words in, tags out. Made of float32 parameters (as for Network), the words by id, of which the first is
/// "<UNK>", and the tags by id; or read from a model folder by Tagger.load.
///
/// cell and activation are those of Network.
///
/// lowercase and digits say what is done to a word before it is looked up: letters become lower case, each digit
/// the word DIGIT.
#[pyclass(module = "elman", frozen)]
pub(crate) struct Tagger {
    model: Model,
    tags: Vec<Py<PyString>>,
    pipeline: PerProcess<Pipeline>,
    computation: Computation,
}

impl Tagger {
    fn of(py: Python<'_>, model: Model, computation: Computation) -> PyResult<Self> {
        let fast = computation.fast()?;
        let pipeline = py.detach(|| Pipeline::new(&model, &fast)).map_err(exception)?;
        let tags = model.labels().tags().map(|tag| PyString::new(py, tag).unbind()).collect();
        Ok(Tagger { model, tags, pipeline: PerProcess::new(pipeline), computation })
    }

    /// This process's pipeline, made of the model.
    fn pipeline(&self, py: Python<'_>) -> PyResult<Arc<Mutex<Pipeline>>> {
        let again = |_: &_| Pipeline::new(&self.model, &self.computation.fast()?).map_err(exception);
        self.pipeline.get(py, again)
    }

    /// Refuses a network that the other classes of this package do not have.
    fn only_known(&self) -> PyResult<()> {
        self.model.shape().only("elman for Python", &Cell::ALL).map_err(exception)
    }

    /// Refuses a model that this operation would lose a part of.
    fn only_plain(&self, operation: &str) -> PyResult<()> {
        let (features, valid) = (self.model.vocabulary().features(), self.model.config().valid_iob);
        if features.is_none() && !valid {
            return self.only_known();
        }
        let expected = "one trained without --affixes, --shape and --valid-iob; a model folder keeps them";
        let found = format!("{features:?}, valid_iob {valid}");
        Err(exception(elman::Error::unsupported(format!("model to {operation}"), expected, found)))
    }
}

#[pymethods]
impl Tagger {
    #[new]
    #[pyo3(signature = (params, words, labels, *, cell="elman", activation=None, lowercase=false, digits=false,
                        isa=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // most by name only
    fn new(
        py: Python<'_>,
        params: &Bound<'_, PyAny>,
        words: Vec<String>,
        labels: Vec<String>,
        cell: &str,
        activation: Option<&str>,
        lowercase: bool,
        digits: bool,
        isa: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        let Any::F32(params) = convert::params(params, convert::cell(cell, activation)?)? else {
            return Err(PyTypeError::new_err("params: expected arrays of float32, found float64"));
        };
        let vocabulary =
            Vocabulary::from_words(words, Normalization { lowercase, digits }).map_err(exception)?;
        let labels = Labels::from_tags(labels).map_err(exception)?;
        let model = Model::from_elsewhere(params, vocabulary, labels, "Python").map_err(exception)?;
        Self::of(py, model, Computation::new(isa, threads)?)
    }

    /// Reads a model folder, as `elman train` and Tagger.save write it. Of networks and words that the other classes do not
    /// have (Jordan's, layers, a CRF, word features, valid_iob) there are tags alone: export, pickle and params refuse them.
    #[staticmethod]
    #[pyo3(signature = (folder, *, isa=None, threads=1))]
    fn load(py: Python<'_>, folder: PathBuf, isa: Option<String>, threads: usize) -> PyResult<Self> {
        let model = py.detach(|| Model::load(folder)).map_err(exception)?;
        Self::of(py, model, Computation::new(isa, threads)?)
    }

    /// Writes a model folder, as a whole or not at all; a model that is there is replaced.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        py.detach(|| self.model.save(folder, &[])).map_err(exception)
    }

    /// Writes the tagger in another system's format: "onnx" (a file), "torch" (a safetensors file of nn.RNN or
    /// nn.GRU) or "npy" (the Theano tutorial's folder, with vocab.txt and labels.txt beside the arrays).
    ///
    /// nonlinearity is what the file's recurrence computes, "tanh" or "sigmoid"; the probabilities are the same. By
    /// default it is sigmoid in onnx and tanh, which nn.RNN has, in torch. dtype is "float32" or "float64" (npy and
    /// torch). capital calls the arrays of npy Wx, Wh and W. prefix and rename, a mapping of this package's names or
    /// modules to others, change the names of torch's tensors.
    #[pyo3(signature = (path, format, *, nonlinearity=None, dtype="float32", capital=false, prefix="", rename=None))]
    #[allow(clippy::too_many_arguments)] // most by name only
    fn export(
        &self,
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        nonlinearity: Option<&str>,
        dtype: &str,
        capital: bool,
        prefix: &str,
        rename: Option<&Bound<'_, PyMapping>>,
    ) -> PyResult<()> {
        one_of("format", format, &["onnx", "torch", "npy"])?;
        self.only_plain("export")?;
        one_of("dtype", dtype, &["float32", "float64"])?;
        if nonlinearity.is_some() && format == "npy" {
            return Err(PyValueError::new_err(
                "nonlinearity: expected none for npy, which holds the parameters as they are",
            ));
        }
        let nonlinearity = nonlinearity_of(nonlinearity)?;
        only_for("dtype", dtype != "float32", format, &["npy", "torch"])?;
        only_for("capital", capital, format, &["npy"])?;
        only_for("prefix", !prefix.is_empty(), format, &["torch"])?;
        only_for("rename", rename.is_some(), format, &["torch"])?;
        let naming = torch::Naming { prefix: prefix.to_owned(), renames: pairs(rename)? };
        let export = Export { path, nonlinearity, capital, naming };
        py.detach(|| {
            let (params, names) = (self.model.params(), Names::of(&self.model));
            match (format, dtype) {
                ("onnx", _) => {
                    let nonlinearity = nonlinearity.unwrap_or(Nonlinearity::Sigmoid);
                    onnx::write(&export.path, params, nonlinearity, names.to_metadata()?)
                }
                (_, "float64") => export.write(format, &params.map(f64::from), &names),
                _ => export.write(format, params, &names),
            }
        })
        .map_err(exception)
    }

    /// Reads a tagger from another system's format: "npy" (the Theano tutorial's folder) or "torch" (a safetensors
    /// file of nn.RNN, nn.GRU or nn.LSTM). A Jordan network is refused.
    ///
    /// words and labels are files with one name a line in the order of their ids; by default vocab.txt and labels.txt in
    /// the folder, or the metadata of torch's file. unknown is the word that stands for all words that the network does
    /// not know. The other options are those of Tagger and of export; rename maps the file's names or modules to this
    /// package's.
    #[staticmethod]
    #[pyo3(signature = (path, format, *, words=None, labels=None, unknown="<UNK>", lowercase=false, digits=false,
                        nonlinearity=None, prefix="", rename=None, isa=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // most by name only
    fn read(
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        words: Option<PathBuf>,
        labels: Option<PathBuf>,
        unknown: &str,
        lowercase: bool,
        digits: bool,
        nonlinearity: Option<&str>,
        prefix: &str,
        rename: Option<&Bound<'_, PyMapping>>,
        isa: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        one_of("format", format, &["npy", "torch"])?;
        only_for("nonlinearity", nonlinearity.is_some(), format, &["torch"])?;
        only_for("prefix", !prefix.is_empty(), format, &["torch"])?;
        only_for("rename", rename.is_some(), format, &["torch"])?;
        let nonlinearity = nonlinearity_of(nonlinearity)?;
        let naming = torch::Naming { prefix: prefix.to_owned(), renames: pairs(rename)? };
        let normalization = Normalization { lowercase, digits };
        let import = Import { words, labels, unknown: unknown.to_owned(), normalization, dashes: "" };
        let model = py
            .detach(|| match format {
                "npy" => {
                    let network = npy::network_of(&path)?;
                    if network != Feedback::Hidden {
                        return Err(Error::unsupported("elman for Python", Feedback::Hidden, network));
                    }
                    import.npy(&path, Some(network))
                }
                _ => import.torch(&path, None, nonlinearity, &naming),
            })
            .map_err(exception)?;
        Self::of(py, model, Computation::new(isa, threads)?)
    }

    /// The tags of sentences: for each a list of words, for each a list of tags. Many sentences in one call are
    /// faster than one at a time, and get the same tags.
    fn label<'py>(&self, py: Python<'py>, sentences: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let expected = "label: expected a sequence of sentences, each a sequence of words";
        let words = |sentence: Bound<'py, PyAny>| -> PyResult<Vec<PyBackedStr>> {
            if sentence.is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err(format!("{expected}, found a text in the place of one")));
            }
            let word = |word: PyResult<Bound<'py, PyAny>>| {
                let word = word?.cast_into::<PyString>().map_err(|_| PyTypeError::new_err(expected))?;
                PyBackedStr::try_from(word)
            };
            sentence.try_iter()?.map(word).collect()
        };
        if sentences.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!("{expected}, found a text")));
        }
        let sentences: Vec<Vec<PyBackedStr>> =
            sentences.try_iter()?.map(|sentence| words(sentence?)).collect::<PyResult<_>>()?;
        let pipeline = self.pipeline(py)?;
        let labels = py.detach(|| {
            let labels = lock(&pipeline).label_all(sentences.iter().map(Vec::as_slice))?.to_vec();
            Ok::<_, Error>(labels)
        });
        let mut labels = labels.map_err(exception)?.into_iter();
        let lists = PyList::empty(py);
        for words in &sentences {
            let tags = labels.by_ref().take(words.len()).map(|id| {
                self.tags
                    .get(id as usize)
                    .map(|tag| tag.bind(py))
                    .ok_or_else(|| PyValueError::new_err("label out of range"))
            });
            lists.append(PyList::new(py, tags.collect::<PyResult<Vec<_>>>()?)?)?;
        }
        Ok(lists)
    }

    /// The tags of a column of Arrow: for a list of words in each row a list of tags, dictionary-coded. Needs pyarrow.
    ///
    /// column is a pyarrow Array or ChunkedArray of list<string>, or an object that Arrow's PyCapsule interface makes one
    /// of (a Series of Polars, for example). The result has its rows and chunks, and its nulls: list<dictionary<int32,
    /// string>>.
    ///
    /// Lists and strings with 32 or 64 bits of offset are read in place, and the ids of the tags are returned in place. Of
    /// other layouts (views, lists of fixed size, dictionary-coded words) and of columns with null rows the words are copied.
    fn label_arrow<'py>(slf: Bound<'py, Self>, column: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("elman._arrow")?.call_method1("label", (slf, column))
    }

    /// The ids of the tags of one chunk of a column: sentence i has the words sentences[i]..sentences[i + 1], and word j the
    /// bytes words[j]..words[j + 1] of text. row is the number of the first sentence, for errors.
    fn _label_offsets<'py>(
        &self,
        py: Python<'py>,
        sentences: &Bound<'py, PyAny>,
        words: &Bound<'py, PyAny>,
        text: PyReadonlyArray1<'py, u8>,
        row: usize,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let (sentences, words) = (Offsets::new(sentences)?, Offsets::new(words)?);
        let (sentences, words, text) = (sentences.view()?, words.view()?, text.as_slice()?);
        let pipeline = self.pipeline(py)?;
        let labels = py.detach(|| {
            let mut labels = Vec::new();
            let mut pipeline = lock(&pipeline);
            let mut texts: Vec<&str> = Vec::new();
            let mut lengths: Vec<usize> = Vec::new();
            let all = sentences.len().saturating_sub(1);
            for first in (0..all).step_by(TOGETHER) {
                texts.clear();
                lengths.clear();
                for sentence in first..all.min(first + TOGETHER) {
                    let range = sentences.range(sentence, words.len().saturating_sub(1));
                    let range = range.ok_or_else(|| misplaced("words", row + sentence))?;
                    lengths.push(range.len());
                    for word in range {
                        let bytes = words.range(word, text.len()).and_then(|range| text.get(range));
                        let bytes = bytes.ok_or_else(|| misplaced("bytes of a word", row + sentence))?;
                        let word = str::from_utf8(bytes).map_err(|_| {
                            let found = format!("{} in row {}", bytes.escape_ascii(), row + sentence);
                            Error::shape("word", "UTF-8", found)
                        })?;
                        texts.push(word);
                    }
                }
                let mut rest = &texts[..];
                let split = lengths.iter().map(|length| {
                    let (words, others) = rest.split_at(*length);
                    rest = others;
                    words
                });
                labels.extend_from_slice(pipeline.label_all(split)?);
            }
            Ok::<_, Error>(labels)
        });
        Ok(labels.map_err(exception)?.into_pyarray(py))
    }

    /// The words by id, normalised; of a model with features also their names.
    #[getter]
    fn words(&self) -> Vec<&str> {
        self.model.vocabulary().words().collect()
    }

    /// The tags by id.
    #[getter]
    fn labels(&self) -> Vec<&str> {
        self.model.labels().tags().collect()
    }

    /// The ids of a sentence's words; 0 for words that the network does not know.
    fn ids(&self, words: Vec<String>) -> Vec<u32> {
        self.model.vocabulary().ids(&words)
    }

    /// A copy of the parameters.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.only_known()?;
        convert::dictionary(py, self.model.params())
    }

    /// The sizes vocab, embed, window, hidden and classes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::sizes(py, self.model.shape())
    }

    /// "elman", "gru" or "lstm".
    #[getter]
    fn cell(&self) -> &'static str {
        self.model.shape().cell.name()
    }

    /// "sigmoid", "tanh" or "relu"; None of a GRU or an LSTM.
    #[getter]
    fn activation(&self) -> Option<&'static str> {
        self.model.shape().cell.activation().map(Activation::name)
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        self.only_plain("pickle")?;
        let arguments = [
            self.params(py)?.into_any(),
            PyList::new(py, self.words())?.into_any(),
            PyList::new(py, self.labels())?.into_any(),
        ];
        let options = self.computation.arguments(py)?;
        convert::cell_arguments(&options, self.model.shape().cell)?;
        let normalization = self.model.vocabulary().normalization();
        options.set_item("lowercase", normalization.lowercase)?;
        options.set_item("digits", normalization.digits)?;
        Ok((PyTuple::new(py, arguments)?, options))
    }
}

/// Sentences of a column that are labelled together.
const TOGETHER: usize = 1024;

/// The offsets of a column of Arrow.
enum Offsets<'py> {
    Small(PyReadonlyArray1<'py, i32>),
    Large(PyReadonlyArray1<'py, i64>),
}

/// The same without the interpreter.
#[derive(Clone, Copy)]
enum OffsetsView<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
}

impl<'py> Offsets<'py> {
    fn new(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        array.extract().map(Offsets::Small).or_else(|_| Ok(Offsets::Large(array.extract()?)))
    }

    fn view(&self) -> PyResult<OffsetsView<'_>> {
        Ok(match self {
            Offsets::Small(array) => OffsetsView::Small(array.as_slice()?),
            Offsets::Large(array) => OffsetsView::Large(array.as_slice()?),
        })
    }
}

impl OffsetsView<'_> {
    fn len(self) -> usize {
        match self {
            OffsetsView::Small(offsets) => offsets.len(),
            OffsetsView::Large(offsets) => offsets.len(),
        }
    }

    fn get(self, place: usize) -> Option<usize> {
        match self {
            OffsetsView::Small(offsets) => usize::try_from(*offsets.get(place)?).ok(),
            OffsetsView::Large(offsets) => usize::try_from(*offsets.get(place)?).ok(),
        }
    }

    /// What lies between two offsets, if it lies below `end`.
    fn range(self, place: usize, end: usize) -> Option<Range<usize>> {
        let range = self.get(place)?..self.get(place + 1)?;
        (range.start <= range.end && range.end <= end).then_some(range)
    }
}

fn misplaced(what: &str, row: usize) -> Error {
    Error::shape(format!("offsets of the {what} in row {row}"), "in order, within the column", "others")
}

/// How a file of another system is written.
struct Export {
    path: PathBuf,
    nonlinearity: Option<Nonlinearity>,
    capital: bool,
    naming: torch::Naming,
}

impl Export {
    fn write<T: Number>(&self, format: &str, params: &Params<T>, names: &Names) -> Result<(), Error> {
        if format == "npy" {
            let names_of_files = if self.capital { npy::Names::Capital } else { npy::Names::Lower };
            let options = npy::Options { names: names_of_files, order: npy::Order::C };
            return npy::write(&self.path, params, &names.to_files(), options);
        }
        let nonlinearity = self.nonlinearity.unwrap_or(Nonlinearity::Tanh);
        torch::write_named(&self.path, params, nonlinearity, names.to_metadata()?, &self.naming)
    }
}

fn nonlinearity_of(name: Option<&str>) -> PyResult<Option<Nonlinearity>> {
    let Some(name) = name else { return Ok(None) };
    one_of("nonlinearity", name, &["tanh", "sigmoid"])?;
    Ok(Some(if name == "tanh" { Nonlinearity::Tanh } else { Nonlinearity::Sigmoid }))
}

/// The pairs of a mapping, in its order.
fn pairs(mapping: Option<&Bound<'_, PyMapping>>) -> PyResult<Vec<(String, String)>> {
    mapping.map_or(Ok(Vec::new()), |mapping| mapping.items()?.iter().map(|pair| pair.extract()).collect())
}

/// Refuses a word that is none of those that an argument can be.
fn one_of(argument: &str, found: &str, choices: &[&str]) -> PyResult<()> {
    let [most @ .., last] = choices else { return Ok(()) };
    if choices.contains(&found) {
        return Ok(());
    }
    let expected = format!("{} or {last}", most.join(", "));
    Err(PyValueError::new_err(format!("{argument}: expected {expected}, found {found}")))
}

/// Refuses an argument that another format would have to be for.
fn only_for(argument: &str, given: bool, format: &str, formats: &[&str]) -> PyResult<()> {
    if given && !formats.contains(&format) {
        let expected = formats.join(" or ");
        return Err(PyValueError::new_err(format!(
            "{argument}: expected the format {expected}, found the format {format}"
        )));
    }
    Ok(())
}

/// Travel requests made by a grammar, for demonstrations: a list of (words, tags), each a list of texts.
#[pyfunction]
pub(crate) fn travel(seed: u64, sentences: usize) -> PyResult<Vec<(Vec<String>, Vec<String>)>> {
    if sentences > 1_000_000 {
        return Err(PyValueError::new_err(format!("sentences: expected at most 1000000, found {sentences}")));
    }
    let corpus = elman_tagger::travel::corpus(seed, sentences);
    Ok(corpus.iter().map(|sentence| (sentence.words().to_vec(), sentence.tags().to_vec())).collect())
}
