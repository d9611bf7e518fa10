//! The network by tanh, for crates whose recurrence knows no sigmoid.

use elman::Cell;
use elman::ndarray::{Array1, Array2, Axis};

/// With g\[t\] = tanh(x\[t\]·wx/2 + g\[t-1\]·wh/4 + bh/2 + column sums of wh/4) and g\[-1\] = 2·h0 - 1, the state of the
/// network is h\[t\] = (1 + g\[t\]) / 2, since sigmoid(z) = (1 + tanh(z/2)) / 2.
pub(crate) fn as_tanh(cell: &Cell<f32>) -> Cell<f32> {
    Cell {
        wx: cell.wx.mapv(|entry| entry / 2.0),
        wh: cell.wh.mapv(|entry| entry / 4.0),
        bh: &cell.bh / 2.0 + cell.wh.sum_axis(Axis(0)) / 4.0,
        h0: cell.h0.mapv(|entry| 2.0 * entry - 1.0),
    }
}

/// The output layer that reads g: `h·w + b = g·w/2 + (b + column sums of w/2)`.
pub(crate) fn output(w: &Array2<f32>, b: &Array1<f32>) -> (Array2<f32>, Array1<f32>) {
    (w / 2.0, b + w.sum_axis(Axis(0)) / 2.0)
}
