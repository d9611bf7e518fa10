//! Calls that must be refused.

use elman::{Cell, Error, Feedback, Float, Head, Network, Sentences, Shape};

use super::{LITTLE, garbage, gradient_of};
use crate::runner::{Part, Trial};
use crate::strategies::Problem;
use crate::{Options, Report};

/// Calls that must be refused: words, labels and batches that the network does not have, and gradients of another shape.
/// Each is an error and not a panic, and leaves `grad` as it was. [`check_learner`](crate::check_learner) and
/// [`check_tagger`](crate::check_tagger) have the refusals of those objects.
pub fn check_doors<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("doors", network.name(), options);
    part.tutorial("batch", LITTLE, (&[4, 2], 10), |problem, trial| bad_batch(network, problem, trial));
    part.tutorial("grad", LITTLE, (&[4, 2], 10), |problem, trial| bad_grad(network, problem, trial));
    part.report
}

fn bad_batch<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let (vocab, classes) = (problem.shape.vocab as u32, problem.shape.classes as u32);
    let mut grad = garbage(problem.shape)?;
    for (what, words, labels) in [
        ("the padding as a word", &[0, vocab][..], &[0, 0][..]),
        ("a word beyond the embeddings", &[vocab + 1], &[0]),
        ("the largest number as a word", &[u32::MAX], &[0]),
        ("a label out of range", &[0, 1], &[1, classes]),
        ("the largest number as a label", &[0], &[u32::MAX]),
    ] {
        let mut batch = problem.batch.clone();
        batch.push(words, labels)?;
        trial.refused(&format!("gradient of {what}"), network.gradient(&params, batch.batch(), &mut grad));
        if !what.contains("label") {
            trial.refused(&format!("predict of {what}"), network.predict(&params, words));
        }
    }
    let unlabelled = Sentences::one(&[0], &[])?;
    trial.refused("gradient without labels", network.gradient(&params, unlabelled.batch(), &mut grad));
    trial.refused("predict of no words", network.predict(&params, &[]));
    let empty = Sentences::new();
    trial.refused("gradient of an empty batch", network.gradient(&params, empty.batch(), &mut grad));
    trial.same_params("after refusals", &grad, &garbage(problem.shape)?);
    Ok(())
}

fn bad_grad<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let batch = problem.batch.batch();
    let (_, expected) = gradient_of(network, &params, batch)?;
    let shape = problem.shape;
    let other_feedback = match shape.feedback {
        Feedback::Hidden => Feedback::Output,
        Feedback::Output => Feedback::Hidden,
    };
    let others = [
        Shape { vocab: shape.vocab + 1, ..shape },
        Shape { embed: 2, ..shape },
        Shape { embed: 9, window: 1, ..shape },
        Shape { hidden: shape.hidden + 1, ..shape },
        Shape { classes: shape.classes - 1, ..shape },
        Shape { feedback: other_feedback, ..shape },
        Shape { head: Head::Softmax, ..shape },
        Shape { head: Head::Crf, ..shape },
    ];
    let of_other_cells = Cell::ALL.map(|cell| Shape { cell, ..shape });
    for other in others.into_iter().chain(of_other_cells) {
        if other == shape || other.check().is_err() {
            continue;
        }
        let mut grad = garbage(other)?;
        trial.refused(&format!("a grad of {other:?}"), network.gradient(&params, batch, &mut grad));
        trial.same_params("after a refusal", &grad, &garbage(other)?);
        let refused = network.learner(params.clone())?.gradient(batch, T::one(), &mut grad);
        trial.refused(&format!("a learner's grad of {other:?}"), refused);
    }
    let (_, again) = gradient_of(network, &params, batch)?;
    trial.same_params("after refusals", &again, &expected);
    Ok(())
}
