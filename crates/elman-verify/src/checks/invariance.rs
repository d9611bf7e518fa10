//! Calls that must not matter to each other.

use elman::ndarray::Array2;
use elman::{Batch, Error, Float, Network, Params, Sentences, Update};

use super::{LITTLE, TUTORIAL, both, gradient_of, labels_of};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Problem, Sizes};
use crate::tolerance::Judged;
use crate::{Options, Report, tolerance};

/// Things that must not matter: the calls before, objects that live at the same time, other threads, the old content of
/// `grad`, the order of a batch, and whether a sentence comes alone.
///
/// The same call gives the same bits: after other calls, beside other objects, 600 times over, and from four threads at
/// once. The gradient of a batch is the mean of its sentences' gradients, in any order, within rounding.
pub fn check_invariance<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("invariance", network.name(), options);
    for (id, calls, sentences) in [("history", 600, 2), ("threads", 40, 19)] {
        let lengths: Vec<usize> = (0..sentences).map(|i| 2 + i % 3).collect();
        part.tutorial(id, LITTLE, (&lengths, 9), |problem, trial| match id {
            "history" => again_and_again(network, problem, calls, trial),
            _ => threads(network, problem, calls, trial),
        });
    }
    part.problems(Sizes::Full, |problem, trial| invariant(network, problem, trial));
    part.tutorial("tutorial", TUTORIAL, (&[6, 1], 9), |problem, trial| invariant(network, problem, trial));
    part.report
}

/// All that a network computes of a problem.
struct Results<T> {
    s: Vec<Array2<T>>,
    grad: Params<T>,
    /// After a step on the whole batch and one on its first sentence.
    learned: Params<T>,
    losses: [T; 3],
    labels: Vec<u32>,
}

impl<T: Float> Results<T> {
    fn of(network: &dyn Network<T>, params: &Params<T>, batch: Batch<'_>) -> Result<Self, Error> {
        // All objects live at once.
        let (mut tagger, mut learner) = (network.tagger(params)?, network.learner(params.clone())?);
        let (loss, grad) = gradient_of(network, params, batch)?;
        let mut update = Update::sgd(T::from_f64(0.1));
        let losses = [loss, learner.step(batch, &mut update)?, learner.step(batch.slice(0..1), &mut update)?];
        let s = batch.iter().map(|sentence| Ok(tagger.scores(sentence.words)?.to_owned()));
        let s = s.collect::<Result<_, Error>>()?;
        Ok(Results { s, grad, learned: learner.params(), losses, labels: labels_of(tagger.as_mut(), batch)? })
    }

    fn same(&self, why: &str, expected: &Self, trial: &mut Trial<'_>) {
        for (found, expected) in self.s.iter().zip(&expected.s) {
            trial.same_bits(why, "s", found.view(), expected.view());
        }
        trial.same_params(&format!("{why}: gradient"), &self.grad, &expected.grad);
        trial.same_params(&format!("{why}: after two steps"), &self.learned, &expected.learned);
        for (found, expected) in self.losses.into_iter().zip(expected.losses) {
            trial.same_number(why, "loss", found, expected);
        }
        trial.require(self.labels == expected.labels, || format!("{why}: other labels"));
    }
}

/// Several networks that promise the same bits.
pub(super) fn same_results<T: Float>(
    networks: &[&dyn Network<T>],
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let mut first: Option<Results<T>> = None;
    for network in networks {
        let found = Results::of(*network, &params, problem.batch.batch())?;
        match &first {
            Some(first) => found.same(&network.name(), first, trial),
            None => first = Some(found),
        }
    }
    Ok(())
}

fn other<T: Float>(problem: &Problem) -> Result<(Params<T>, Sentences), Error> {
    let last = problem.batch.batch().iter().next_back().expect("a problem has a sentence");
    let params = Problem { seed: problem.seed ^ 1, ..problem.clone() }.params()?;
    Ok((params, Sentences::one(last.words, last.labels)?))
}

fn invariant<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (params, exact) = both::<T>(problem)?;
    let batch = problem.batch.batch();
    let before = Results::of(network, &params, batch)?;
    let (others, sentence) = other::<T>(problem)?;
    interleaved(network, [(&params, batch), (&others, sentence.batch())], trial)?;
    Results::of(network, &params, batch)?.same("the same calls again", &before, trial);
    let mut over_numbers = params.map(|v| v + T::one());
    let loss = network.gradient(&params, batch, &mut over_numbers)?;
    trial.same_params("over another grad", &over_numbers, &before.grad);
    trial.same_number("over another grad", "loss", loss, before.losses[0]);
    if batch.len() > 1 {
        batches(network, (&params, &exact), batch, (before.losses[0], &before.grad), trial)?;
    }
    Ok(())
}

/// Two of each object, asked in turns, against each alone.
fn interleaved<T: Float>(
    network: &dyn Network<T>,
    problems: [(&Params<T>, Batch<'_>); 2],
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let mut update = Update::sgd(T::from_f64(0.1));
    let mut alone = Vec::new();
    for (params, batch) in problems {
        let (mut tagger, mut learner) = (network.tagger(params)?, network.learner(params.clone())?);
        learner.step(batch, &mut update)?;
        learner.step(batch.slice(0..1), &mut update)?;
        alone.push((tagger.scores(batch.sentence(0).words)?.to_owned(), learner.params()));
    }
    let mut objects = Vec::new();
    for (params, _) in problems {
        objects.push((network.tagger(params)?, network.learner(params.clone())?));
    }
    for ((_, learner), (_, batch)) in objects.iter_mut().zip(problems) {
        learner.step(batch, &mut update)?;
    }
    for ((tagger, learner), (_, batch)) in objects.iter_mut().zip(problems).rev() {
        tagger.scores(batch.sentence(0).words)?;
        learner.step(batch.slice(0..1), &mut update)?;
    }
    let why = "two objects in turns";
    for (((tagger, learner), (_, batch)), (s, params)) in objects.iter_mut().zip(problems).zip(&alone) {
        trial.same_bits(why, "s", tagger.scores(batch.sentence(0).words)?, s.view());
        trial.same_params(why, &learner.params(), params);
    }
    Ok(())
}

/// Every call many times over, on objects that live as long.
fn again_and_again<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    calls: usize,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let batch = problem.batch.batch();
    let expected = Results::of(network, &params, batch)?;
    let (mut tagger, mut learner) = (network.tagger(&params)?, network.learner(params.clone())?);
    let share = T::one() / T::from_f64(batch.len() as f64);
    let mut grad = super::garbage(problem.shape)?;
    for call in 0..calls {
        let why = format!("call {call} of the same tagger or learner");
        let i = call % batch.len();
        trial.same_bits(&why, "s", tagger.scores(batch.sentence(i).words)?, expected.s[i].view());
        let labels = labels_of(tagger.as_mut(), batch)?;
        trial.require(labels == expected.labels, || format!("{why}: other labels"));
        let loss = learner.gradient(batch, share, &mut grad)?;
        trial.same_number(&why, "loss", loss, expected.losses[0]);
        trial.same_params(&why, &grad, &expected.grad);
        if call % 4 == 0 {
            Results::of(network, &params, batch)?.same(&format!("call {call}"), &expected, trial);
        }
    }
    trial.same_params("gradients change no parameters", &learner.params(), &params);
    Ok(())
}

/// Four threads on one network, each with objects and numbers of its own, against each alone.
fn threads<T: Float>(
    network: &dyn Network<T>,
    problem: &Problem,
    calls: usize,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = (0..4).map(|i| Problem { seed: problem.seed + i, ..problem.clone() }.params::<T>());
    let params = params.collect::<Result<Vec<_>, _>>()?;
    let batch = problem.batch.batch();
    let alone =
        params.iter().map(|params| Results::of(network, params, batch)).collect::<Result<Vec<_>, _>>()?;
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = params
            .iter()
            .map(|params| {
                scope.spawn(move || {
                    (0..calls).map(|_| Results::of(network, params, batch)).collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for (found, alone) in found.into_iter().zip(&alone) {
        match found {
            Ok(found) => found?.iter().for_each(|found| found.same("four threads at once", alone, trial)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    // The forks of one tagger, one in each thread.
    let tagger = network.tagger(&params[0])?;
    let forks: Vec<_> = (0..4).map(|_| tagger.fork()).collect();
    let labels = std::thread::scope(|scope| {
        let label =
            |mut fork: Box<dyn elman::Tagger<T>>| scope.spawn(move || labels_of(fork.as_mut(), batch));
        let threads: Vec<_> = forks.into_iter().map(label).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for labels in labels {
        let labels = labels.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        trial.require(labels == alone[0].labels, || "a fork in a thread gives other labels".to_string());
    }
    Ok(())
}

/// The gradient of a batch against the mean of its sentences' gradients, and against other orders.
fn batches<T: Float>(
    network: &dyn Network<T>,
    (params, exact): (&Params<T>, &Params<f64>),
    batch: Batch<'_>,
    (loss, grad): (T, &Params<T>),
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (judged_loss, judged) = tolerance::gradient::<T>(exact, batch, None)?;
    let judge = |expected_loss: f64, expected: Params<f64>| {
        let loss = Judged { expected: expected_loss, allowed: 2.0 * judged_loss.allowed };
        (loss, Judged { expected, allowed: judged.allowed.map(|v| 2.0 * v) })
    };
    let count = batch.len() as f64;
    let (mut mean, mut mean_loss) = (Params::<f64>::zeros(params.shape())?, 0.0);
    for i in 0..batch.len() {
        let (loss, grad) = gradient_of(network, params, batch.slice(i..i + 1))?;
        mean_loss += loss.to_f64() / count;
        for (mean, grad) in mean.as_mut_slice().iter_mut().zip(grad.as_slice()) {
            *mean += grad.to_f64() / count;
        }
    }
    trial.judge_gradient(Against::Itself, (loss, grad), &judge(mean_loss, mean));
    let mut reversed = Sentences::new();
    for sentence in batch.iter().rev() {
        reversed.push(sentence.words, sentence.labels)?;
    }
    let (other_loss, other) = gradient_of(network, params, reversed.batch())?;
    let expected = judge(loss.to_f64(), grad.map(|v| v.to_f64()));
    trial.judge_gradient(Against::Itself, (other_loss, &other), &expected);
    Ok(())
}
