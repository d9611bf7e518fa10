//! The recurrence alone, for arrays, and its trace.

use elman::ndarray::Array2;
use elman::{Cell, Error, LayerParams, Name, Recurrence as _, RecurrenceGradient, Sequences, States};
use elman_fast::Fast;
use numpy::{PyArray2, PyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{self, Any, Named, either, exception, owned_matrix};
use crate::network::Computation;

/// The arrays of a call, as Python hands them over.
struct Arguments<'a, 'py> {
    cell: Cell,
    xs: &'a Bound<'py, PyAny>,
    /// wx, wh, bh, h0.
    tensors: [&'a Bound<'py, PyAny>; 4],
    bhn: Option<&'a Bound<'py, PyAny>>,
    c0: Option<&'a Bound<'py, PyAny>>,
    initial: Option<&'a Bound<'py, PyAny>>,
    lengths: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> Arguments<'_, 'py> {
    fn layer<T: Named>(&self) -> PyResult<LayerParams<T>> {
        let of_some_cells = [("bhn", self.bhn, self.cell.has_bhn()), ("c0", self.c0, self.cell.states() > 1)];
        if let Some((name, ..)) = of_some_cells.into_iter().find(|(_, found, has)| found.is_some() && !has) {
            return Err(PyValueError::new_err(format!("{name}: expected none for the cell {}", self.cell)));
        }
        convert::layer(self.cell, |name| {
            let [wx, wh, bh, h0] = self.tensors;
            let found = match name {
                Name::Wx => Some(wx),
                Name::Wh => Some(wh),
                Name::Bh => Some(bh),
                Name::H0 => Some(h0),
                Name::Bhn => self.bhn,
                Name::C0 => self.c0,
                _ => None,
            };
            let missing =
                || PyValueError::new_err(format!("{name}: expected an array for the cell {}", self.cell));
            found.cloned().ok_or_else(missing)
        })
    }

    /// The lengths of the sequences; of all rows if none are given.
    fn lengths(&self, rows: usize) -> PyResult<Vec<usize>> {
        self.lengths.map_or(Ok(vec![rows]), |lengths| convert::integers("lengths", lengths))
    }

    fn initial<T: Named>(&self) -> PyResult<Option<Array2<T>>> {
        self.initial.map(|initial| owned_matrix("initial", initial)).transpose()
    }

    fn forward<T: Named>(&self, py: Python<'py>, fast: &Fast) -> PyResult<Bound<'py, PyAny>>
    where
        Fast: elman::Recurrence<T>,
    {
        let layer = self.layer::<T>()?;
        let array = convert::matrix::<T>("xs", self.xs)?;
        let view = array.as_array();
        convert::finite("xs", view)?;
        let rows = view.as_standard_layout(); // copies only what is not contiguous
        let (lengths, initial) = (self.lengths(rows.nrows())?, self.initial()?);
        let xs = Sequences::new(rows.view(), &lengths).map_err(exception)?;
        let xs = starting_from(xs, initial.as_ref()).map_err(exception)?;
        let States { h, .. } = py.detach(|| fast.forward(layer.layer(), &xs)).map_err(exception)?;
        Ok(PyArray2::from_owned_array(py, h).into_any())
    }
}

fn starting_from<'a, T: Named>(
    xs: Sequences<'a, T>,
    initial: Option<&'a Array2<T>>,
) -> Result<Sequences<'a, T>, Error> {
    initial.map_or(Ok(xs), |initial| xs.starting_from(initial.view()))
}

/// The states h [sum of lengths, hidden] of h[t] = f(xs[t] @ wx + h[t-1] @ wh + bh), h[-1] = h0 (or initial, a row for
/// each sequence), or of a GRU or an LSTM, whose initial rows have h and c side by side.
#[pyfunction]
#[pyo3(signature = (xs, wx, wh, bh, h0, lengths=None, *, bhn=None, c0=None, initial=None, cell="elman", activation=None,
                    isa=None, threads=1))]
#[allow(clippy::too_many_arguments)] // the equation's
pub(crate) fn forward<'py>(
    py: Python<'py>,
    xs: &Bound<'py, PyAny>,
    wx: &Bound<'py, PyAny>,
    wh: &Bound<'py, PyAny>,
    bh: &Bound<'py, PyAny>,
    h0: &Bound<'py, PyAny>,
    lengths: Option<&Bound<'py, PyAny>>,
    bhn: Option<&Bound<'py, PyAny>>,
    c0: Option<&Bound<'py, PyAny>>,
    initial: Option<&Bound<'py, PyAny>>,
    cell: &str,
    activation: Option<&str>,
    isa: Option<&str>,
    threads: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let (fast, cell) = (convert::fast(isa, threads)?, convert::cell(cell, activation)?);
    let arguments = Arguments { cell, xs, tensors: [wx, wh, bh, h0], bhn, c0, initial, lengths };
    match convert::is_double("xs", xs, 2)? {
        true => arguments.forward::<f64>(py, &fast),
        false => arguments.forward::<f32>(py, &fast),
    }
}

/// The states as recurrence gives them, in a Trace that can be followed backwards. The inputs are copied.
#[pyfunction]
#[pyo3(signature = (xs, wx, wh, bh, h0, lengths=None, *, bhn=None, c0=None, initial=None, cell="elman", activation=None,
                    isa=None, threads=1))]
#[allow(clippy::too_many_arguments)] // the equation's
pub(crate) fn vjp<'py>(
    py: Python<'py>,
    xs: &Bound<'py, PyAny>,
    wx: &Bound<'py, PyAny>,
    wh: &Bound<'py, PyAny>,
    bh: &Bound<'py, PyAny>,
    h0: &Bound<'py, PyAny>,
    lengths: Option<&Bound<'py, PyAny>>,
    bhn: Option<&Bound<'py, PyAny>>,
    c0: Option<&Bound<'py, PyAny>>,
    initial: Option<&Bound<'py, PyAny>>,
    cell: &str,
    activation: Option<&str>,
    isa: Option<String>,
    threads: usize,
) -> PyResult<Trace> {
    let computation = Computation::new(isa, threads)?;
    let (fast, cell) = (computation.fast()?, convert::cell(cell, activation)?);
    let arguments = Arguments { cell, xs, tensors: [wx, wh, bh, h0], bhn, c0, initial, lengths };
    let run = match convert::is_double("xs", xs, 2)? {
        true => Any::F64(Run::new(py, &arguments, &fast)?),
        false => Any::F32(Run::new(py, &arguments, &fast)?),
    };
    Ok(Trace { run, computation })
}

/// The inputs of a run, owned, and its states.
struct Run<T> {
    layer: LayerParams<T>,
    rows: Array2<T>,
    lengths: Vec<usize>,
    initial: Option<Array2<T>>,
    states: States<T>,
}

impl<T: Named> Run<T>
where
    Fast: elman::Recurrence<T>,
{
    fn new(py: Python<'_>, arguments: &Arguments<'_, '_>, fast: &Fast) -> PyResult<Self> {
        let rows = owned_matrix("xs", arguments.xs)?;
        let (lengths, initial) = (arguments.lengths(rows.nrows())?, arguments.initial()?);
        let layer = arguments.layer::<T>()?;
        let none = || Array2::zeros((0, 0));
        let states = States { h: none(), last: none() };
        let mut run = Run { layer, rows, lengths, initial, states };
        run.states = py.detach(|| fast.forward(run.layer.layer(), &run.xs()?)).map_err(exception)?;
        Ok(run)
    }

    fn xs(&self) -> Result<Sequences<'_, T>, Error> {
        starting_from(Sequences::new(self.rows.view(), &self.lengths)?, self.initial.as_ref())
    }

    /// elman's own trace borrows what it was made from, and so cannot be kept in an object of Python's; it is made
    /// again here, which costs a second run forward.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        fast: &Fast,
        dh: &Bound<'py, PyAny>,
        dlast: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let array = convert::matrix::<T>("dh", dh)?;
        let view = array.as_array();
        convert::finite("dh", view)?;
        let dh = view.as_standard_layout();
        let dlast: Option<Array2<T>> = dlast.map(|dlast| owned_matrix("dlast", dlast)).transpose()?;
        let dlast = dlast.as_ref().map(|dlast| dlast.view());
        let gradient = py.detach(|| fast.vjp(self.layer.layer(), &self.xs()?)?.backward(dh.view(), dlast));
        let RecurrenceGradient { xs, initial, layer } = gradient.map_err(exception)?;
        let mut gradients = vec![PyArray2::from_owned_array(py, xs).into_any()];
        for name in [Name::Wx, Name::Wh, Name::Bh, Name::H0, Name::Bhn, Name::C0] {
            gradients.extend(layer.tensor(name).map(|tensor| PyArrayDyn::from_array(py, &tensor).into_any()));
        }
        if self.initial.is_some() {
            gradients.push(PyArray2::from_owned_array(py, initial).into_any());
        }
        PyTuple::new(py, gradients)
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
        either!(&self.run, run => PyArray2::from_array(py, &run.states.h).into_any())
    }

    /// The state after the last step of each sequence, a copy: [sequences, hidden], or of an LSTM [sequences,
    /// 2 * hidden], h and c side by side. The next parts of the sequences start there.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        either!(&self.run, run => PyArray2::from_array(py, &run.states.last).into_any())
    }

    /// The gradients of sum(dh * h) + sum(dlast * last) with respect to xs, wx, wh, bh and h0, in this order; then of a
    /// GRU's bhn or an LSTM's c0, and of the initial states if they were given (h0's and c0's are then zero). dlast is
    /// the gradient that the next parts of the sequences have for their initial states.
    #[pyo3(signature = (dh, dlast=None))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        dh: &Bound<'py, PyAny>,
        dlast: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        either!(&self.run, run => run.backward(py, &self.computation.fast()?, dh, dlast))
    }
}
