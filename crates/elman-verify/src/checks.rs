//! The checks, a file for each, and the suite that they make.

mod adam;
mod agreement;
mod doors;
mod goldens;
mod gradient;
mod invariance;
mod kernel;
mod learner;
mod recurrence;
mod same_bits;
mod tagger;
mod vjp;

use elman::{Batch, Error, Float, Learner, Network, Params, Shape};

use crate::runner::Trial;
use crate::strategies::Problem;
use crate::{Options, Report};

pub use adam::check_adam;
pub use agreement::check_agreement;
pub use doors::check_doors;
pub use goldens::check_goldens;
pub use gradient::check_gradient;
pub use invariance::check_invariance;
pub use kernel::check_kernel;
pub use learner::{check_learner, check_learner_on};
pub use recurrence::{check_recurrence, check_recurrence_on};
pub use same_bits::{check_same_bits, check_same_bits_recurrence};
pub use tagger::check_tagger;
pub use vjp::{Differentiable, check_vjp};

/// The tutorial's shape, with a smaller vocabulary: the rows of the embeddings do not interact.
const TUTORIAL: Shape = Shape { vocab: 60, embed: 50, window: 7, hidden: 200, classes: 127, ..Shape::ELMAN };

/// A shape for cases that are about many words, sentences or calls.
const LITTLE: Shape = Shape { vocab: 11, embed: 3, window: 3, hidden: 9, classes: 5, ..Shape::ELMAN };

/// Puts an implementation of [`Network`] through the whole suite: [`check_gradient`], [`check_agreement`],
/// [`check_learner`], [`check_adam`] (unless [`Options::without_adam`]), [`check_tagger`], [`check_invariance`] and
/// [`check_doors`].
///
/// The implementation is judged in the number type given: call it for `f32` and for `f64` if both are
/// offered, since `f64` sees an error of 0.1% in one entry where the noise of `f32` may hide it. The
/// recurrence alone is checked by [`check_recurrence`], and several forms of one implementation that promise
/// the same bits by [`check_same_bits`].
pub fn check<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    // The door checks have no random cases.
    let parts = [check_gradient, check_agreement, check_learner, check_tagger, check_invariance];
    let share = options.clone().cases(options.cases.div_ceil(parts.len()));
    let mut report = check_doors(network, &share);
    report.checks = None;
    for part in parts {
        report.extend(part(network, &share));
    }
    if options.adam {
        report.extend(check_adam(network, &options.clone().cases(options.cases.div_ceil(10))));
    }
    report
}

/// The parameters of a problem in the number type of the implementation, and the same numbers in `f64`.
fn both<T: Float>(problem: &Problem) -> Result<(Params<T>, Params<f64>), Error> {
    let params = problem.params::<T>()?;
    let exact = params.map(|v| v.to_f64());
    Ok((params, exact))
}

/// The parameters of a learner, which it must also write into parameters of the caller's.
fn params_of<T: Float>(learner: &dyn Learner<T>, trial: &mut Trial<'_>) -> Result<Params<T>, Error> {
    let params = learner.params();
    let mut written = garbage(params.shape())?;
    learner.params_to(&mut written);
    trial.same_params("params_to writes params", &written, &params);
    Ok(params)
}

/// A gradient to be overwritten, full of numbers that must not be read.
fn garbage<T: Float>(shape: Shape) -> Result<Params<T>, Error> {
    Ok(Params::<T>::zeros(shape)?.map(|_| T::from_f64(f64::NAN)))
}

/// The gradient and the loss of a batch, written over garbage.
fn gradient_of<T: Float>(
    network: &dyn Network<T>,
    params: &Params<T>,
    batch: Batch<'_>,
) -> Result<(T, Params<T>), Error> {
    let mut grad = garbage(params.shape())?;
    let loss = network.gradient(params, batch, &mut grad)?;
    Ok((loss, grad))
}

/// The labels of a batch, written over garbage.
fn labels_of<T: elman::Real>(tagger: &mut dyn elman::Tagger<T>, batch: Batch<'_>) -> Result<Vec<u32>, Error> {
    let mut labels = vec![u32::MAX; batch.words().len()];
    tagger.label_all(batch, &mut labels)?;
    Ok(labels)
}
