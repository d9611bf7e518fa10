//! Outputs, losses and gradients against the reference.

use elman::{Error, Float, Name, Network, Shape};

use super::{LITTLE, TUTORIAL, both, garbage, gradient_of};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::{Options, Report, tolerance};

/// Outputs, loss and gradients against the `f64` reference, element by element: at random sizes, at the tutorial's full
/// shape, at large multiples of the width of a vector, for sentences of 300 words and batches of 70 sentences.
///
/// The reference is given the same numbers, exactly, and its own gradient is proved by [`check_gradient`].
///
/// [`check_gradient`]: crate::check_gradient
pub fn check_agreement<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("agreement", network.name(), options);
    part.problems(Sizes::Full, |problem, trial| agrees(network, problem, trial));
    // Without weights every argument of an activation is exactly 0.
    part.tutorial("zero", LITTLE, (&[3, 1], 3), |problem, trial| {
        let names = [Name::Wx, Name::Wh, Name::Bh, Name::Bhn, Name::H0, Name::C0];
        let zero = names.into_iter().fold(problem.clone(), |problem, name| problem.fill(name, Fill::Zero));
        agrees(network, &zero, trial)
    });
    // The e^a of such a gate overflows, and so does that of such a score.
    part.tutorial("saturated", LITTLE, (&[3, 1], 4), |problem, trial| {
        agrees(network, &problem.clone().fill(Name::Bh, Fill::Huge).fill(Name::B, Fill::Huge), trial)
    });
    let wide = Shape { vocab: 40, embed: 32, window: 1, hidden: 256, classes: 33, ..Shape::ELMAN };
    let widest = Shape { vocab: 300, embed: 3, window: 33, hidden: 512, classes: 4, ..Shape::ELMAN };
    let many_labels = Shape { hidden: 8, classes: 512, ..wide };
    let long = [300];
    let seventy: Vec<usize> = (0..70).map(|i| 1 + i % 5).collect();
    for (id, shape, lengths, seed) in [
        ("long", LITTLE, &long[..], 3),
        ("seventy", LITTLE, &seventy, 4),
        ("wide", wide, &[2, 1], 5),
        ("wider", Shape { hidden: 257, classes: 256, ..wide }, &[1], 6),
        ("widest", widest, &[1], 7),
        ("many-labels", many_labels, &[5], 8),
        ("tutorial", TUTORIAL, &[3], 3),
    ] {
        part.tutorial(id, shape, (lengths, seed), |problem, trial| agrees(network, problem, trial));
    }
    part.report
}

fn agrees<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = problem.batch.batch();
    for sentence in batch.iter().take(4) {
        let s = network.predict(&params, sentence.words)?;
        trial.judge("s", s.view(), &tolerance::predict::<T>(&exact, sentence.words)?);
    }
    let judged = tolerance::gradient::<T>(&exact, batch, None)?;
    let (loss, grad) = gradient_of(network, &params, batch)?;
    trial.judge_gradient(Against::Reference, (loss, &grad), &judged);
    // A part of a larger batch has that one's share.
    if batch.words().len() * params.as_slice().len() < 300_000 {
        let share = T::from_f64(0.37);
        let mut grad = garbage(problem.shape)?;
        let loss = network.learner(params)?.gradient(batch, share, &mut grad)?;
        let judged = tolerance::gradient::<T>(&exact, batch, Some(share.to_f64()))?;
        trial.judge_gradient(Against::Reference, (loss, &grad), &judged);
    }
    Ok(())
}
