use elman::{Error, Network, Params};
use elman_reference::Reference;

use super::{TUTORIAL, both, gradient_of};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Problem, Sizes};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report};

/// Outputs, loss and gradients against the `f64` reference, element by element, at sizes up to 200 and at
/// the tutorial's full shape.
///
/// The reference is given the same numbers, exactly, and its own gradient is what [`check_gradient`]
/// proves.
///
/// [`check_gradient`]: crate::check_gradient
pub fn check_agreement<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("agreement", network.name(), options);
    part.random(options.cases, part.problems(Sizes::Full), |problem, trial| agrees(network, problem, trial));
    for (id, lengths) in [("tutorial", &[15][..]), ("tutorial-batch", &[11, 1, 20])] {
        part.tutorial(id, TUTORIAL, (lengths, 3), |problem, trial| agrees(network, problem, trial));
    }
    part.report
}

fn agrees<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let unit = Unit::of::<T>();
    let reference: &dyn Network<f64> = &Reference::new();
    let (params, exact) = both::<T>(problem)?;
    for labelled in &problem.batch {
        let sentence = labelled.sentence();
        let s = network.predict(&params, sentence)?;
        let expected = reference.predict(&exact, sentence)?;
        let allowed = tolerance::predict(unit, &exact, sentence)?;
        trial.compare(Against::Reference, "s", s.view(), expected.view(), allowed.view());
    }
    let (loss, grad) = gradient_of(network, &params, &problem.batch)?;
    let mut expected = Params::zeros(problem.shape)?;
    let expected_loss = reference.gradient(&exact, &problem.batch, &mut expected)?;
    let allowed = tolerance::gradient(unit, &exact, &problem.batch)?;
    trial.compare_number(Against::Reference, "loss", loss, expected_loss, allowed.loss);
    for (((name, found), (_, expected)), (_, allowed)) in
        grad.tensors().into_iter().zip(expected.tensors()).zip(allowed.grad.tensors())
    {
        trial.compare(Against::Reference, name, found, expected, allowed);
    }
    Ok(())
}
