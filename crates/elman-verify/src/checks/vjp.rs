//! Any differentiable function of arrays, by differences.

use elman::ndarray::{Array1, ArrayD};
use elman::{Error, Float};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::differences::{Difference, derivative, noise};
use crate::equations::Seen;
use crate::kernel::Trouble;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::{Options, Report};

/// A function of arrays to a number, with its gradient: a weighted sum of what a function of your own returns.
pub trait Differentiable: Send + Sync {
    /// The name that reports give it.
    fn name(&self) -> String;

    /// The number.
    ///
    /// # Errors
    /// The function failed.
    fn value(&self, inputs: &[ArrayD<f64>]) -> Result<f64, Trouble>;

    /// The gradient by each input, in its shape.
    ///
    /// # Errors
    /// The function failed.
    fn gradient(&self, inputs: &[ArrayD<f64>]) -> Result<Vec<ArrayD<f64>>, Trouble>;
}

/// Names of the inputs in reports.
const NAMES: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "others"];

/// Directions through all entries at once.
const DIRECTIONS: usize = 8;

/// Compares the gradient of a function that computes in `T` with differences of the function's own values: entry by
/// entry, [`Options::cases`] of each input, drawn at random where it has more, and along random directions through all.
///
/// Nothing is known of the function. The noise of its values is measured (Moré and Wild, *Estimating computational
/// noise*, 2011), the differences are extrapolated ([Ridders' method](crate)), and the allowance is the error of the
/// extrapolation, the noise over the step, and what rounding to `T` does to the gradient itself: its largest entry, taken
/// 64 times by an epsilon. So it does not see
/// - whether the values are right: the gradient is compared with them alone;
/// - an error below the allowance; entries whose allowance is larger than the largest entry are counted as blind, and so
///   are entries beside a kink or a step of the function;
/// - in inputs of more entries, an error of one entry that was not drawn, if it is small beside the whole gradient.
pub fn check_vjp<T: Float>(f: &dyn Differentiable, inputs: &[ArrayD<f64>], options: &Options) -> Report {
    let mut part = Part::new::<T>("vjp", f.name(), options);
    part.fixed("entries", (), |(), trial| entries::<T>(f, inputs, options, trial));
    part.fixed("directions", (), |(), trial| directions::<T>(f, inputs, options, trial));
    part.fixed("repeat", (), |(), trial| repeat(f, inputs, trial));
    part.report
}

fn failed(trouble: Trouble) -> Error {
    Error::unsupported("function", "a value and a gradient", trouble.message)
}

/// The gradient, in the shapes of the inputs.
fn gradient_of(
    f: &dyn Differentiable,
    inputs: &[ArrayD<f64>],
    trial: &mut Trial<'_>,
) -> Result<Option<Vec<ArrayD<f64>>>, Error> {
    let gradient = f.gradient(inputs).map_err(failed)?;
    let shapes = |arrays: &[ArrayD<f64>]| arrays.iter().map(|a| a.shape().to_vec()).collect::<Vec<_>>();
    let (found, expected) = (shapes(&gradient), shapes(inputs));
    let fits = found == expected;
    trial.require(fits, || format!("the gradients have the shapes {found:?}, expected {expected:?}"));
    Ok(fits.then_some(gradient))
}

/// How far a derivative in `T` may be from a difference of a function whose values have this noise.
fn allowed<T: Float>(difference: Difference, noise: f64, scale: f64) -> f64 {
    let by_difference = difference.allowed(scale) + 8.0 * noise / difference.step;
    by_difference + 64.0 * T::EPSILON * scale
}

/// The derivative along a direction from the inputs; steps are in units of the direction.
fn along<T: Float>(
    f: &dyn Differentiable,
    moved: impl Fn(f64) -> Vec<ArrayD<f64>>,
) -> Result<(Difference, f64), Error> {
    let mut trouble = None;
    let mut value = |step: f64| match f.value(&moved(step)) {
        Ok(value) => value,
        Err(found) => {
            trouble.get_or_insert(found);
            f64::NAN
        }
    };
    let noise = noise(&mut value, T::EPSILON).max(T::EPSILON * value(0.0).abs());
    let mut difference = derivative(|step| {
        let value = value(step);
        (value, Seen { size: value.abs(), ..Seen::default() })
    });
    // The differences to either side part by the step where the function is smooth, and by a constant at a kink.
    let mut bend = |step: f64| ((value(step) - 2.0 * value(0.0) + value(-step)) / step).abs();
    let (at, nearer) = (bend(difference.step), bend(difference.step / 2.0));
    if nearer > 0.75 * at && nearer > 32.0 * noise / difference.step {
        difference.error = f64::INFINITY;
    }
    trouble.map_or(Ok((difference, noise)), |trouble| Err(failed(trouble)))
}

fn entries<T: Float>(
    f: &dyn Differentiable,
    inputs: &[ArrayD<f64>],
    options: &Options,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let Some(gradient) = gradient_of(f, inputs, trial)? else { return Ok(()) };
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    for (i, gradient) in gradient.iter().enumerate() {
        let name = NAMES[i.min(NAMES.len() - 1)];
        let mut places: Vec<usize> = (0..gradient.len()).collect();
        // The first of a shuffle.
        for place in 0..places.len().min(options.cases) {
            let other = place + (rng.next_u64() % (places.len() - place) as u64) as usize;
            places.swap(place, other);
        }
        places.truncate(options.cases);
        places.sort_unstable();
        let scale = gradient.fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let (mut found, mut expected, mut allowances) = (Vec::new(), Vec::new(), Vec::new());
        for place in places {
            let moved = |step: f64| {
                let mut moved = inputs.to_vec();
                if let Some(entry) = moved[i].iter_mut().nth(place) {
                    *entry += step * entry.abs().max(1.0);
                }
                moved
            };
            let unit = inputs[i].iter().nth(place).map_or(1.0, |entry| entry.abs().max(1.0));
            let (difference, noise) = along::<T>(f, moved)?;
            found.push(T::from_f64(gradient.iter().nth(place).map_or(f64::NAN, |v| v * unit)));
            expected.push(difference.value);
            allowances.push(allowed::<T>(difference, noise, scale * unit));
        }
        if !found.is_empty() {
            let [expected, allowed] = [expected, allowances].map(Array1::from_vec);
            trial.compare(
                Against::Differences,
                name,
                Array1::from_vec(found).view(),
                expected.view(),
                allowed.view(),
            );
        }
    }
    Ok(())
}

fn directions<T: Float>(
    f: &dyn Differentiable,
    inputs: &[ArrayD<f64>],
    options: &Options,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let Some(gradient) = gradient_of(f, inputs, trial)? else { return Ok(()) };
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed ^ 1);
    for _ in 0..DIRECTIONS {
        let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        let direction: Vec<ArrayD<f64>> = inputs.iter().map(|input| input.mapv(|_| unit())).collect();
        let moved = |step: f64| inputs.iter().zip(&direction).map(|(x, v)| x + &(v * step)).collect();
        let (difference, noise) = along::<T>(f, moved)?;
        let terms = gradient.iter().zip(&direction).map(|(g, v)| g * v);
        let (sum, size) = terms.fold((0.0, 0.0f64), |(sum, size), terms| {
            (sum + terms.sum(), size + terms.mapv(|term| term * term).sum())
        });
        let allowed = allowed::<T>(difference, noise, size.sqrt());
        trial.compare_number(Against::Directions, "all", T::from_f64(sum), difference.value, allowed);
    }
    Ok(())
}

/// The same question gives the same bits.
fn repeat(f: &dyn Differentiable, inputs: &[ArrayD<f64>], trial: &mut Trial<'_>) -> Result<(), Error> {
    let Some(first) = gradient_of(f, inputs, trial)? else { return Ok(()) };
    for _ in 0..3 {
        let again = f.gradient(inputs).map_err(failed)?;
        for (again, first) in again.iter().zip(&first) {
            trial.note_bits("repeat", again.view(), first.view());
        }
    }
    Ok(())
}
