//! Derivatives by forward mode: dual numbers `a + b·ε`, `ε² = 0`, through the reference's forward loops.
//!
//! A dual number carries the derivative of every intermediate result along with it, exactly and without a
//! step size. No line of backpropagation takes part: the reference computes the loss and is told to go back
//! over zero steps.

use elman::ndarray::Array2;
use elman::{Batch, Error, LayerParams, Network, Params, Recurrence, RecurrenceGradient};
use elman_reference::Reference;
use num_dual::Dual64;

use crate::strategies::Drawn;

/// The derivative of the loss with respect to every parameter.
pub(crate) fn gradient(params: &Params<f64>, batch: Batch<'_>) -> Result<Params<f64>, Error> {
    let mut result = Params::zeros(params.shape())?;
    by_each(params.map(Dual64::from), Params::as_mut_slice, result.as_mut_slice(), |duals| {
        Ok(loss(duals, batch)?.eps)
    })?;
    Ok(result)
}

/// The derivative of the loss when the parameters move along `direction`.
pub(crate) fn along(params: &Params<f64>, batch: Batch<'_>, direction: &Params<f64>) -> Result<f64, Error> {
    let mut duals = params.map(Dual64::from);
    scaled(|scale| {
        for (dual, direction) in duals.as_mut_slice().iter_mut().zip(direction.as_slice()) {
            dual.eps = scale * *direction;
        }
        Ok(loss(&duals, batch)?.eps)
    })
}

/// A derivative, which is linear in the dual parts of the arguments, from one that was computed from `scale` times these
/// parts. With a large scale no intermediate result underflows, which a large factor after it would make visible; a
/// power of two rounds nothing. Where it overflows, the scale is 1.
fn scaled(mut f: impl FnMut(f64) -> Result<f64, Error>) -> Result<f64, Error> {
    let scale = 2.0_f64.powi(500);
    let derivative = f(scale)? / scale;
    if derivative.is_finite() { Ok(derivative) } else { f(1.0) }
}

fn loss(params: &Params<Dual64>, batch: Batch<'_>) -> Result<Dual64, Error> {
    let mut scratch = Params::zeros(params.shape())?;
    Reference::new().truncate_gradient(0).gradient(params, batch, &mut scratch)
}

/// The derivatives of `sum(dh ∘ h) + sum(dlast ∘ last)` with respect to every input, every entry of the initial states
/// (that of each sequence, where all start from h0) and every entry of the layer.
pub(crate) fn recurrence(drawn: &Drawn<f64>) -> Result<RecurrenceGradient<f64>, Error> {
    let value = |duals: &Drawn<Dual64>| {
        let states = Reference::new().forward(duals.layer.layer(), &duals.xs()?)?;
        let mut eps: f64 = states.h.iter().zip(&drawn.dh).map(|(h, dh)| h.eps * dh).sum();
        if let Some(dlast) = &drawn.dlast {
            eps += states.last.iter().zip(dlast).map(|(last, dlast)| last.eps * dlast).sum::<f64>();
        }
        Ok(eps)
    };
    let duals = drawn.map(Dual64::from);
    let mut by_xs = Array2::zeros(drawn.rows.raw_dim());
    by_each(duals.clone(), |at| entries(&mut at.rows), entries(&mut by_xs), value)?;
    let mut by_layer = LayerParams::zeros(drawn.layer.shape())?;
    by_each(duals, |at| at.layer.as_mut_slice(), by_layer.as_mut_slice(), value)?;
    let from = drawn.with_initial();
    let mut by_initial = from.initial.clone().unwrap_or_default();
    by_each(from.map(Dual64::from), initial_entries, entries(&mut by_initial), value)?;
    Ok(RecurrenceGradient { xs: by_xs, initial: by_initial, layer: by_layer })
}

/// The entries of a matrix in row-major order.
pub(crate) fn entries<T>(matrix: &mut Array2<T>) -> &mut [T] {
    matrix.as_slice_mut().expect("a new matrix is row-major")
}

/// The entries of the initial states, if there are any.
pub(crate) fn initial_entries<T>(drawn: &mut Drawn<T>) -> &mut [T] {
    drawn.initial.as_mut().map_or(&mut [], entries)
}

/// Writes the derivative of `f` by each number of `at`.
fn by_each<A>(
    mut at: A,
    entries: impl Fn(&mut A) -> &mut [Dual64],
    result: &mut [f64],
    f: impl Fn(&A) -> Result<f64, Error>,
) -> Result<(), Error> {
    for (i, result) in result.iter_mut().enumerate() {
        *result = scaled(|scale| {
            entries(&mut at)[i].eps = scale;
            f(&at)
        })?;
        entries(&mut at)[i].eps = 0.0;
    }
    Ok(())
}
