use std::path::PathBuf;
use std::sync::Mutex;

use elman::{Network as _, Sentence};
use elman_formats::tagger::Names;
use elman_formats::{Nonlinearity, npy, onnx, torch};
use elman_tagger::{Labels, Model, Normalization, Vocabulary};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::convert::{self, Any, exception, lock};
use crate::network::{Computation, NewArguments};

/// A tagger: words in, tags out. Made of float32 parameters (as for Network), the words by id, of which the first is
/// "<UNK>", and the tags by id; or read from a model folder by Tagger.load.
///
/// lowercase and digits say what is done to a word before it is looked up: letters become lower case, each digit
/// the word DIGIT.
#[pyclass(module = "elman", frozen)]
pub(crate) struct Tagger {
    model: Model,
    tags: Vec<Py<PyString>>,
    tagger: Mutex<Box<dyn elman::Tagger>>,
    computation: Computation,
}

impl Tagger {
    fn of(py: Python<'_>, model: Model, computation: Computation) -> PyResult<Self> {
        let tagger = py.detach(|| computation.fast.tagger(model.params())).map_err(exception)?;
        let tags = model.labels().tags().map(|tag| PyString::new(py, tag).unbind()).collect();
        Ok(Tagger { model, tags, tagger: Mutex::new(tagger), computation })
    }
}

#[pymethods]
impl Tagger {
    #[new]
    #[pyo3(signature = (params, words, labels, *, lowercase=false, digits=false, isa=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // most by name only
    fn new(
        py: Python<'_>,
        params: &Bound<'_, PyAny>,
        words: Vec<String>,
        labels: Vec<String>,
        lowercase: bool,
        digits: bool,
        isa: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        let Any::F32(params) = convert::params(params)? else {
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
        model.shape().feedback.only_elman("elman for Python").map_err(exception)?;
        Self::of(py, model, Computation::new(isa, threads)?)
    }

    /// Writes a model folder, as a whole or not at all; a model that is there is replaced.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        py.detach(|| self.model.save(folder, &[])).map_err(exception)
    }

    /// Writes the tagger in another system's format: "onnx" (a file), "torch" (a safetensors file of nn.RNN) or
    /// "npy" (the Theano tutorial's folder).
    ///
    /// nonlinearity is what the file's recurrence computes, "tanh" or "sigmoid"; the probabilities are the same. By
    /// default it is sigmoid in onnx and tanh, which nn.RNN has, in torch.
    #[pyo3(signature = (path, format, *, nonlinearity=None))]
    fn export(
        &self,
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        nonlinearity: Option<&str>,
    ) -> PyResult<()> {
        let nonlinearity = match nonlinearity {
            None => None,
            Some(_) if format == "npy" => {
                return Err(PyValueError::new_err(
                    "nonlinearity: expected none for npy, which holds the parameters as they are",
                ));
            }
            Some("tanh") => Some(Nonlinearity::Tanh),
            Some("sigmoid") => Some(Nonlinearity::Sigmoid),
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "nonlinearity: expected tanh or sigmoid, found {other}"
                )));
            }
        };
        py.detach(|| {
            let params = self.model.params();
            match format {
                "onnx" => {
                    let metadata = Names::of(&self.model).to_metadata()?;
                    onnx::write(path, params, nonlinearity.unwrap_or(Nonlinearity::Sigmoid), metadata)
                }
                "torch" => {
                    let metadata = Names::of(&self.model).to_metadata()?;
                    torch::write(path, params, nonlinearity.unwrap_or(Nonlinearity::Tanh), metadata)
                }
                "npy" => npy::write(path, params, &[], npy::Options::default()),
                other => Err(elman::Error::Unsupported {
                    what: "format".into(),
                    expected: "onnx, torch or npy".into(),
                    found: other.into(),
                }),
            }
        })
        .map_err(exception)
    }

    /// The tags of sentences: for each a list of words, for each a list of tags. Many sentences in one call are
    /// faster than one at a time, and get the same tags.
    fn label<'py>(&self, py: Python<'py>, sentences: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let expected = "label: expected a sequence of sentences, each a sequence of words";
        let words = |sentence: Bound<'py, PyAny>| -> PyResult<Vec<usize>> {
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
        let mut empty = Vec::new();
        let mut filled = Vec::new();
        for sentence in sentences.try_iter()? {
            let ids = words(sentence?)?;
            empty.push(ids.is_empty());
            if !ids.is_empty() {
                filled.push(Sentence::new(ids).map_err(exception)?);
            }
        }
        let labels = py.detach(|| lock(&self.tagger).label_all(&filled)).map_err(exception)?;
        let mut labels = labels.into_iter();
        let lists = PyList::empty(py);
        for empty in empty {
            let ids = if empty { Vec::new() } else { labels.next().unwrap_or_default() };
            let tags = ids.into_iter().map(|id| {
                self.tags
                    .get(id)
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
    fn ids(&self, words: Vec<String>) -> Vec<usize> {
        words.iter().map(|word| self.model.vocabulary().id(word)).collect()
    }

    /// A copy of the parameters.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::dictionary(py, self.model.params().clone())
    }

    /// The sizes vocab, embed, window, hidden and classes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::sizes(py, self.model.shape())
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        let arguments = [
            self.params(py)?.into_any(),
            PyList::new(py, self.words())?.into_any(),
            PyList::new(py, self.labels())?.into_any(),
        ];
        let options = self.computation.arguments(py)?;
        let normalization = self.model.vocabulary().normalization();
        options.set_item("lowercase", normalization.lowercase)?;
        options.set_item("digits", normalization.digits)?;
        Ok((PyTuple::new(py, arguments)?, options))
    }
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
