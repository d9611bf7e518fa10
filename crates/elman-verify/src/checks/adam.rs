//! Adam.

use elman::{Adam, Error, Float, Name, Network, Params, Sentences, Shape, Update};

use super::learner::changed_rows;
use super::{LITTLE, garbage, params_of};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sizes};
use crate::{Options, Report, tolerance};

/// Steps of Adam: from given parameters, moments and gradients, against the `f64` reference; with and without clipping,
/// weight decay and normalised embeddings.
///
/// Rows of the embeddings that are not changed keep their bits, and so do their moments. A step has the bits of its two
/// passes, for a batch of one sentence too, and is as if no step of another rule had been before. A refused step changes
/// neither parameters nor moments.
pub fn check_adam<T: Float>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("adam", network.name(), options);
    part.problems(Sizes::Full, |problem, trial| steps(network, problem, trial));
    part.tutorial("window-1", Shape { window: 1, ..LITTLE }, (&[3, 2], 6), |problem, trial| {
        steps(network, problem, trial)
    });
    part.tutorial("many-steps", LITTLE, (&[3, 2, 5], 7), |problem, trial| many(network, problem, trial));
    part.report
}

/// Parameters of a problem's shape, filled in one way.
fn draw<T: Float>(problem: &Problem, fill: Fill, seed: u64) -> Result<Params<T>, Error> {
    Problem { fills: [fill; 8], seed: problem.seed.wrapping_add(seed), ..problem.clone() }.params()
}

/// The rule with values and moments that follow from the problem's seed, after some steps.
fn drawn<T: Float>(problem: &Problem, case: u64) -> Result<Adam<T>, Error> {
    let rate = T::from_f64([0.001, 0.05, 2.0][case as usize % 3]);
    let adam = Adam::new(rate, problem.shape)?;
    let second = draw::<T>(problem, Fill::Positive, case + 2)?;
    Ok(Adam {
        beta1: T::from_f64([0.9, 0.5, 0.0][case as usize % 3]),
        beta2: T::from_f64([0.999, 0.5][case as usize % 2]),
        epsilon: T::from_f64([1e-8, 0.125][case as usize / 2 % 2]),
        weight_decay: T::from_f64([0.0, 0.25][case as usize / 2 % 2]),
        clip: [None, Some(0.0625), Some(1e6)][case as usize / 2 % 3].map(T::from_f64),
        normalise: case % 4 == 3,
        steps: [0, 1, 7, 1000][case as usize % 4],
        moments: if case.is_multiple_of(4) {
            adam.moments
        } else {
            [draw(problem, Fill::Unit, case + 1)?, second]
        },
        ..adam
    })
}

fn steps<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let batch = problem.batch.batch();
    let mut learner = network.learner(problem.params()?)?;
    let fills = [Fill::Unit, Fill::Sparse, Fill::Small, Fill::Large];
    for i in 0..2 {
        let case = problem.seed.wrapping_add(i * 5) % 12;
        let mut update = Update::Adam(drawn(problem, case)?);
        let grad = draw(problem, fills[case as usize % fills.len()], 7 + case)?;
        let part = if i == 0 { batch } else { batch.slice(0..1) };
        step(learner.as_mut(), part, (&grad, &mut update), trial)?;
    }
    refusals(learner.as_mut(), problem, trial)?;
    passes(network, problem, trial)
}

/// One step from a gradient, against one of the reference.
fn step<T: Float>(
    learner: &mut dyn elman::Learner<T>,
    batch: elman::Batch<'_>,
    (grad, update): (&Params<T>, &mut Update<T>),
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (before, memory) = (learner.params(), update.clone());
    learner.apply(grad, batch, update)?;
    let after = params_of(learner, trial)?;
    let (Update::Adam(memory), Update::Adam(now)) = (memory, &*update) else { return Ok(()) };
    let judged = tolerance::adam::<T>(&before, grad, batch, &memory)?;
    trial.judge_params(Against::Step, &after, &judged[0]);
    trial.judge_params(Against::Step, &now.moments[0], &judged[1]);
    trial.judge_params(Against::Step, &now.moments[1], &judged[2]);
    trial.require(now.steps == memory.steps + 1, || {
        format!("the number of steps is {}, expected {}", now.steps, memory.steps + 1)
    });
    let expected = Adam { steps: now.steps, moments: now.moments.clone(), ..memory.clone() };
    trial.require(*now == expected, || "a step changed the values of its rule".to_string());
    let changed = changed_rows(&before, batch);
    for row in (0..after.emb().nrows()).filter(|row| !changed.contains(row)) {
        let why = format!("row {row} is not in the batch");
        trial.same_bits(&why, "emb", after.emb().row(row), before.emb().row(row));
        for (now, before) in now.moments.iter().zip(&memory.moments) {
            trial.same_bits(&why, "emb", now.emb().row(row), before.emb().row(row));
        }
    }
    Ok(())
}

/// A step and its two passes, after a step of gradient descent by both.
fn passes<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let batch = problem.batch.batch();
    let [mut stepped, mut applied] = [network.learner(params.clone())?, network.learner(params.clone())?];
    let [mut first, mut second] = [(); 2].map(|()| drawn::<T>(problem, problem.seed % 12).map(Update::Adam));
    let mut grad = garbage(params.shape())?;
    for batch in [batch, batch.slice(0..1)] {
        let share = T::one() / T::from_f64(batch.len() as f64);
        let loss = applied.gradient(batch, share, &mut grad)?;
        if grad.as_slice().iter().any(|v| !v.to_f64().is_finite()) {
            return Ok(());
        }
        applied.apply(&grad, batch, first.as_mut().map_err(|error| error.clone())?)?;
        let found = stepped.step(batch, second.as_mut().map_err(|error| error.clone())?)?;
        let why = "a step of Adam and its two passes";
        trial.same_number(why, "loss", found, loss);
        trial.same_params(why, &stepped.params(), &applied.params());
        if let (Ok(Update::Adam(first)), Ok(Update::Adam(second))) = (&first, &second) {
            trial.same_params(why, &second.moments[0], &first.moments[0]);
            trial.same_params(why, &second.moments[1], &first.moments[1]);
        }
        let zeros = Params::zeros(params.shape())?;
        stepped.apply(&zeros, batch, &mut Update::sgd(T::from_f64(0.5)))?;
        applied.apply(&zeros, batch, &mut Update::sgd(T::from_f64(0.5)))?;
    }
    Ok(())
}

fn refusals<T: Float>(
    learner: &mut dyn elman::Learner<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (before, good, shape) = (learner.params(), problem.batch.batch(), problem.shape);
    let bad_word = Sentences::one(&[shape.padding()], &[0])?;
    let other = Shape { classes: shape.classes + 1, ..shape };
    type Change<T> = fn(&mut Adam<T>);
    let broken: [(&str, Change<T>); 4] = [
        ("a learning rate that is no number", |adam| adam.learning_rate = T::from_f64(f64::NAN)),
        ("beta2 of 1", |adam| adam.beta2 = T::one()),
        ("no clip", |adam| adam.clip = Some(T::zero())),
        ("a negative weight decay", |adam| adam.weight_decay = -T::one()),
    ];
    let refuse =
        |learner: &mut dyn elman::Learner<T>, what: &str, adam: Adam<T>, batch, trial: &mut Trial<'_>| {
            let mut update = Update::Adam(adam);
            let memory = update.clone();
            trial.refused(&format!("a step with {what}"), learner.step(batch, &mut update));
            trial.refused(&format!("to apply with {what}"), learner.apply(&before, batch, &mut update));
            let same = format!("{update:?}") == format!("{memory:?}");
            trial.require(same, || format!("a refused step with {what} changed its rule"));
        };
    for (what, change) in broken {
        let mut adam = drawn(problem, 1)?;
        change(&mut adam);
        refuse(learner, what, adam, good, trial);
    }
    let moments = [Params::zeros(shape)?, Params::zeros(other)?];
    refuse(learner, "moments of another shape", Adam { moments, ..drawn(problem, 1)? }, good, trial);
    refuse(learner, "the padding as a word", drawn(problem, 1)?, bad_word.batch(), trial);
    trial.same_params("after refusals", &learner.params(), &before);
    Ok(())
}

/// The memory of a rule goes on from step to step: 12 steps, each compared.
fn many<T: Float>(network: &dyn Network<T>, problem: &Problem, trial: &mut Trial<'_>) -> Result<(), Error> {
    let mut learner = network.learner(problem.clone().fill(Name::Emb, Fill::Unit).params()?)?;
    let mut update = Update::Adam(Adam { weight_decay: T::from_f64(0.125), ..drawn(problem, 0)? });
    let batch = problem.batch.batch();
    for i in 0..12 {
        let from = i % batch.len();
        let part = if i % 4 == 3 { batch } else { batch.slice(from..from + 1) };
        let grad = draw(problem, Fill::Small, i as u64)?;
        step(learner.as_mut(), part, (&grad, &mut update), trial)?;
    }
    Ok(())
}
