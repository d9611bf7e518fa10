//! How far a sound implementation may be from the exact result: the reference, run on [`Rounded`] numbers.
//!
//! Each function returns what is expected, which is the reference's result in `f64` (the values of the numbers), and
//! what is allowed, entry by entry. Nothing here knows a cell. [`crate::rounded`] derives the allowance; this file adds
//! two things that no number can know: the two sides of a kink, and the steps of a learner that subtracts the terms of a
//! gradient one by one.
//!
//! # False alarms
//! A default run of the suite compares some 10^7 entries in each number type. Fewer than one run in 10,000 shall refuse
//! a sound implementation, so that an entry may be refused with a probability of 10^-11. The error that many roundings
//! make is normal, its spread is estimated from 16 deviations, and a rounding has on average 0.74 of the assumed
//! deviation: the allowance of [`SPREAD`](crate::rounded::SPREAD) = 11 deviations is 15 in Student's distribution of 16
//! degrees of freedom, which is exceeded with a probability of 10^-11 where all of an entry's error comes from others,
//! and far less often where its own roundings, whose spread is known, take part. Measured, the errors of a sound
//! implementation have a root mean square of a thirtieth of the allowance. `tests/calibration.rs` shows how much of it
//! eleven orders of summation use at worst, and that an error of ten times the allowance is refused.

use std::cell::RefCell;
use std::rc::Rc;

use elman::ndarray::Array2;
use elman::{
    Activation, Adam, Batch, Cell, Error, Float, LayerParams, LayerShape, Layout, Network, Params,
    Recurrence, Update,
};
use elman_reference::Reference;
use num_traits::zero;

use crate::rounded::{Arithmetic, Bf16, F16, Kinks, Precision, Rounded, Tf32};
use crate::strategies::Drawn;

/// Numbers with what they may be off by: the same type twice.
#[derive(Clone, Debug)]
pub(crate) struct Judged<A> {
    pub(crate) expected: A,
    pub(crate) allowed: A,
}

/// A number, and how far a sound result may be from it.
type Bounded = (f64, f64);

fn bounded<'a, T: Precision>(
    numbers: impl IntoIterator<Item = &'a Rounded<T>>,
) -> impl Iterator<Item = Bounded> {
    numbers.into_iter().map(|number| (number.value(), number.allowed()))
}

/// Runs a computation on rounded numbers. With a ReLU, comparisons in doubt are decided in both ways, and what that
/// changes is allowed.
fn judge(
    cell: Cell,
    mut compute: impl FnMut() -> Result<Vec<Bounded>, Error>,
) -> Result<Judged<Vec<f64>>, Error> {
    let kinks = (cell == Cell::Elman(Activation::Relu)).then(|| Kinks::new(0));
    let numbers = compute()?;
    let doubts = kinks.as_ref().map_or(0, Kinks::count);
    let (expected, mut allowed): (Vec<f64>, Vec<f64>) = numbers.into_iter().unzip();
    if doubts > 0 {
        let mut apart = vec![0.0; expected.len()];
        for mode in Kinks::MODES {
            let _kinks = Kinks::new(mode);
            for (i, (value, bound)) in compute()?.into_iter().enumerate() {
                allowed[i] = f64::max(allowed[i], bound);
                apart[i] = f64::max(apart[i], (value - expected[i]).abs());
            }
        }
        // Several kinks may come together otherwise than in any of the modes.
        allowed.iter_mut().zip(apart).for_each(|(allowed, apart)| *allowed += 2.0 * apart);
    }
    Ok(Judged { expected, allowed })
}

impl Judged<Vec<f64>> {
    /// The first so many numbers, and the rest.
    fn split(mut self, at: usize) -> (Self, Self) {
        let rest = Judged { expected: self.expected.split_off(at), allowed: self.allowed.split_off(at) };
        (self, rest)
    }

    fn number(self) -> Judged<f64> {
        Judged { expected: self.expected[0], allowed: self.allowed[0] }
    }

    fn matrix(self, dim: (usize, usize)) -> Judged<Array2<f64>> {
        let matrix = |values| Array2::from_shape_vec(dim, values).expect("as many numbers as were computed");
        Judged { expected: matrix(self.expected), allowed: matrix(self.allowed) }
    }

    fn params<S: Layout>(self, shape: S) -> Result<Judged<Params<f64, S>>, Error> {
        let params = |values: Vec<f64>| {
            let mut params = Params::zeros(shape)?;
            params.as_mut_slice().copy_from_slice(&values);
            Ok::<_, Error>(params)
        };
        Ok(Judged { expected: params(self.expected)?, allowed: params(self.allowed)? })
    }
}

fn rounded<T: Float, S: Layout>(params: &Params<f64, S>) -> Params<Rounded<T>, S> {
    params.map(Rounded::exact)
}

/// The outputs `s` of a sentence, `[words, classes]`.
pub(crate) fn predict<T: Float>(params: &Params<f64>, words: &[u32]) -> Result<Judged<Array2<f64>>, Error> {
    let shape = params.shape();
    let params = rounded::<T, _>(params);
    let s = judge(shape.cell, || Ok(bounded(&Reference::new().predict(&params, words)?).collect()))?;
    Ok(s.matrix((words.len(), shape.classes)))
}

/// The emissions of a sentence, `[words, classes]`.
pub(crate) fn emissions<T: Float>(params: &Params<f64>, words: &[u32]) -> Result<Judged<Array2<f64>>, Error> {
    let shape = params.shape();
    let mut tagger = Network::tagger(&Reference::new(), &rounded::<T, _>(params))?;
    let y = judge(shape.cell, || Ok(bounded(tagger.emissions(words)?).collect()))?;
    Ok(y.matrix((words.len(), shape.classes)))
}

/// By how much the labels that a CRF gives a sentence score less than the best, and what is allowed.
pub(crate) fn shortfall<T: Float>(
    params: &Params<f64>,
    words: &[u32],
    labels: &[u32],
) -> Result<Judged<f64>, Error> {
    let params = rounded::<T, _>(params);
    let crf = params.crf().ok_or_else(|| Error::unsupported("sequences", "a CRF", "a softmax"))?;
    let mut tagger = Network::tagger(&Reference::new(), &params)?;
    let mut best = vec![0; words.len()];
    tagger.label(words, &mut best)?;
    let y = tagger.emissions(words)?;
    let score = |labels: &[u32]| {
        let first = crf.start[labels[0] as usize] + y[[0, labels[0] as usize]];
        let sum = labels.windows(2).enumerate().fold(first, |sum, (t, pair)| {
            sum + crf.transitions[[pair[0] as usize, pair[1] as usize]] + y[[t + 1, pair[1] as usize]]
        });
        sum + crf.end[labels[words.len() - 1] as usize]
    };
    let [best, found] = [&best[..], labels].map(score);
    Ok(Judged { expected: best.value() - found.value(), allowed: best.allowed() + found.allowed() })
}

/// A loss and its gradient.
pub(crate) type Gradient = (Judged<f64>, Judged<Params<f64>>);

/// `share` times the loss of a batch, and its gradient; without a share, the mean over the sentences.
pub(crate) fn gradient<T: Float>(
    params: &Params<f64>,
    batch: Batch<'_>,
    share: Option<f64>,
) -> Result<Gradient, Error> {
    let shape = params.shape();
    let params = rounded::<T, _>(params);
    let numbers = judge(shape.cell, || {
        let mut grad = Params::zeros(shape)?;
        let loss = loss_and_gradient(&params, batch, share, &mut grad)?;
        Ok(bounded([&loss]).chain(bounded(grad.as_slice())).collect())
    })?;
    let (loss, grad) = numbers.split(1);
    Ok((loss.number(), grad.params(shape)?))
}

fn loss_and_gradient<T: Float>(
    params: &Params<Rounded<T>>,
    batch: Batch<'_>,
    share: Option<f64>,
    grad: &mut Params<Rounded<T>>,
) -> Result<Rounded<T>, Error> {
    match share {
        Some(share) => {
            let mut learner = Network::learner(&Reference::new(), params.clone())?;
            learner.gradient(batch, Rounded::exact(share), grad)
        }
        None => Reference::new().gradient(params, batch, grad),
    }
}

/// The loss before a step of gradient descent, and the parameters after it.
///
/// A learner that takes one sentence in one pass may subtract the terms of its gradient from a parameter one by one,
/// and equal terms round alike: half a last place of the parameter for each word. A changed row that may be 0, or whose
/// squares may vanish, may have any entries up to 1.
pub(crate) fn step<T: Float>(params: &Params<f64>, batch: Batch<'_>, rate: f64) -> Result<Gradient, Error> {
    let shape = params.shape();
    let start = rounded::<T, _>(params);
    let words = if batch.len() == 1 { batch.words().len() as f64 } else { 1.0 };
    let exact_rate = Rounded::exact(rate);
    let numbers = judge(shape.cell, || {
        let mut grad = Params::zeros(shape)?;
        let loss = loss_and_gradient(&start, batch, None, &mut grad)?;
        for (p, g) in params.as_slice().iter().zip(grad.as_mut_slice()) {
            if rate != 0.0 && !g.is_exact_zero() {
                let place = T::EPSILON / 2.0 * (p.abs() + rate.abs() * (g.value().abs() + g.allowed()));
                *g = g.off_by((words + 2.0) * place / rate.abs());
            }
        }
        let rows = start.emb().into_iter().zip(grad.emb()).map(|(p, g)| *p - exact_rate * *g);
        let rows: Vec<_> = rows.collect();
        let squares = rows.chunks(shape.embed).map(|row| row.iter().fold(zero(), |sum, v| sum + *v * *v));
        let first: Vec<_> = squares.chain([loss]).collect();
        let mut learner = Network::learner(&Reference::new(), start.clone())?;
        learner.apply(&grad, batch, &mut Update::sgd(exact_rate))?;
        Ok(bounded(&first).chain(bounded(learner.params().as_slice())).collect())
    })?;
    let (squares, numbers) = numbers.split(shape.vocab + 1);
    let (loss, after) = numbers.split(1);
    let mut after = after.params(shape)?;
    // The deviations may make less of those roundings by chance.
    let ends = params.as_slice().iter().zip(after.expected.as_slice());
    for (allowed, (p, q)) in after.allowed.as_mut_slice().iter_mut().zip(ends) {
        if *allowed > 0.0 {
            *allowed = allowed.max((words + 2.0) * T::EPSILON / 2.0 * p.abs().max(q.abs()));
        }
    }
    let squares = squares.expected.into_iter().zip(squares.allowed);
    for ((value, allowed), mut row) in squares.zip(after.allowed.emb_mut().rows_mut()) {
        if allowed > 0.0 && value <= 2.0 * allowed {
            row.fill(2.0);
        }
    }
    Ok((loss.number(), after))
}

/// Parameters and moments after a step of Adam from a gradient.
pub(crate) fn adam<T: Float>(
    params: &Params<T>,
    grad: &Params<T>,
    batch: Batch<'_>,
    adam: &Adam<T>,
) -> Result<[Judged<Params<f64>>; 3], Error> {
    let exact = |v: T| Rounded::<T>::exact(v.to_f64());
    let shape = params.shape();
    let mut learner = Network::learner(&Reference::new(), params.map(exact))?;
    let mut update = Update::Adam(Adam {
        learning_rate: exact(adam.learning_rate),
        beta1: exact(adam.beta1),
        beta2: exact(adam.beta2),
        epsilon: exact(adam.epsilon),
        weight_decay: exact(adam.weight_decay),
        clip: adam.clip.map(exact),
        normalise: adam.normalise,
        steps: adam.steps,
        moments: adam.moments.each_ref().map(|moment| moment.map(exact)),
    });
    learner.apply(&grad.map(exact), batch, &mut update)?;
    let moments = match update {
        Update::Adam(adam) => adam.moments,
        _ => adam.moments.each_ref().map(|moment| moment.map(exact)),
    };
    let numbers = [&learner.params(), &moments[0], &moments[1]].map(|params| {
        let of = |f: fn(Rounded<T>) -> f64| params.as_slice().iter().map(|number| f(*number)).collect();
        Judged { expected: of(Rounded::value), allowed: of(Rounded::allowed) }.params(shape)
    });
    let [params, first, second] = numbers;
    Ok([params?, first?, second?])
}

/// The results of the recurrence alone.
#[derive(Clone)]
pub(crate) struct States {
    pub(crate) h: Judged<Array2<f64>>,
    pub(crate) last: Judged<Array2<f64>>,
    pub(crate) xs: Judged<Array2<f64>>,
    pub(crate) initial: Judged<Array2<f64>>,
    pub(crate) layer: Judged<LayerParams<f64>>,
}

/// A question of [`recurrence`]: shape and arithmetic, then the precision, the lengths and the bits of all numbers.
type Question = (LayerShape, Option<Arithmetic>, Vec<u64>);

thread_local! {
    /// The last question of this thread, and its answer: the same sequences are often judged again, by another check or of
    /// another implementation.
    static LAST: RefCell<Option<(Question, Rc<States>)>> = const { RefCell::new(None) };
}

/// The states of packed sequences, and the gradient of `sum(dh ∘ h) + sum(dlast ∘ last)`, in the arithmetic of the
/// number type or in a narrower one.
pub(crate) fn recurrence<T: Float>(
    drawn: &Drawn<T>,
    arithmetic: Option<Arithmetic>,
) -> Result<Rc<States>, Error> {
    let Drawn { layer, lengths, rows, initial, dh, dlast } = drawn;
    let ends = [initial, dlast];
    let sizes = [lengths.len()].into_iter().chain(lengths.iter().copied());
    let sizes = sizes.chain(ends.map(|end| usize::from(end.is_some()))).map(|size| size as u64);
    let numbers = layer.as_slice().iter().chain(rows).chain(dh).chain(ends.into_iter().flatten().flatten());
    let bits = [T::EPSILON.to_bits()].into_iter().chain(sizes).chain(numbers.map(|v| v.bits()));
    let question = (layer.shape(), arithmetic, bits.collect());
    let last = LAST.take().filter(|(last, _)| *last == question);
    let answer = match (last, arithmetic) {
        (Some((_, answer)), _) => answer,
        (None, None) => recurrence_in::<T, T>(drawn)?.into(),
        (None, Some(Arithmetic::Tf32)) => recurrence_in::<T, Tf32>(drawn)?.into(),
        (None, Some(Arithmetic::Bf16)) => recurrence_in::<T, Bf16>(drawn)?.into(),
        (None, Some(Arithmetic::F16)) => recurrence_in::<T, F16>(drawn)?.into(),
    };
    LAST.set(Some((question, answer.clone())));
    Ok(answer)
}

fn recurrence_in<T: Float, P: Precision>(drawn: &Drawn<T>) -> Result<States, Error> {
    let shape = drawn.layer.shape();
    let rounded = drawn.map(|v| Rounded::<P>::given(v.to_f64()));
    let numbers = judge(shape.cell, || {
        let xs = rounded.xs()?;
        let trace = Reference::new().vjp(rounded.layer.layer(), &xs)?;
        let gradient = trace.backward(rounded.dh.view(), rounded.dlast())?;
        let matrices = [trace.h(), trace.last(), gradient.xs.view(), gradient.initial.view()];
        Ok(bounded(matrices.into_iter().flatten().chain(gradient.layer.as_slice())).collect())
    })?;
    let (steps, sequences) = (drawn.rows.nrows(), drawn.lengths.len());
    let mut rest = numbers;
    let mut next = |rows: usize, cols: usize| {
        let numbers = std::mem::replace(&mut rest, Judged { expected: Vec::new(), allowed: Vec::new() });
        let (first, after) = numbers.split(rows * cols);
        rest = after;
        first.matrix((rows, cols))
    };
    let states = shape.cell.states() * shape.hidden;
    let (h, last) = (next(steps, shape.hidden), next(sequences, states));
    let (xs, initial) = (next(steps, shape.input), next(sequences, states));
    Ok(States { h, last, xs, initial, layer: rest.params(shape)? })
}
