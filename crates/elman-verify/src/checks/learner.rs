//! Gradient descent.

use std::collections::BTreeSet;

use elman::{Batch, Error, Float, Learner, Name, Network, Params, Sentences, Shape, Update};

use elman_reference::Reference;

use super::{LITTLE, TUTORIAL, both, garbage, params_of};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::{Options, Report, tolerance};

/// Stochastic gradient descent, step by step.
///
/// Each step is compared with a step of the `f64` reference from the very parameters that the implementation
/// had, so that an error is seen in the step that makes it and rounding does not pile up: the loss before
/// the step, all updates, the normalisation of the changed rows, rows of zeros left alone. Rows that
/// are not changed keep their bits. A refused step changes nothing, and the next one is as if it had not
/// been. A gradient that is applied gives the bits of a step; the parts of a batch, added as its tree says, have the
/// bits of the whole. One case takes 24 steps, another one batches of 70 sentences.
pub fn check_learner<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("learner", network.name(), options);
    part.problems(Sizes::Full, |problem, trial| steps(network, problem, trial));
    let zero_rows = Shape { vocab: 5, embed: 4, window: 3, hidden: 3, classes: 3, ..TUTORIAL };
    for (id, shape, wx, emb) in [
        // With wx = 0 the embeddings have no gradient: each changed row is its old self, normalised.
        ("no-gradient", zero_rows, Fill::Zero, Fill::Unit),
        ("zero-rows", zero_rows, Fill::Zero, Fill::Zero),
        ("window-1", Shape { window: 1, ..zero_rows }, Fill::Small, Fill::Small),
    ] {
        part.tutorial(id, shape, (&[3, 2], 6), |problem, trial| {
            steps(network, &problem.clone().fill(Name::Wx, wx).fill(Name::Emb, emb), trial)
        });
    }
    part.tutorial("many-steps", LITTLE, (&[3, 2, 5], 7), |problem, trial| {
        many_steps(network, problem, trial)
    });
    let lengths: Vec<usize> = (0..70).map(|i| 1 + i % 4).collect();
    part.tutorial("seventy", LITTLE, (&lengths, 8), |problem, trial| tree(network, problem, trial));
    part.tutorial("tutorial", TUTORIAL, (&[3], 6), |problem, trial| {
        let mut learner = network.learner(problem.params()?)?;
        step(learner.as_mut(), problem.batch.batch(), T::from_f64(0.1), trial)
    });
    part.report
}

/// [`check_learner`] on one problem, for searches that make their own.
pub fn check_learner_on<T: Float>(network: &dyn Network<T>, problem: Problem, options: &Options) -> Report {
    let mut part = Part::new::<T>("learner", network.name(), options);
    part.fixed("given", problem, |problem, trial| steps(network, problem, trial));
    part.report
}

fn steps<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let mut learner = network.learner(params.clone())?;
    trial.same_params("a new learner has the parameters it was given", &learner.params(), &params);
    let whole = problem.batch.batch();
    let (first, last) = (whole.slice(0..1), whole.slice(whole.len() - 1..whole.len()));
    step(learner.as_mut(), whole, T::from_f64(0.1), trial)?;
    step(learner.as_mut(), first, T::from_f64(2.0), trial)?;
    refusals(learner.as_mut(), problem, trial)?;
    let before = learner.params();
    if overflows(&before, whole, T::from_f64(0.25))? {
        return Ok(());
    }
    learner.step(whole, &mut Update::sgd(T::zero()))?;
    for ((name, after), (_, before)) in learner.params().tensors().zip(before.tensors()) {
        if name != Name::Emb {
            // A zero may change its sign.
            let [after, before] = [after, before].map(|tensor| tensor.mapv(|v| v + T::zero()));
            trial.same_bits("a step with learning rate 0", name.as_str(), after.view(), before.view());
        }
    }
    applied(network, &before, whole, trial)?;
    // No rate is too large: from 1/16 to 1,000.
    let rate = 10f64.powf(problem.seed as f64 / u64::MAX as f64 * 4.2 - 1.2);
    step(learner.as_mut(), last, T::from_f64(rate), trial)
}

/// Whether a step of the reference in this number type overflows, as one that diverges with a ReLU does: then there is
/// nothing to compare.
fn overflows<T: Float>(params: &Params<T>, batch: Batch<'_>, rate: T) -> Result<bool, Error> {
    let mut learner = Network::learner(&Reference::new(), params.clone())?;
    let mut grad = garbage(params.shape())?;
    let loss = learner.gradient(batch, T::one(), &mut grad)?;
    learner.apply(&grad, batch, &mut Update::sgd(rate))?;
    let after = learner.params();
    let mut numbers = grad.as_slice().iter().chain(after.as_slice()).chain([&loss]);
    Ok(numbers.any(|v| !v.to_f64().is_finite()))
}

/// One step, against one of the reference from the same parameters; none where that overflows.
fn step<T: Float>(
    learner: &mut dyn Learner<T>,
    batch: Batch<'_>,
    rate: T,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let before = learner.params();
    if overflows(&before, batch, rate)? {
        return Ok(());
    }
    let loss = learner.step(batch, &mut Update::sgd(rate))?;
    let after = params_of(learner, trial)?;
    let judged = tolerance::step::<T>(&before.map(|v| v.to_f64()), batch, rate.to_f64())?;
    trial.judge_gradient(Against::Step, (loss, &after), &judged);
    let changed = changed_rows(&before, batch);
    let rows = after.emb().nrows();
    for row in (0..rows).filter(|row| !changed.contains(row)) {
        let why = format!("row {row} of emb is not in the batch");
        trial.same_bits(&why, "emb", after.emb().row(row), before.emb().row(row));
    }
    for row in changed {
        let (after, expected) = (after.emb(), judged.1.expected.emb());
        // A row whose squares vanish has no norm.
        if judged.1.allowed.emb().row(row).iter().all(|allowed| *allowed < 1e-3)
            && expected.row(row).sum() != 0.0
        {
            let norm = after.row(row).iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt();
            trial.require((norm - 1.0).abs() <= 8.0 * T::EPSILON * (after.ncols() as f64), || {
                format!("a changed row of emb has the norm {norm}, expected 1")
            });
        }
    }
    Ok(())
}

/// The rows of the embeddings that a step changes: the words, and the padding if the window is wider than 1.
pub(super) fn changed_rows<T: Float>(params: &Params<T>, batch: Batch<'_>) -> BTreeSet<usize> {
    let shape = params.shape();
    let padding = (shape.window > 1).then_some(shape.vocab);
    batch.words().iter().map(|word| *word as usize).chain(padding).collect()
}

fn refusals<T: Float>(
    learner: &mut dyn Learner<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let before = learner.params();
    let good = problem.batch.batch();
    let with = |words: &[u32], labels: &[u32]| {
        let mut batch = Sentences::one(good.sentence(0).words, good.sentence(0).labels)?;
        batch.push(words, labels)?;
        Ok::<_, Error>(batch)
    };
    let shape = problem.shape;
    let bad_word = with(&[0, shape.padding()], &[0, 0])?;
    let bad_label = with(&[0], &[shape.classes as u32])?;
    let unlabelled = Sentences::one(&[0], &[])?;
    let mut grad = garbage(shape)?;
    for (what, batch) in [
        ("an empty batch", good.slice(0..0)),
        ("the padding as a word", bad_word.batch()),
        ("a label out of range", bad_label.batch()),
        ("a sentence without labels", unlabelled.batch()),
    ] {
        trial.refused(&format!("a step on {what}"), learner.step(batch, &mut Update::sgd(T::one())));
        trial.refused(&format!("a gradient of {what}"), learner.gradient(batch, T::one(), &mut grad));
        trial.refused(
            &format!("to apply to {what}"),
            learner.apply(&before, batch, &mut Update::sgd(T::one())),
        );
    }
    for rate in [f64::NAN, f64::INFINITY] {
        let update = || Update::sgd(T::from_f64(rate));
        trial.refused("a step of a rate that is no number", learner.step(good, &mut update()));
        trial.refused("to apply a rate that is no number", learner.apply(&before, good, &mut update()));
    }
    let other = Params::zeros(Shape { classes: shape.classes + 1, ..shape })?;
    trial.refused("to apply another shape", learner.apply(&other, good, &mut Update::sgd(T::one())));
    trial.same_params("a gradient after refusals", &grad, &garbage(shape)?);
    trial.same_params("after refusals", &learner.params(), &before);
    Ok(())
}

/// A step against the two passes that it stands for. Those of one sentence may round otherwise.
fn applied<T: Float>(
    network: &dyn Network<T>,
    params: &Params<T>,
    batch: Batch<'_>,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let rate = T::from_f64(0.25);
    let share = T::one() / T::from_f64(batch.len() as f64);
    let [mut stepped, mut applied] = [network.learner(params.clone())?, network.learner(params.clone())?];
    let mut grad = garbage(params.shape())?;
    let loss = applied.gradient(batch, share, &mut grad)?;
    trial.same_params("a gradient changes no parameters", &applied.params(), params);
    applied.apply(&grad, batch, &mut Update::sgd(rate))?;
    if batch.len() > 1 {
        let of_step = stepped.step(batch, &mut Update::sgd(rate))?;
        trial.same_number("a step and its two passes", "loss", of_step, loss);
        trial.same_params("a step and its two passes", &stepped.params(), &applied.params());
    } else {
        let judged = tolerance::step::<T>(&params.map(|v| v.to_f64()), batch, rate.to_f64())?;
        trial.judge_gradient(Against::Step, (loss, &applied.params()), &judged);
    }
    Ok(())
}

/// A learner may not tire: 24 steps, each compared.
fn many_steps<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let mut learner = network.learner(problem.params()?)?;
    let batch = problem.batch.batch();
    for i in 0..24 {
        let from = i % batch.len();
        let part = if i % 4 == 3 { batch } else { batch.slice(from..from + 1) };
        step(learner.as_mut(), part, T::from_f64([0.05, 0.1, 1.5][i % 3]), trial)?;
    }
    Ok(())
}

/// A large batch against the tree of its parts, and all that other checks ask of small ones.
fn tree<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    fn sum<T: Float>(
        learner: &mut dyn Learner<T>,
        batch: Batch<'_>,
        share: T,
    ) -> Result<(Params<T>, T), Error> {
        let Some((left, right)) = batch.halves() else {
            let mut grad = garbage(learner.params().shape())?;
            let loss = learner.gradient(batch, share, &mut grad)?;
            return Ok((grad, loss));
        };
        let ((mut grad, loss), (other, more)) = (sum(learner, left, share)?, sum(learner, right, share)?);
        grad.as_mut_slice().iter_mut().zip(other.as_slice()).for_each(|(sum, other)| *sum += *other);
        Ok((grad, loss + more))
    }
    let (params, exact) = both::<T>(problem)?;
    let mut learner = network.learner(params.clone())?;
    for sentences in [70, 64, 48, 33, 17] {
        let batch = problem.batch.batch().slice(0..sentences);
        // A power of two, so that the loss is the sum of its parts' losses.
        let share = T::from_f64(1.0 / 64.0);
        let (expected, expected_loss) = sum(learner.as_mut(), batch, share)?;
        let mut grad = garbage(problem.shape)?;
        let loss = learner.gradient(batch, share, &mut grad)?;
        let why = format!("the tree of {sentences} sentences");
        trial.same_number(&why, "loss", loss, expected_loss);
        trial.same_params(&why, &grad, &expected);
        applied(network, &params, batch, trial)?;
    }
    let rate = T::from_f64(0.5);
    let judged = tolerance::step::<T>(&exact, problem.batch.batch(), rate.to_f64())?;
    let loss = learner.step(problem.batch.batch(), &mut Update::sgd(rate))?;
    trial.judge_gradient(Against::Step, (loss, &learner.params()), &judged);
    Ok(())
}
