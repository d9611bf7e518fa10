//! Gradients against two independent derivations of them.

use elman::ndarray::{ArrayD, ArrayViewD};
use elman::{Error, Float, Network, Params, Shape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{TUTORIAL, both, gradient_of};
use crate::differences::{Difference, derivative};
use crate::equations::Seen;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Problem, Sizes};
use crate::{Options, Report, duals, equations, tolerance};

/// Every entry of every gradient against two derivations that share no code with it, nor with each
/// other: forward-mode dual numbers through the reference's loops, and finite differences in `f64` through
/// the equations as this crate writes them once more.
///
/// The random cases are small, so that the loss can be differentiated by each parameter in turn; a fixed one
/// is of medium size. At the tutorial's full shape the gradient is projected on random directions,
/// `<gradient, v> = d loss(p + r v) / dr`, each tensor alone by dual numbers, all at once by differences too. Where a ReLU has its kink within the steps
/// of a difference, the dual numbers decide alone.
pub fn check_gradient<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("gradient", network.name(), options);
    // Small and quick ones first.
    part.problems(Sizes::Small, |problem, trial| every_entry(network, problem, trial));
    let medium = Shape { vocab: 9, embed: 3, hidden: 17, window: 3, classes: 7, ..TUTORIAL };
    part.tutorial("medium", medium, (&[4, 1], 1), |problem, trial| every_entry(network, problem, trial));
    part.tutorial("tutorial", TUTORIAL, (&[4], 2), |problem, trial| directions(network, problem, trial));
    part.report
}

fn every_entry<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = problem.batch.batch();
    let (loss, grad) = gradient_of(network, &params, batch)?;
    let (judged_loss, judged) = tolerance::gradient::<T>(&exact, batch, None)?;
    let (expected_loss, _) = equations::loss(&exact, batch);
    trial.compare_number(Against::Differences, "loss", loss, expected_loss, judged_loss.allowed);

    let duals = duals::gradient(&exact, batch)?;
    let mut moved = exact.clone();
    let differences = differences(exact.as_slice(), |entry, value| {
        moved.as_mut_slice()[entry] = value;
        equations::loss(&moved, batch)
    });
    let mut differences = differences.into_iter();
    for ((name, found), ((_, duals), (_, allowed))) in
        grad.tensors().zip(duals.tensors().zip(judged.allowed.tensors()))
    {
        let differences = differences.by_ref().take(found.len()).collect();
        trial.derivatives(name.as_str(), found, (duals, differences), allowed);
    }
    Ok(())
}

/// The derivatives by every number, one after the other. `f(entry, value)` is the function with one of them changed.
pub(super) fn differences(values: &[f64], mut f: impl FnMut(usize, f64) -> (f64, Seen)) -> Vec<Difference> {
    let by = |(entry, value): (usize, &f64)| {
        let found = derivative(|step| f(entry, value + step));
        f(entry, *value);
        found
    };
    values.iter().enumerate().map(by).collect()
}

impl Trial<'_> {
    /// Compares a tensor with both derivations.
    pub(super) fn derivatives<T: Float>(
        &mut self,
        name: &'static str,
        found: ArrayViewD<'_, T>,
        (duals, differences): (ArrayViewD<'_, f64>, Vec<Difference>),
        allowed: ArrayViewD<'_, f64>,
    ) {
        self.compare(Against::Duals, name, found.view(), duals.view(), allowed.view());
        let differences =
            ArrayD::from_shape_vec(found.raw_dim(), differences).expect("a difference for each entry");
        let scale = duals.fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let expected = differences.mapv(|difference| difference.value);
        let allowed = &allowed + &differences.mapv(|difference| difference.allowed(scale));
        self.compare(Against::Differences, name, found, expected.view(), allowed.view());
    }
}

fn directions<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = problem.batch.batch();
    let (_, grad) = gradient_of(network, &params, batch)?;
    let (_, judged) = tolerance::gradient::<T>(&exact, batch, None)?;
    let mut rng = ChaCha8Rng::seed_from_u64(problem.seed);
    let names = grad.tensors().map(|(name, _)| Some(name));
    for name in names.chain([None]) {
        let mut direction: Params<f64> =
            exact.map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
        for (tensor, mut entries) in direction.tensors_mut() {
            if name.is_some_and(|name| name != tensor) {
                entries.fill(0.0);
            }
        }
        let label = name.map_or("all", |name| name.as_str());
        // The signs of the direction are random, so errors of the entries add up by their squares, however they go
        // together.
        let (mut found, mut bound, mut size) = (0.0, 0.0, 0.0);
        let allowed = judged.allowed.as_slice();
        for ((grad, allowed), direction) in grad.as_slice().iter().zip(allowed).zip(direction.as_slice()) {
            found += grad.to_f64() * direction;
            size += (grad.to_f64() * direction).abs();
            bound += (allowed * direction).powi(2);
        }
        let bound = bound.sqrt() + 32.0 * f64::EPSILON * size;
        let by_duals = duals::along(&exact, batch, &direction)?;
        trial.compare_number(Against::Directions, label, found, by_duals, bound);
        if name.is_some() {
            continue;
        }
        let difference = derivative(|step| {
            let mut moved = exact.clone();
            for (moved, direction) in moved.as_mut_slice().iter_mut().zip(direction.as_slice()) {
                *moved += step * direction;
            }
            equations::loss(&moved, batch)
        });
        let noise = difference.allowed(by_duals.abs());
        trial.compare_number(Against::Directions, label, found, difference.value, bound + noise);
    }
    Ok(())
}
