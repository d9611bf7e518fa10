//! Derivatives by forward mode: dual numbers `a + b·ε`, `ε² = 0`, through the reference's forward loops.
//!
//! A dual number carries the derivative of every intermediate result along with it, exactly and without a
//! step size. No line of backpropagation takes part: the reference computes the loss and is told to go back
//! over zero steps.

use elman::ndarray::{Array2, ArrayView2, ArrayViewD, ArrayViewMutD};
use elman::{Cell, Error, Labelled, Network, Params, Recurrence, Sequences};
use elman_reference::Reference;
use num_dual::Dual64;

/// The derivative of the loss with respect to every parameter.
pub(crate) fn gradient(params: &Params<f64>, batch: &[Labelled]) -> Result<Params<f64>, Error> {
    let shape = params.shape()?;
    let mut result = Params::zeros(shape)?;
    let mut duals = params.map(Dual64::from);
    let mut scratch = Params::zeros(shape)?;
    for ((tensor, _), (_, mut out)) in params.tensors().iter().enumerate().zip(result.tensors_mut()) {
        for entry in 0..out.len() {
            seed(&mut duals.tensors_mut()[tensor].1, entry, 1.0);
            *slot(&mut out, entry) = loss(&duals, batch, &mut scratch)?.eps;
            seed(&mut duals.tensors_mut()[tensor].1, entry, 0.0);
        }
    }
    Ok(result)
}

/// The derivative of the loss when the parameters move along `direction`.
pub(crate) fn along(params: &Params<f64>, batch: &[Labelled], direction: &Params<f64>) -> Result<f64, Error> {
    let mut duals = params.map(Dual64::from);
    for ((_, mut dual), (_, direction)) in duals.tensors_mut().into_iter().zip(direction.tensors()) {
        dual.zip_mut_with(&direction, |dual, direction| dual.eps = *direction);
    }
    let mut scratch = Params::zeros(params.shape()?)?;
    Ok(loss(&duals, batch, &mut scratch)?.eps)
}

fn loss(params: &Params<Dual64>, batch: &[Labelled], scratch: &mut Params<Dual64>) -> Result<Dual64, Error> {
    Reference::new().truncate_gradient(0).gradient(params, batch, scratch)
}

/// The derivative of `sum(dh ∘ h)` with respect to every input and every entry of the cell.
pub(crate) fn recurrence(
    cell: &Cell<f64>,
    xs: ArrayView2<'_, f64>,
    lengths: &[usize],
    dh: ArrayView2<'_, f64>,
) -> Result<(Array2<f64>, Cell<f64>), Error> {
    let (input, hidden) = cell.dim()?;
    let mut duals = Cell {
        wx: cell.wx.mapv(Dual64::from),
        wh: cell.wh.mapv(Dual64::from),
        bh: cell.bh.mapv(Dual64::from),
        h0: cell.h0.mapv(Dual64::from),
    };
    let mut rows = xs.mapv(Dual64::from);
    let derivative = |cell: &Cell<Dual64>, rows: &Array2<Dual64>| {
        let h = Reference::new().forward(cell, &Sequences::new(rows.view(), lengths)?)?;
        Ok::<f64, Error>(h.iter().zip(dh).map(|(h, dh)| h.eps * dh).sum())
    };
    let mut by_xs = Array2::zeros(xs.raw_dim());
    for entry in 0..rows.len() {
        seed(&mut rows.view_mut().into_dyn(), entry, 1.0);
        *slot(&mut by_xs.view_mut().into_dyn(), entry) = derivative(&duals, &rows)?;
        seed(&mut rows.view_mut().into_dyn(), entry, 0.0);
    }
    let mut by_cell = Cell::zeros(input, hidden);
    for tensor in 0..4 {
        for entry in 0..cell_tensors(cell)[tensor].1.len() {
            seed(&mut cell_tensors_mut(&mut duals)[tensor], entry, 1.0);
            *slot(&mut cell_tensors_mut(&mut by_cell)[tensor], entry) = derivative(&duals, &rows)?;
            seed(&mut cell_tensors_mut(&mut duals)[tensor], entry, 0.0);
        }
    }
    Ok((by_xs, by_cell))
}

/// The four tensors of a cell with their names.
pub(crate) fn cell_tensors<T>(cell: &Cell<T>) -> [(&'static str, ArrayViewD<'_, T>); 4] {
    [
        ("wx", cell.wx.view().into_dyn()),
        ("wh", cell.wh.view().into_dyn()),
        ("bh", cell.bh.view().into_dyn()),
        ("h0", cell.h0.view().into_dyn()),
    ]
}

/// The four tensors of a cell, to be changed.
pub(crate) fn cell_tensors_mut<T>(cell: &mut Cell<T>) -> [ArrayViewMutD<'_, T>; 4] {
    [
        cell.wx.view_mut().into_dyn(),
        cell.wh.view_mut().into_dyn(),
        cell.bh.view_mut().into_dyn(),
        cell.h0.view_mut().into_dyn(),
    ]
}

fn seed(tensor: &mut ArrayViewMutD<'_, Dual64>, entry: usize, eps: f64) {
    slot(tensor, entry).eps = eps;
}

/// The entry with this number in row-major order.
pub(crate) fn slot<'a, T>(tensor: &'a mut ArrayViewMutD<'_, T>, entry: usize) -> &'a mut T {
    match tensor.as_slice_mut() {
        Some(entries) => &mut entries[entry],
        None => unreachable!("the tensors of Params and Cell are row-major"),
    }
}
