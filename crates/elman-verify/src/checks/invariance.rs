use elman::{Error, Labelled, Network, Params};

use super::{TUTORIAL, both, gradient_of};
use crate::checks::learner::same_params;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Problem, Sizes};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report};

/// What must not matter: what was called before, what was in `grad`, the order of a batch, and whether a
/// sentence comes alone.
///
/// The same call gives the same bits, however many others came in between. The gradient of a batch is the
/// mean of its sentences' gradients, in any order, within rounding.
pub fn check_invariance<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("invariance", network.name(), options);
    part.tutorial("tutorial", TUTORIAL, (&[11, 3, 1, 8], 9), |problem, trial| {
        invariant(network, problem, trial)
    });
    part.random(options.cases, part.problems(Sizes::Full), |problem, trial| {
        invariant(network, problem, trial)
    });
    part.report
}

fn invariant<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = &problem.batch;
    let first = batch[0].sentence();
    let s = network.predict(&params, first)?;
    let (loss, grad) = gradient_of(network, &params, batch)?;

    // Other sentences and other parameters in between.
    let other = Problem { seed: problem.seed ^ 1, ..problem.clone() };
    network.predict(&other.params()?, batch[batch.len() - 1].sentence())?;
    gradient_of(network, &other.params()?, &batch[batch.len() - 1..])?;
    let again = network.predict(&params, first)?;
    trial.same_bits("the same call again", "s", again.view(), s.view());
    let mut over_numbers: Params<T> = params.map(|v| v + T::one());
    let loss_again = network.gradient(&params, batch, &mut over_numbers)?;
    same_params(trial, "the same call again, over another grad", &over_numbers, &grad);
    trial.require(loss_again.bits() == loss.bits(), || {
        format!("the loss is {loss_again}, and was {loss} in the same call before")
    });

    let mut learners = [network.learner(params.clone())?, network.learner(params.clone())?];
    for learner in &mut learners {
        for labelled in batch {
            learner.step(std::slice::from_ref(labelled), T::from_f64(0.1))?;
        }
    }
    same_params(trial, "the same steps again", &learners[1].params(), &learners[0].params());

    if batch.len() > 1 {
        batches(network, problem, &params, &exact, (loss, &grad), trial)?;
    }
    Ok(())
}

/// The gradient of a batch against the mean of its sentences' gradients, and against other orders.
fn batches<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    params: &Params<T>,
    exact: &Params<f64>,
    (loss, grad): (T, &Params<T>),
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let unit = Unit::of::<T>();
    let batch = &problem.batch;
    let count = batch.len() as f64;
    let allowed = tolerance::gradient(unit, exact, batch)?;
    let mut mean = Params::<f64>::zeros(problem.shape)?;
    let mut bounds = allowed.grad.clone();
    let (mut mean_loss, mut loss_bound) = (0.0, allowed.loss);
    for labelled in batch {
        let alone = std::slice::from_ref(labelled);
        let (loss, grad) = gradient_of(network, params, alone)?;
        let allowed = tolerance::gradient(unit, exact, alone)?;
        mean_loss += loss.to_f64() / count;
        loss_bound += allowed.loss / count;
        for ((_, mut mean), (_, grad)) in mean.tensors_mut().into_iter().zip(grad.tensors()) {
            mean.zip_mut_with(&grad, |mean, grad| *mean += grad.to_f64() / count);
        }
        for ((_, mut bounds), (_, allowed)) in bounds.tensors_mut().into_iter().zip(allowed.grad.tensors()) {
            bounds.scaled_add(1.0 / count, &allowed);
        }
    }
    trial.compare_number(Against::Itself, "loss", loss, mean_loss, loss_bound);
    compare(trial, grad, &mean, &bounds);

    let mut turned = batch.clone();
    turned.reverse();
    let mut rotated: Vec<Labelled> = batch.clone();
    rotated.rotate_left(1);
    let expected = grad.map(|v| v.to_f64());
    let twice = allowed.grad.map(|v| 2.0 * v);
    for order in [turned, rotated] {
        let (other_loss, other) = gradient_of(network, params, &order)?;
        trial.compare_number(Against::Itself, "loss", other_loss, loss.to_f64(), 2.0 * allowed.loss);
        compare(trial, &other, &expected, &twice);
    }
    Ok(())
}

fn compare<T: Number>(
    trial: &mut Trial<'_>,
    found: &Params<T>,
    expected: &Params<f64>,
    allowed: &Params<f64>,
) {
    for (((name, found), (_, expected)), (_, allowed)) in
        found.tensors().into_iter().zip(expected.tensors()).zip(allowed.tensors())
    {
        trial.compare(Against::Itself, name, found, expected, allowed);
    }
}
