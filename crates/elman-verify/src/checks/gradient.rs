use elman::ndarray::{Array, ArrayD};
use elman::{Error, Network, Params, Shape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{TUTORIAL, both, gradient_of};
use crate::differences::{Difference, derivative};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Problem, Sizes};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report, duals, equations};

/// Every entry of all seven gradients against two derivations that share no code with it, nor with each
/// other: forward-mode dual numbers through the reference's loops, and finite differences in `f64` through
/// the equations as this crate writes them once more.
///
/// The random cases are small, so that the loss can be differentiated by each parameter in turn; a fixed one
/// is of medium size. At the tutorial's full shape the gradient is projected on random directions,
/// `<gradient, v> = d loss(p + r v) / dr`, each tensor alone and all at once.
pub fn check_gradient<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("gradient", network.name(), options);
    // Small and quick ones first.
    part.random(options.cases, part.problems(Sizes::Small), |problem, trial| {
        every_entry(network, problem, trial)
    });
    let medium = Shape { vocab: 12, embed: 6, hidden: 33, window: 5, classes: 9, ..TUTORIAL };
    part.tutorial("medium", medium, (&[7, 1], 1), |problem, trial| every_entry(network, problem, trial));
    part.tutorial("tutorial", TUTORIAL, (&[15], 2), |problem, trial| directions(network, problem, trial));
    part.report
}

fn every_entry<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let (loss, grad) = gradient_of(network, &params, &problem.batch)?;
    let allowed = tolerance::gradient(Unit::of::<T>(), &exact, &problem.batch)?;
    let expected_loss = equations::loss(&exact, &problem.batch);
    trial.compare_number(Against::Differences, "loss", loss, expected_loss, allowed.loss);

    let by_duals = duals::gradient(&exact, &problem.batch)?;
    let by_differences = differences(&exact, problem);
    for ((((name, found), (_, duals)), (_, allowed)), differences) in
        grad.tensors().into_iter().zip(by_duals.tensors()).zip(allowed.grad.tensors()).zip(by_differences)
    {
        trial.compare(Against::Duals, name, found.view(), duals.view(), allowed.view());
        let scale = duals.fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let expected = differences.mapv(|difference| difference.value);
        let allowed =
            &allowed + &differences.mapv(|found| tolerance::difference(scale, expected_loss, found));
        trial.compare(Against::Differences, name, found, expected.view(), allowed.view());
    }
    Ok(())
}

/// The derivative of the loss by every parameter, one after the other.
fn differences(exact: &Params<f64>, problem: &Problem) -> Vec<ArrayD<Difference>> {
    let mut moved = exact.clone();
    let tensors = exact.tensors();
    tensors
        .iter()
        .enumerate()
        .map(|(tensor, (_, values))| {
            let entries = values.iter().enumerate().map(|(entry, value)| {
                let found = derivative(|step| {
                    *duals::slot(&mut moved.tensors_mut()[tensor].1, entry) = value + step;
                    equations::loss(&moved, &problem.batch)
                });
                *duals::slot(&mut moved.tensors_mut()[tensor].1, entry) = *value;
                found
            });
            match Array::from_shape_vec(values.raw_dim(), entries.collect()) {
                Ok(differences) => differences,
                Err(error) => unreachable!("one difference for each entry: {error}"),
            }
        })
        .collect()
}

fn directions<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let (_, grad) = gradient_of(network, &params, &problem.batch)?;
    let allowed = tolerance::gradient(Unit::of::<T>(), &exact, &problem.batch)?;
    let mut rng = ChaCha8Rng::seed_from_u64(problem.seed);
    let names = grad.tensors().map(|(name, _)| Some(name));
    for name in names.into_iter().chain([None; 3]) {
        let mut direction = exact.map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0);
        for (tensor, mut entries) in direction.tensors_mut() {
            if name.is_some_and(|name| name != tensor) {
                entries.fill(0.0);
            }
        }
        let label = name.unwrap_or("all");
        // The signs of the direction are random, so errors of the entries add up by their squares, however they go
        // together.
        let (mut found, mut bound, mut size) = (0.0, 0.0, 0.0);
        for (((_, grad), (_, allowed)), (_, direction)) in
            grad.tensors().into_iter().zip(allowed.grad.tensors()).zip(direction.tensors())
        {
            for ((grad, allowed), direction) in grad.iter().zip(allowed).zip(direction) {
                found += grad.to_f64() * direction;
                size += (grad.to_f64() * direction).abs();
                bound += (allowed * direction).powi(2);
            }
        }
        let bound = bound.sqrt() + 32.0 * f64::EPSILON * size;
        let by_duals = duals::along(&exact, &problem.batch, &direction)?;
        trial.compare_number(Against::Directions, label, found, by_duals, bound);
        let difference = derivative(|step| {
            let mut moved = exact.clone();
            for ((_, mut moved), (_, direction)) in moved.tensors_mut().into_iter().zip(direction.tensors()) {
                moved.scaled_add(step, &direction);
            }
            equations::loss(&moved, &problem.batch)
        });
        let noise =
            tolerance::difference(by_duals.abs(), equations::loss(&exact, &problem.batch), difference);
        trial.compare_number(Against::Directions, label, found, difference.value, bound + noise);
    }
    Ok(())
}
