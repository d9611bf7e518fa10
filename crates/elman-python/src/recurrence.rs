use elman::ndarray::Array2;
use elman::{Cell, CellGradient, Recurrence as _, Sequences};
use elman_fast::Fast;
use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{self, Any, Named, either, exception, owned_matrix, owned_vector};
use crate::network::Computation;

/// The arrays of a call, as Python hands them over.
struct Arguments<'a, 'py> {
    xs: &'a Bound<'py, PyAny>,
    wx: &'a Bound<'py, PyAny>,
    wh: &'a Bound<'py, PyAny>,
    bh: &'a Bound<'py, PyAny>,
    h0: &'a Bound<'py, PyAny>,
    lengths: Option<&'a Bound<'py, PyAny>>,
}

impl Arguments<'_, '_> {
    fn cell<T: Named>(&self) -> PyResult<Cell<T>> {
        Ok(Cell {
            wx: owned_matrix("wx", self.wx)?,
            wh: owned_matrix("wh", self.wh)?,
            bh: owned_vector("bh", self.bh)?,
            h0: owned_vector("h0", self.h0)?,
        })
    }

    /// The lengths of the sequences; of all rows if none are given.
    fn lengths(&self, rows: usize) -> PyResult<Vec<usize>> {
        self.lengths.map_or(Ok(vec![rows]), |lengths| convert::ids("lengths", lengths))
    }

    fn forward<'py, T: Named>(&self, py: Python<'py>, fast: &Fast) -> PyResult<Bound<'py, PyAny>>
    where
        Fast: elman::Recurrence<T>,
    {
        let cell = self.cell::<T>()?;
        let array = convert::matrix::<T>("xs", self.xs)?;
        let view = array.as_array();
        convert::finite("xs", view)?;
        let rows = view.as_standard_layout(); // copies only what is not contiguous
        let lengths = self.lengths(rows.nrows())?;
        let xs = Sequences::new(rows.view(), &lengths).map_err(exception)?;
        let h = py.detach(|| fast.forward(&cell, &xs)).map_err(exception)?;
        Ok(PyArray2::from_owned_array(py, h).into_any())
    }
}

/// The states h [sum of lengths, hidden] of h[t] = sigmoid(xs[t] @ wx + h[t-1] @ wh + bh), h[-1] = h0.
#[pyfunction]
#[pyo3(signature = (xs, wx, wh, bh, h0, lengths=None, *, isa=None, threads=1))]
#[allow(clippy::too_many_arguments)] // the equation's
pub(crate) fn forward<'py>(
    py: Python<'py>,
    xs: &Bound<'py, PyAny>,
    wx: &Bound<'py, PyAny>,
    wh: &Bound<'py, PyAny>,
    bh: &Bound<'py, PyAny>,
    h0: &Bound<'py, PyAny>,
    lengths: Option<&Bound<'py, PyAny>>,
    isa: Option<&str>,
    threads: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let fast = convert::fast(isa, threads)?;
    let arguments = Arguments { xs, wx, wh, bh, h0, lengths };
    match convert::is_double("xs", xs, 2)? {
        true => arguments.forward::<f64>(py, &fast),
        false => arguments.forward::<f32>(py, &fast),
    }
}

/// The states as forward gives them, in a Trace that can be followed backwards. The inputs are copied.
#[pyfunction]
#[pyo3(signature = (xs, wx, wh, bh, h0, lengths=None, *, isa=None, threads=1))]
#[allow(clippy::too_many_arguments)] // the equation's
pub(crate) fn vjp<'py>(
    py: Python<'py>,
    xs: &Bound<'py, PyAny>,
    wx: &Bound<'py, PyAny>,
    wh: &Bound<'py, PyAny>,
    bh: &Bound<'py, PyAny>,
    h0: &Bound<'py, PyAny>,
    lengths: Option<&Bound<'py, PyAny>>,
    isa: Option<String>,
    threads: usize,
) -> PyResult<Trace> {
    let computation = Computation::new(isa, threads)?;
    let fast = computation.fast()?;
    let arguments = Arguments { xs, wx, wh, bh, h0, lengths };
    let run = match convert::is_double("xs", xs, 2)? {
        true => Any::F64(Run::new(py, &arguments, &fast)?),
        false => Any::F32(Run::new(py, &arguments, &fast)?),
    };
    Ok(Trace { run, computation })
}

/// The inputs of a run, owned, and its states.
struct Run<T> {
    cell: Cell<T>,
    rows: Array2<T>,
    lengths: Vec<usize>,
    h: Array2<T>,
}

impl<T: Named> Run<T>
where
    Fast: elman::Recurrence<T>,
{
    fn new(py: Python<'_>, arguments: &Arguments<'_, '_>, fast: &Fast) -> PyResult<Self> {
        let rows = owned_matrix("xs", arguments.xs)?;
        let lengths = arguments.lengths(rows.nrows())?;
        let cell = arguments.cell()?;
        let h =
            py.detach(|| fast.forward(&cell, &Sequences::new(rows.view(), &lengths)?)).map_err(exception)?;
        Ok(Run { cell, rows, lengths, h })
    }

    /// elman's own trace borrows what it was made from, and so cannot be kept in an object of Python's; it is made
    /// again here, which costs a second run forward.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        fast: &Fast,
        dh: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let array = convert::matrix::<T>("dh", dh)?;
        let view = array.as_array();
        convert::finite("dh", view)?;
        let dh = view.as_standard_layout();
        let gradient = py.detach(|| {
            let xs = Sequences::new(self.rows.view(), &self.lengths)?;
            fast.vjp(&self.cell, &xs)?.backward(dh.view())
        });
        let CellGradient { xs, cell: Cell { wx, wh, bh, h0 } } = gradient.map_err(exception)?;
        let [xs, wx, wh] = [xs, wx, wh].map(|matrix| PyArray2::from_owned_array(py, matrix).into_any());
        let [bh, h0] = [bh, h0].map(|vector| PyArray1::from_owned_array(py, vector).into_any());
        PyTuple::new(py, [xs, wx, wh, bh, h0])
    }
}

/// A run of the recurrence; it holds copies of its inputs.
#[pyclass(module = "elman", frozen)]
pub(crate) struct Trace {
    run: Any<Run<f32>, Run<f64>>,
    computation: Computation,
}

#[pymethods]
impl Trace {
    /// The states, a copy: [sum of lengths, hidden].
    #[getter]
    fn h<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        either!(&self.run, run => PyArray2::from_array(py, &run.h).into_any())
    }

    /// The gradients of sum(dh * h) with respect to xs, wx, wh, bh and h0, in this order.
    fn backward<'py>(&self, py: Python<'py>, dh: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        either!(&self.run, run => run.backward(py, &self.computation.fast()?, dh))
    }
}
