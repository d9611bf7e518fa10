use std::sync::{Arc, Mutex};

use elman::{Feedback, Network as _, Params, Real as _, Shape};
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
        // What cannot be had is refused here.
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
/// hidden], wh [hidden, hidden], w [hidden, classes], bh [hidden], b [classes], h0 [hidden].
#[pyfunction]
#[pyo3(signature = (*, vocab, embed, window, hidden, classes, seed=345, dtype="float32"))]
#[allow(clippy::too_many_arguments)] // by name only
pub(crate) fn init<'py>(
    py: Python<'py>,
    vocab: usize,
    embed: usize,
    window: usize,
    hidden: usize,
    classes: usize,
    seed: u64,
    dtype: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let shape = Shape { vocab, embed, window, hidden, classes, feedback: Feedback::Hidden };
    match dtype {
        "float32" => convert::dictionary(py, Params::<f32>::init(shape, seed).map_err(exception)?),
        "float64" => convert::dictionary(py, Params::<f64>::init(shape, seed).map_err(exception)?),
        other => Err(PyValueError::new_err(format!("dtype: expected float32 or float64, found {other}"))),
    }
}

/// The network with a copy of these parameters: a mapping of emb, wx, wh, w, bh, b, h0 to arrays, all float32 or
/// all float64.
///
/// isa pins the instruction set (portable, avx2, avx512, neon); by default the best that the CPU has. The results
/// have the same bits with any number of threads.
#[pyclass(module = "elman", frozen)]
pub(crate) struct Network {
    params: AnyParams,
    computation: Computation,
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (params, *, isa=None, threads=1))]
    fn new(params: &Bound<'_, PyAny>, isa: Option<String>, threads: usize) -> PyResult<Self> {
        Ok(Network { params: convert::params(params)?, computation: Computation::new(isa, threads)? })
    }

    /// The probability of each label at each word: an array [words, classes], each row a softmax.
    ///
    /// words: ids below shape["vocab"], at least one.
    fn predict<'py>(&self, py: Python<'py>, words: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let sentence = convert::sentence(words)?;
        let fast = self.computation.fast()?;
        either!(&self.params, params => {
            let s = py.detach(|| fast.predict(params, &sentence)).map_err(exception)?;
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
                let mut gradient = Params::zeros(params.shape()?)?;
                let loss = fast.gradient(params, &batch, &mut gradient)?;
                Ok((loss.to_f64(), gradient))
            }).map_err(exception)?;
            Ok((loss, convert::dictionary(py, gradient)?))
        })
    }

    /// A copy of the parameters.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        either!(&self.params, params => convert::dictionary(py, params.clone()))
    }

    /// The sizes vocab, embed, window, hidden and classes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::sizes(py, either!(&self.params, params => params.shape()).map_err(exception)?)
    }

    /// The implementation, for example fast/avx512.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(elman::Network::<f32>::name(&self.computation.fast()?))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        Ok((PyTuple::new(py, [self.params(py)?])?, self.computation.arguments(py)?))
    }
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
    #[pyo3(signature = (params, *, isa=None, threads=1))]
    fn new(params: &Bound<'_, PyAny>, isa: Option<String>, threads: usize) -> PyResult<Self> {
        let computation = Computation::new(isa, threads)?;
        let learner = Self::of(convert::params(params)?, &computation)?;
        Ok(Learner { learner: PerProcess::new(learner), computation })
    }

    /// One step: p -= learning_rate * gradient for every parameter, then each changed row of the embeddings is
    /// divided by its Euclidean norm. Returns the loss before the step.
    ///
    /// batch: a sequence of pairs (words, labels).
    fn step(&self, py: Python<'_>, batch: &Bound<'_, PyAny>, learning_rate: f64) -> PyResult<f64> {
        let batch = convert::batch(batch)?;
        let learner = self.learner(py)?;
        let finite = |rate: f64| match rate.is_finite() {
            true => Ok(()),
            false => Err(elman::Error::Shape {
                what: "learning_rate".into(),
                expected: "a finite number of the parameters' type".into(),
                found: learning_rate.to_string(),
            }),
        };
        py.detach(|| match &mut *lock(&learner) {
            Any::F32(learner) => {
                finite(f64::from(learning_rate as f32))?;
                learner.step(&batch, learning_rate as f32).map(f64::from)
            }
            Any::F64(learner) => {
                finite(learning_rate)?;
                learner.step(&batch, learning_rate)
            }
        })
        .map_err(exception)
    }

    /// A copy of the parameters as they are now.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let learner = self.learner(py)?;
        let params = py.detach(|| current(&lock(&learner)));
        either!(params, params => convert::dictionary(py, params))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        Ok((PyTuple::new(py, [self.params(py)?])?, self.computation.arguments(py)?))
    }
}
