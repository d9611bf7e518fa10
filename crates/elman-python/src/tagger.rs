use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use elman::{Activation, Cell, Feedback, Network as _, Params, Sentences};
use elman_formats::tagger::{Import, Names};
use elman_formats::{Nonlinearity, Number, npy, onnx, torch};
use elman_tagger::{Error, Labels, Model, Normalization, Vocabulary};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
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
    tagger: PerProcess<Box<dyn elman::Tagger<f32>>>,
    computation: Computation,
}

impl Tagger {
    fn of(py: Python<'_>, model: Model, computation: Computation) -> PyResult<Self> {
        if !model.vocabulary().features().is_none() || model.config().valid_iob {
            let expected = "one without features and --valid-iob; `elman tag` has the others";
            let found =
                format!("{:?}, valid_iob {}", model.vocabulary().features(), model.config().valid_iob);
            return Err(exception(elman::Error::unsupported("model of a Python tagger", expected, found)));
        }
        let fast = computation.fast()?;
        let tagger = py.detach(|| fast.tagger(model.params())).map_err(exception)?;
        let tags = model.labels().tags().map(|tag| PyString::new(py, tag).unbind()).collect();
        Ok(Tagger { model, tags, tagger: PerProcess::new(tagger), computation })
    }

    /// This process's tagger, made of the model.
    fn tagger(&self, py: Python<'_>) -> PyResult<Arc<Mutex<Box<dyn elman::Tagger<f32>>>>> {
        let again = |_: &_| self.computation.fast()?.tagger(self.model.params()).map_err(exception);
        self.tagger.get(py, again)
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

    /// Reads a model folder, as `elman train` and Tagger.save write it. A Jordan network is refused.
    #[staticmethod]
    #[pyo3(signature = (folder, *, isa=None, threads=1))]
    fn load(py: Python<'_>, folder: PathBuf, isa: Option<String>, threads: usize) -> PyResult<Self> {
        let model = py.detach(|| Model::load(folder)).map_err(exception)?;
        model.shape().only("elman for Python", &Cell::ALL).map_err(exception)?;
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
        let words = |sentence: Bound<'py, PyAny>| -> PyResult<Vec<u32>> {
            if sentence.is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err(format!("{expected}, found a text in the place of one")));
            }
            let mut ids = Vec::with_capacity(sentence.len().unwrap_or(0));
            for word in sentence.try_iter()? {
                let word = word?;
                let word = word.cast::<PyString>().map_err(|_| PyTypeError::new_err(expected))?;
                ids.push(self.model.vocabulary().id(word.to_str()?));
            }
            Ok(ids)
        };
        if sentences.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!("{expected}, found a text")));
        }
        let mut lengths = Vec::new();
        let mut filled = Sentences::new();
        for sentence in sentences.try_iter()? {
            let ids = words(sentence?)?;
            lengths.push(ids.len());
            if !ids.is_empty() {
                filled.push(&ids, &[]).map_err(exception)?;
            }
        }
        let mut labels = vec![0; filled.batch().words().len()];
        let tagger = self.tagger(py)?;
        py.detach(|| lock(&tagger).label_all(filled.batch(), &mut labels)).map_err(exception)?;
        let mut labels = labels.into_iter();
        let lists = PyList::empty(py);
        for length in lengths {
            let tags = labels.by_ref().take(length).map(|id| {
                self.tags
                    .get(id as usize)
                    .map(|tag| tag.bind(py))
                    .ok_or_else(|| PyValueError::new_err("label out of range"))
            });
            lists.append(PyList::new(py, tags.collect::<PyResult<Vec<_>>>()?)?)?;
        }
        Ok(lists)
    }

    /// The words by id, normalised.
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
