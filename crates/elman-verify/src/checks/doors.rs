use elman::ndarray::{Array1, Array2};
use elman::{Error, Feedback, Labelled, Network, Params, Sentence, Shape};

use super::{garbage, gradient_of};
use crate::checks::learner::same_params;
use crate::runner::{Part, Trial};
use crate::strategies::Problem;
use crate::{Number, Options, Report};

const SHAPE: Shape =
    Shape { vocab: 6, embed: 3, window: 5, hidden: 4, classes: 5, feedback: Feedback::Hidden };

type Break<T> = fn(&mut Params<T>);

/// What must be refused: tensors that do not fit together, words, labels and batches that cannot be. Each is
/// an error and not a panic, and leaves `grad` as it was.
pub fn check_doors<T: Number>(network: &dyn Network<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("doors", network.name(), options);
    let problem = (&[4, 2][..], 10);
    part.tutorial("params", SHAPE, problem, |problem, trial| bad_params(network, problem, trial));
    part.tutorial("batch", SHAPE, problem, |problem, trial| bad_batch(network, problem, trial));
    part.tutorial("grad", SHAPE, problem, |problem, trial| bad_grad(network, problem, trial));
    part.report
}

fn broken<T: Number>() -> [(&'static str, Break<T>); 13] {
    [
        ("an emb without rows", |p| p.emb = Array2::zeros((0, 3))),
        ("an emb of padding alone", |p| p.emb = Array2::zeros((1, 3))),
        ("a wx that is no multiple of embed", |p| p.wx = Array2::zeros((16, 4))),
        ("a wx of an even window", |p| p.wx = Array2::zeros((12, 4))),
        ("a wx too wide", |p| p.wx = Array2::zeros((15, 5))),
        ("a wh of another width", |p| p.wh = Array2::zeros((p.wh.nrows(), 3))),
        ("a wh with a row too many", |p| p.wh = Array2::zeros((p.wh.nrows() + 1, 4))),
        ("a wh that is not row-major", |p| p.wh = p.wh.clone().reversed_axes()),
        ("a w too short", |p| p.w = Array2::zeros((3, 5))),
        ("a bh too long", |p| p.bh = Array1::zeros(5)),
        ("a b too short", |p| p.b = Array1::zeros(4)),
        ("an h0 too short", |p| p.h0 = Array1::zeros(3)),
        ("the other network's feedback", |p| p.feedback = other(p.feedback)),
    ]
}

fn other(feedback: Feedback) -> Feedback {
    match feedback {
        Feedback::Hidden => Feedback::Output,
        Feedback::Output => Feedback::Hidden,
    }
}

fn bad_params<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let good = problem.params::<T>()?;
    for (what, break_it) in broken() {
        let mut params = good.clone();
        break_it(&mut params);
        let sentence = problem.batch[0].sentence();
        trial.refused(&format!("predict with {what}"), network.predict(&params, sentence));
        let mut grad = garbage(problem.shape)?;
        trial.refused(&format!("gradient with {what}"), network.gradient(&params, &problem.batch, &mut grad));
        same_params(trial, "after a refusal", &grad, &garbage(problem.shape)?);
        trial.refused(&format!("a tagger with {what}"), network.tagger(&params).map(drop));
        trial.refused(&format!("a learner with {what}"), network.learner(params).map(drop));
    }
    Ok(())
}

fn bad_batch<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let good = problem.batch[0].clone();
    let one = |words: Vec<usize>, labels: Vec<usize>| Labelled::new(Sentence::new(words)?, labels);
    for (what, bad) in [
        ("the padding as a word", one(vec![0, SHAPE.vocab], vec![0, 0])?),
        ("a word beyond the embeddings", one(vec![SHAPE.vocab + 1], vec![0])?),
        ("the largest number as a word", one(vec![usize::MAX], vec![0])?),
        ("a label out of range", one(vec![0, 1], vec![1, SHAPE.classes])?),
        ("the largest number as a label", one(vec![0], vec![usize::MAX])?),
    ] {
        let mut grad = garbage(problem.shape)?;
        let batch = [good.clone(), bad.clone()];
        trial.refused(&format!("gradient of {what}"), network.gradient(&params, &batch, &mut grad));
        same_params(trial, "after a refusal", &grad, &garbage(problem.shape)?);
        if !what.contains("label") {
            trial.refused(&format!("predict of {what}"), network.predict(&params, bad.sentence()));
        }
    }
    let mut grad = garbage(problem.shape)?;
    trial.refused("gradient of an empty batch", network.gradient(&params, &[], &mut grad));
    same_params(trial, "after a refusal", &grad, &garbage(problem.shape)?);
    Ok(())
}

fn bad_grad<T: Number>(
    network: &dyn Network<T>,
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let (_, expected) = gradient_of(network, &params, &problem.batch)?;
    let shape = problem.shape;
    let others: [(&str, Shape); 6] = [
        ("vocab", Shape { vocab: 7, ..shape }),
        ("embed", Shape { embed: 5, window: 3, ..shape }),
        ("window", Shape { window: 3, ..shape }),
        ("hidden", Shape { hidden: 5, ..shape }),
        ("classes", Shape { classes: 4, ..shape }),
        ("network", Shape { feedback: other(shape.feedback), ..shape }),
    ];
    for (what, shape) in others {
        let mut grad = garbage(shape)?;
        let result = network.gradient(&params, &problem.batch, &mut grad);
        trial.refused(&format!("a grad of another {what}"), result);
        same_params(trial, "after a refusal", &grad, &garbage(shape)?);
    }
    for (what, break_it) in broken() {
        let mut grad = garbage(problem.shape)?;
        break_it(&mut grad);
        trial.refused(&format!("a grad with {what}"), network.gradient(&params, &problem.batch, &mut grad));
    }
    let (_, again) = gradient_of(network, &params, &problem.batch)?;
    same_params(trial, "after refusals", &again, &expected);
    Ok(())
}
