//! The judge, for functions of Python's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use elman::Float;
use elman::ndarray::ArrayD;
use elman_verify::{
    Abilities, Answer, Arithmetic, Differentiable, FailingCase, Given, Kernel, Options, Report, Trouble,
    check_kernel, check_vjp,
};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{self, Named, exception, lock};

/// A function that takes a dictionary of arrays and returns one, as a kernel.
struct Function {
    name: String,
    abilities: Abilities,
    function: Py<PyAny>,
    interrupted: Interrupted,
}

/// The interrupt that ends the whole judgement.
type Interrupted = Arc<Mutex<Option<PyErr>>>;

/// The message of an exception, in one line; an interrupt is kept, to be raised again.
fn trouble(py: Python<'_>, error: PyErr, interrupted: &Interrupted) -> Trouble {
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        *lock(interrupted) = Some(error);
        return Trouble { message: "interrupted".to_string(), hopeless: true };
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Trouble::new(format!("it raised {line}"))
}

impl<T: Float + Named> Kernel<T> for Function {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn call(&self, given: &Given<'_, T>) -> Result<Answer<T>, Trouble> {
        Python::attach(|py| {
            let call = || {
                let arrays = PyDict::new(py);
                for (name, tensor) in &given.tensors {
                    arrays.set_item(name, PyArrayDyn::from_array(py, tensor))?;
                }
                let lengths: Vec<i64> = given.lengths.iter().map(|length| *length as i64).collect();
                arrays.set_item("lengths", PyArray1::from_vec(py, lengths))?;
                let mut answer = Answer::new();
                let found: Bound<'_, PyDict> = self.function.bind(py).call1((arrays,))?.extract()?;
                for (name, array) in found {
                    let name: String = name.extract()?;
                    answer.insert(name, array.extract::<Bound<'_, PyArrayDyn<T>>>()?.to_owned_array());
                }
                Ok(answer)
            };
            call().map_err(|error| trouble(py, error, &self.interrupted))
        })
    }
}

/// The outcome: passed, the table, the HTML page, JSON, and the failing case if there is one.
type Outcome<'py> = (bool, String, String, String, Option<Bound<'py, PyDict>>);

fn outcome<'py>(
    report: &Report,
    interrupted: &Interrupted,
    failing: Option<Bound<'py, PyDict>>,
) -> PyResult<Outcome<'py>> {
    if let Some(error) = lock(interrupted).take() {
        return Err(error);
    }
    let html = elman_verify::html(std::slice::from_ref(report)).map_err(exception)?;
    let json = serde_json::to_string(report)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(format!("report: {error}")))?;
    Ok((report.passed(), report.to_string(), html, json, failing))
}

/// Puts a function of arrays through the cases of the judge.
#[pyfunction]
#[pyo3(signature = (function, *, name, cell, activation, double, gradients, initial, threads, seed, cases, case, shrink,
                    arithmetic, repeatable, subnormals, slack, again, progress))]
#[allow(clippy::too_many_arguments)] // by name only
pub(crate) fn judge<'py>(
    py: Python<'py>,
    function: Py<PyAny>,
    name: String,
    cell: &str,
    activation: Option<&str>,
    double: bool,
    gradients: bool,
    initial: bool,
    threads: bool,
    seed: u64,
    cases: usize,
    case: Option<String>,
    shrink: usize,
    arithmetic: Option<&str>,
    repeatable: bool,
    subnormals: bool,
    slack: f64,
    again: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<Outcome<'py>> {
    let cell = convert::cell(cell, activation)?;
    let arithmetic = arithmetic.map(str::parse::<Arithmetic>).transpose().map_err(exception)?;
    let mut options = Options::new().seed(seed).cases(cases).shrink(shrink).slack(slack).cells(&[cell]);
    options = options.arithmetic(arithmetic).repeatable(repeatable).subnormals(subnormals).again(again);
    if let Some(case) = case {
        options = options.only(case);
    }
    let interrupted = Interrupted::default();
    if let Some(progress) = progress {
        let interrupted = interrupted.clone();
        options = options.progress(move |case| {
            Python::attach(|py| {
                if let Err(error) = progress.call1(py, (case,)) {
                    lock(&interrupted).get_or_insert(error);
                }
            });
        });
    }
    let abilities = Abilities { gradients, initial, threads };
    let function = Function { name, abilities, function, interrupted: interrupted.clone() };
    if double {
        run::<f64>(py, function, &options, &interrupted)
    } else {
        run::<f32>(py, function, &options, &interrupted)
    }
}

fn run<'py, T: Float + Named>(
    py: Python<'py>,
    function: Function,
    options: &Options,
    interrupted: &Interrupted,
) -> PyResult<Outcome<'py>> {
    let judged = py.detach(|| check_kernel::<T>(Box::new(function), options));
    let (report, failing) = judged.map_err(exception)?;
    let failing = failing.map(|failing| failing_case(py, failing)).transpose()?;
    outcome(&report, interrupted, failing)
}

fn failing_case<T: Float + Named>(py: Python<'_>, failing: FailingCase<T>) -> PyResult<Bound<'_, PyDict>> {
    fn arrays<'py, T: numpy::Element>(
        py: Python<'py>,
        arrays: BTreeMap<String, ArrayD<T>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dictionary = PyDict::new(py);
        for (name, array) in arrays {
            dictionary.set_item(name, PyArrayDyn::from_owned_array(py, array))?;
        }
        Ok(dictionary)
    }
    let dictionary = PyDict::new(py);
    dictionary.set_item("case", failing.case)?;
    dictionary.set_item("lengths", failing.lengths)?;
    dictionary.set_item("given", arrays(py, failing.given)?)?;
    dictionary.set_item("found", arrays(py, failing.found)?)?;
    dictionary.set_item("expected", arrays(py, failing.expected)?)?;
    dictionary.set_item("allowed", arrays(py, failing.allowed)?)?;
    Ok(dictionary)
}

/// A function of Python's with its gradient: two callables on lists of arrays of `f64`.
struct Pair {
    name: String,
    value: Py<PyAny>,
    gradient: Py<PyAny>,
    interrupted: Interrupted,
}

impl Pair {
    fn call<R>(
        &self,
        function: &Py<PyAny>,
        inputs: &[ArrayD<f64>],
        read: impl Fn(Bound<'_, PyAny>) -> PyResult<R>,
    ) -> Result<R, Trouble> {
        Python::attach(|py| {
            let arrays: Vec<_> = inputs.iter().map(|input| PyArrayDyn::from_array(py, input)).collect();
            let found = function.bind(py).call1((arrays,)).and_then(read);
            found.map_err(|error| trouble(py, error, &self.interrupted))
        })
    }
}

impl Differentiable for Pair {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn value(&self, inputs: &[ArrayD<f64>]) -> Result<f64, Trouble> {
        self.call(&self.value, inputs, |found| found.extract())
    }

    fn gradient(&self, inputs: &[ArrayD<f64>]) -> Result<Vec<ArrayD<f64>>, Trouble> {
        self.call(&self.gradient, inputs, |found| {
            let arrays: Vec<Bound<'_, PyArrayDyn<f64>>> = found.extract()?;
            Ok(arrays.iter().map(PyArrayMethods::to_owned_array).collect())
        })
    }
}

/// Compares the gradient of a function with differences of its values.
#[pyfunction]
#[pyo3(signature = (value, gradient, inputs, *, name, double, seed, entries, again))]
#[allow(clippy::too_many_arguments)] // by name only
pub(crate) fn judge_vjp<'py>(
    py: Python<'py>,
    value: Py<PyAny>,
    gradient: Py<PyAny>,
    inputs: Vec<Bound<'py, PyArrayDyn<f64>>>,
    name: String,
    double: bool,
    seed: u64,
    entries: usize,
    again: String,
) -> PyResult<Outcome<'py>> {
    let inputs: Vec<ArrayD<f64>> = inputs.iter().map(PyArrayMethods::to_owned_array).collect();
    let interrupted = Interrupted::default();
    let pair = Pair { name, value, gradient, interrupted: interrupted.clone() };
    let options = Options::new().seed(seed).cases(entries).again(again);
    let report = py.detach(|| match double {
        true => check_vjp::<f64>(&pair, &inputs, &options),
        false => check_vjp::<f32>(&pair, &inputs, &options),
    });
    outcome(&report, &interrupted, None)
}
