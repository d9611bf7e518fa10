use std::collections::BTreeSet;

use elman::ndarray::Axis;
use elman::{Error, Labelled, Learner, Network, Params, Sentence, Shape};
use elman_reference::Reference;

use super::TUTORIAL;
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report};

/// Stochastic gradient descent, step by step.
///
/// Each step is compared with a step of the `f64` reference from the very parameters that the implementation
/// had, so that an error is seen in the step that makes it and rounding does not pile up: the loss before
/// the step, all seven updates, the normalisation of the changed rows, rows of zeros left alone. Rows that
/// are not changed keep their bits. A refused step changes nothing, and the next one is as if it had not
/// been.
pub fn check_learner<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("learner", network.name(), options);
    part.random(options.cases, part.problems(Sizes::Full), |problem, trial| steps(network, problem, trial));
    let zero_rows = Shape { vocab: 5, embed: 4, window: 3, hidden: 3, classes: 3, ..TUTORIAL };
    for (id, shape, lengths, wx, emb) in [
        ("tutorial", TUTORIAL, &[15, 4][..], Fill::Small, Fill::Small),
        // With wx = 0 the embeddings have no gradient: each changed row is its old self, normalised.
        ("no-gradient", zero_rows, &[3, 2], Fill::Zero, Fill::Unit),
        ("zero-rows", zero_rows, &[3, 2], Fill::Zero, Fill::Zero),
        ("window-1", Shape { window: 1, ..zero_rows }, &[3, 2], Fill::Small, Fill::Small),
    ] {
        part.tutorial(id, shape, (lengths, 6), |problem, trial| {
            let [.., w, bh, b, h0] = problem.fills;
            let problem = Problem { fills: [emb, wx, Fill::Small, w, bh, b, h0], ..problem.clone() };
            steps(network, &problem, trial)
        });
    }
    part.report
}

/// [`check_learner`] on one problem, for searches that make their own.
pub fn check_learner_on<T: Number>(network: &dyn Network<T>, problem: Problem, options: &Options) -> Report {
    let mut part = Part::new::<T>("learner", network.name(), options);
    part.fixed("given", problem, |problem, trial| steps(network, problem, trial));
    part.report
}

fn steps<T: Number>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let mut learner = network.learner(params.clone())?;
    same_params(trial, "a new learner has the parameters it was given", &learner.params(), &params);
    let whole = &problem.batch[..];
    let (first, last) = (&whole[..1], &whole[whole.len() - 1..]);
    for (batch, rate) in [(whole, 0.1), (first, 0.03125), (last, 0.5)] {
        step(learner.as_mut(), batch, T::from_f64(rate), trial)?;
    }
    refusals(learner.as_mut(), problem, trial)?;
    step(learner.as_mut(), whole, T::from_f64(0.0625), trial)?;
    let before = learner.params();
    learner.step(whole, T::zero())?;
    for ((name, after), (_, before)) in learner.params().tensors().into_iter().zip(before.tensors()).skip(1) {
        trial.same_bits("a step with learning rate 0", name, after, before);
    }
    Ok(())
}

/// One step, against one of the reference from the same parameters.
fn step<T: Number>(
    learner: &mut dyn Learner<T>,
    batch: &[Labelled],
    rate: T,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let unit = Unit::of::<T>();
    let before = learner.params();
    let exact = before.map(|v| v.to_f64());
    let loss = learner.step(batch, rate)?;
    let after = learner.params();

    let rate = rate.to_f64();
    let reference: &dyn Network<f64> = &Reference::new();
    let mut grad = Params::zeros(exact.shape()?)?;
    let expected_loss = reference.gradient(&exact, batch, &mut grad)?;
    let mut expected = reference.learner(exact.clone())?;
    expected.step(batch, rate)?;
    let expected = expected.params();
    let gradient = tolerance::gradient(unit, &exact, batch)?;
    trial.compare_number(Against::Reference, "loss", loss, expected_loss, gradient.loss);

    let words = batch.iter().map(|labelled| labelled.labels().len()).sum();
    let mut allowed = gradient.grad;
    for (((_, mut allowed), (_, before)), (_, grad)) in
        allowed.tensors_mut().into_iter().zip(exact.tensors()).zip(grad.tensors())
    {
        for ((allowed, before), grad) in allowed.iter_mut().zip(before).zip(grad) {
            *allowed = unit.update(*before, rate, *grad, words, *allowed);
        }
    }
    let changed = changed_rows(&exact, batch)?;
    let mut normal = Vec::new();
    for row in 0..exact.emb.nrows() {
        if changed.contains(&row) {
            let updated = &exact.emb.row(row) - &(&grad.emb.row(row) * rate);
            if unit.has_norm(updated.view()) {
                normal.push(row);
            }
            let normalised = unit.normalised(updated.view(), allowed.emb.row(row));
            allowed.emb.row_mut(row).assign(&normalised);
        } else {
            allowed.emb.row_mut(row).fill(0.0);
            let why = format!("row {row} of emb is not in the batch");
            trial.same_bits(&why, "emb", after.emb.row(row), before.emb.row(row));
        }
    }
    for (((name, found), (_, expected)), (_, allowed)) in
        after.tensors().into_iter().zip(expected.tensors()).zip(allowed.tensors())
    {
        trial.compare(Against::Reference, updated(name), found, expected, allowed);
    }
    for row in after.emb.select(Axis(0), &normal).rows() {
        let norm = row.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt();
        trial.require((norm - 1.0).abs() <= 8.0 * T::EPSILON * (row.len() as f64), || {
            format!("a changed row of emb has the norm {norm}, expected 1")
        });
    }
    Ok(())
}

/// The rows of the embeddings that a step changes: the words, and the padding if the window is wider than 1.
fn changed_rows(params: &Params<f64>, batch: &[Labelled]) -> Result<BTreeSet<usize>, Error> {
    let shape = params.shape()?;
    let mut rows: BTreeSet<usize> =
        batch.iter().flat_map(|labelled| labelled.sentence().words().iter().copied()).collect();
    if shape.window > 1 {
        rows.insert(shape.vocab);
    }
    Ok(rows)
}

fn refusals<T: Number>(
    learner: &mut dyn Learner<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let before = learner.params();
    let rate = T::from_f64(0.1);
    let good = problem.batch[0].clone();
    let bad_word = Labelled::new(Sentence::new(vec![0, problem.shape.vocab])?, vec![0, 0])?;
    let bad_label = Labelled::new(Sentence::new(vec![0])?, vec![problem.shape.classes])?;
    trial.refused("a step on an empty batch", learner.step(&[], rate));
    trial.refused("a step on the padding as a word", learner.step(&[good.clone(), bad_word], rate));
    trial.refused("a step on a label out of range", learner.step(&[good, bad_label], rate));
    same_params(trial, "after a refused step", &learner.params(), &before);
    Ok(())
}

pub(crate) fn same_params<T: Number>(
    trial: &mut Trial<'_>,
    why: &str,
    found: &Params<T>,
    expected: &Params<T>,
) {
    for ((name, found), (_, expected)) in found.tensors().into_iter().zip(expected.tensors()) {
        trial.same_bits(why, name, found, expected);
    }
}

/// The name of a parameter after a step, as reports call it.
fn updated(name: &str) -> &'static str {
    match name {
        "emb" => "emb'",
        "wx" => "wx'",
        "wh" => "wh'",
        "w" => "w'",
        "bh" => "bh'",
        "b" => "b'",
        _ => "h0'",
    }
}
