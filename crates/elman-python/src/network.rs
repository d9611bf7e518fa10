use std::sync::{Arc, Mutex};

use elman::{Activation, Network as _, Params, Real as _, Shape, Update};
use elman_fast::Fast;
use numpy::PyArray2;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::{self, Any, AnyParams, PerProcess, either, exception, lock};

/// The arguments that make an object again, for pickle and copy.
pub(crate) type NewArguments<'py> = (Bound<'py, PyTuple>, Bound<'py, PyDict>);

/// How an object computes.
#[derive(Clone)]
pub(crate) struct Computation {
    isa: Option<String>,
    threads: usize,
}

impl Computation {
    pub(crate) fn new(isa: Option<String>, threads: usize) -> PyResult<Self> {
        // An unsupported choice is refused here.
        convert::fast(isa.as_deref(), threads)?;
        Ok(Computation { isa, threads })
    }

    /// This process's implementation.
    pub(crate) fn fast(&self) -> PyResult<Fast> {
        convert::fast(self.isa.as_deref(), self.threads)
    }

    pub(crate) fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arguments = PyDict::new(py);
        arguments.set_item("isa", &self.isa)?;
        arguments.set_item("threads", self.threads)?;
        Ok(arguments)
    }
}

/// The tutorial's initial parameters: emb, wx, wh and w uniform in [-0.2, 0.2), the others zero.
///
/// Returns a dictionary of arrays: emb [vocab + 1, embed] (the last row is the padding), wx [embed * window,
/// gates * hidden], wh [hidden, gates * hidden], w [hidden, classes], bh [gates * hidden], b [classes], h0 [hidden]. The
/// cell "elman" has one gate; "gru" has three, r, z and n side by side, and a bias bhn [hidden] inside the product with r;
/// "lstm" has four, i, f, g and o, and a second first state c0 [hidden].
#[pyfunction]
#[pyo3(signature = (*, vocab, embed, window, hidden, classes, cell="elman", seed=345, dtype="float32"))]
#[allow(clippy::too_many_arguments)] // by name only
pub(crate) fn init<'py>(
    py: Python<'py>,
    vocab: usize,
    embed: usize,
    window: usize,
    hidden: usize,
    classes: usize,
    cell: &str,
    seed: u64,
    dtype: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let cell = convert::cell(cell, None)?;
    let shape = Shape { vocab, embed, window, hidden, classes, cell, ..Shape::ELMAN };
    match dtype {
        "float32" => convert::dictionary(py, &Params::<f32>::init(shape, seed).map_err(exception)?),
        "float64" => convert::dictionary(py, &Params::<f64>::init(shape, seed).map_err(exception)?),
        other => Err(PyValueError::new_err(format!("dtype: expected float32 or float64, found {other}"))),
    }
}

/// The network with a copy of these parameters: a mapping of emb, wx, wh, w, bh, b, h0 (and bhn of a GRU, c0 of an
/// LSTM) to arrays, all float32 or all float64.
///
/// cell is "elman", with the activation "sigmoid" (the default), "tanh" or "relu"; or "gru" or "lstm".
///
/// isa pins the instruction set (exact, portable, avx2, avx512, neon); by default the best that the CPU has. The results
/// have the same bits with any number of threads.
#[pyclass(module = "elman", frozen)]
pub(crate) struct Network {
    params: AnyParams,
    computation: Computation,
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (params, *, cell="elman", activation=None, isa=None, threads=1))]
    fn new(
        params: &Bound<'_, PyAny>,
        cell: &str,
        activation: Option<&str>,
        isa: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        let params = convert::params(params, convert::cell(cell, activation)?)?;
        Ok(Network { params, computation: Computation::new(isa, threads)? })
    }

    /// The probability of each label at each word: an array [words, classes], each row a softmax.
    ///
    /// words: ids below shape["vocab"], at least one.
    fn predict<'py>(&self, py: Python<'py>, words: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let words = convert::ids("words", words)?;
        let fast = self.computation.fast()?;
        either!(&self.params, params => {
            let s = py.detach(|| fast.predict(params, &words)).map_err(exception)?;
            Ok(PyArray2::from_owned_array(py, s).into_any())
        })
    }

    /// The loss of a batch and its gradient: (loss, dictionary of arrays with the names and shapes of the
    /// parameters).
    ///
    /// batch: a sequence of pairs (words, labels). The loss is the mean over the sentences of the mean over their
    /// words of -ln s[label].
    fn gradient<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyAny>,
    ) -> PyResult<(f64, Bound<'py, PyDict>)> {
        let batch = convert::batch(batch)?;
        let fast = self.computation.fast()?;
        either!(&self.params, params => {
            let (loss, gradient) = py.detach(|| {
                let mut gradient = Params::zeros(params.shape())?;
                let loss = fast.gradient(params, batch.batch(), &mut gradient)?;
                Ok::<_, elman::Error>((loss.to_f64(), gradient))
            }).map_err(exception)?;
            Ok((loss, convert::dictionary(py, &gradient)?))
        })
    }

    /// A copy of the parameters.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        either!(&self.params, params => convert::dictionary(py, params))
    }

    /// The sizes vocab, embed, window, hidden and classes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::sizes(py, shape_of(&self.params))
    }

    /// "elman", "gru" or "lstm".
    #[getter]
    fn cell(&self) -> &'static str {
        shape_of(&self.params).cell.name()
    }

    /// "sigmoid", "tanh" or "relu"; None of a GRU or an LSTM.
    #[getter]
    fn activation(&self) -> Option<&'static str> {
        shape_of(&self.params).cell.activation().map(Activation::name)
    }

    /// The implementation, for example fast/avx512.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(elman::Network::<f32>::name(&self.computation.fast()?))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        new_arguments(py, &self.params, &self.computation)
    }
}

fn shape_of(params: &AnyParams) -> Shape {
    either!(params, params => params.shape())
}

fn new_arguments<'py>(
    py: Python<'py>,
    params: &AnyParams,
    computation: &Computation,
) -> PyResult<NewArguments<'py>> {
    let arguments = computation.arguments(py)?;
    convert::cell_arguments(&arguments, shape_of(params).cell)?;
    Ok((PyTuple::new(py, [either!(params, params => convert::dictionary(py, params))?])?, arguments))
}

type AnyLearner = Any<Box<dyn elman::Learner<f32>>, Box<dyn elman::Learner<f64>>>;

/// Training by stochastic gradient descent, from a copy of these parameters (as for Network).
#[pyclass(module = "elman", frozen)]
pub(crate) struct Learner {
    learner: PerProcess<AnyLearner>,
    computation: Computation,
}

impl Learner {
    fn of(params: AnyParams, computation: &Computation) -> PyResult<AnyLearner> {
        let fast = computation.fast()?;
        Ok(match params {
            Any::F32(params) => Any::F32(fast.learner(params).map_err(exception)?),
            Any::F64(params) => Any::F64(fast.learner(params).map_err(exception)?),
        })
    }

    /// This process's learner: its parameters are all that there is of it.
    fn learner(&self, py: Python<'_>) -> PyResult<Arc<Mutex<AnyLearner>>> {
        self.learner.get(py, |parents| {
            let params = current(&*convert::parents("Learner", parents)?);
            Self::of(params, &self.computation)
        })
    }

    fn current(&self, py: Python<'_>) -> PyResult<AnyParams> {
        let learner = self.learner(py)?;
        Ok(py.detach(|| current(&lock(&learner))))
    }
}

fn current(learner: &AnyLearner) -> AnyParams {
    match learner {
        Any::F32(learner) => Any::F32(learner.params()),
        Any::F64(learner) => Any::F64(learner.params()),
    }
}

#[pymethods]
impl Learner {
    #[new]
    #[pyo3(signature = (params, *, cell="elman", activation=None, isa=None, threads=1))]
    fn new(
        params: &Bound<'_, PyAny>,
        cell: &str,
        activation: Option<&str>,
        isa: Option<String>,
        threads: usize,
    ) -> PyResult<Self> {
        let computation = Computation::new(isa, threads)?;
        let params = convert::params(params, convert::cell(cell, activation)?)?;
        let learner = Self::of(params, &computation)?;
        Ok(Learner { learner: PerProcess::new(learner), computation })
    }

    /// One step: p -= learning_rate * gradient for every parameter, then each changed row of the embeddings is
    /// divided by its Euclidean norm. Returns the loss before the step.
    ///
    /// batch: a sequence of pairs (words, labels).
    fn step(&self, py: Python<'_>, batch: &Bound<'_, PyAny>, learning_rate: f64) -> PyResult<f64> {
        let batch = convert::batch(batch)?;
        let learner = self.learner(py)?;
        let finite = |finite: bool| {
            let expected = "a finite number of the parameters' type";
            if finite { Ok(()) } else { Err(elman::Error::shape("learning_rate", expected, learning_rate)) }
        };
        py.detach(|| match &mut *lock(&learner) {
            Any::F32(learner) => {
                finite((learning_rate as f32).is_finite())?;
                learner.step(batch.batch(), &mut Update::sgd(learning_rate as f32)).map(f64::from)
            }
            Any::F64(learner) => {
                finite(learning_rate.is_finite())?;
                learner.step(batch.batch(), &mut Update::sgd(learning_rate))
            }
        })
        .map_err(exception)
    }

    /// A copy of the parameters as they are now.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        either!(self.current(py)?, params => convert::dictionary(py, &params))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        new_arguments(py, &self.current(py)?, &self.computation)
    }
}
