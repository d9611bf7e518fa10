//! Gradient descent on weights that stay in the kernels' layout.

use std::sync::{Mutex, MutexGuard, PoisonError};

use elman::{Adam, Batch, Error, Learner, Params, Shape, Update};
use fearless_simd::Simd;

use crate::adam;
use crate::batch;
use crate::isa::{Cpu, Task};
use crate::kernel::{self, Onto};
use crate::num::Num;
use crate::pool::{Pool, join};
use crate::sentence;
use crate::unit;
use crate::weights::{Places, Prepare, Sum, Weights};

pub(crate) struct FastLearner<T: Num> {
    cpu: Cpu,
    pool: Pool,
    state: State<T>,
    flat: Option<Flat<T>>,
}

/// Parameters and gradient in the layout of the moments of Adam; the parameters are those of the state.
struct Flat<T> {
    params: Params<T>,
    grad: Params<T>,
}

struct State<T> {
    weights: Weights<T>,
    sentence: sentence::Scratch<T>,
    free: Mutex<Free<T>>,
    seen: Places,
}

/// Memory that is not in use.
struct Free<T> {
    scratch: Vec<batch::Scratch<T>>,
    sentences: Vec<sentence::Scratch<T>>,
    sums: Vec<Sum<T>>,
}

/// Sentences that one thread computes together, at most: so many that few are alone in their length, and that their
/// states stay in the caches. No sum depends on it.
const TOGETHER: usize = 8 * Batch::CHUNK;

impl<T: Num> FastLearner<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, params: &Params<T>) -> Result<Self, Error> {
        unit::check(params.shape().cell)?;
        let state = State {
            weights: Weights::new(params),
            sentence: sentence::Scratch::new(),
            free: Mutex::new(Free { scratch: Vec::new(), sentences: Vec::new(), sums: Vec::new() }),
            seen: Places::default(),
        };
        Ok(FastLearner { cpu, pool, state, flat: None })
    }

    /// The gradient as a sum over the tree.
    fn sum(&mut self, batch: Batch<'_>, share: T) -> (T, Sum<T>) {
        self.cpu.run(Prepare(&mut self.state.weights));
        let (cpu, threads, state) = (self.cpu, self.pool.threads(), &self.state);
        self.pool.run(|| cpu.run(Gradient { state, batch, share, threads }))
    }

    /// Parameters and memory for a gradient, in the layout of the moments.
    fn take_flat(&mut self) -> Result<Flat<T>, Error> {
        match self.flat.take() {
            Some(flat) => Ok(flat),
            None => Ok(Flat { params: self.params(), grad: Params::zeros(*self.state.weights.shape())? }),
        }
    }

    /// A step of Adam; the rows are those that the batch changes.
    fn adam(&mut self, params: &mut Params<T>, grad: &Params<T>, rows: &mut Vec<u32>, adam: &mut Adam<T>) {
        rows.sort_unstable();
        rows.dedup();
        self.cpu.run(adam::Step { params, grad, rows, adam });
        let State { weights, seen, .. } = &mut self.state;
        weights.dense.copy_from(params);
        for row in rows.iter() {
            let row = *row as usize;
            weights.emb.row_mut(row).iter_mut().zip(params.emb().row(row)).for_each(|(to, from)| *to = *from);
        }
        if adam.normalise {
            self.cpu.run(Normalise { weights, rows, seen });
            for row in rows.iter() {
                let row = *row as usize;
                params
                    .emb_mut()
                    .row_mut(row)
                    .iter_mut()
                    .zip(weights.emb.row(row))
                    .for_each(|(to, from)| *to = *from);
            }
        }
    }
}

impl<T: Num> Learner<T> for FastLearner<T> {
    fn gradient(&mut self, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> Result<T, Error> {
        let shape = self.state.weights.shape();
        grad.check(*shape)?;
        batch.check(shape)?;
        let (loss, sum) = self.sum(batch, share);
        sum.dense.copy_to(grad);
        let mut emb = grad.emb_mut();
        emb.fill(T::zero());
        sum.copy_rows_to(emb);
        self.state.free().sums.push(sum);
        Ok(loss)
    }

    fn apply(&mut self, grad: &Params<T>, batch: Batch<'_>, update: &mut Update<T>) -> Result<(), Error> {
        let shape = *self.state.weights.shape();
        grad.check(shape)?;
        batch.check(&shape)?;
        update.check(shape)?;
        match update {
            Update::Sgd { learning_rate } => {
                self.flat = None;
                let grad = Weights::of_gradient(grad);
                let learning_rate = *learning_rate;
                self.cpu.run(Apply { state: &mut self.state, grad: &grad, batch, learning_rate });
            }
            Update::Adam(adam) => {
                let mut flat = self.take_flat()?;
                let mut rows = batch.words().to_vec();
                rows.extend((shape.window > 1).then_some(shape.padding()));
                self.adam(&mut flat.params, grad, &mut rows, adam);
                self.flat = Some(flat);
            }
            other => return Err(unsupported(other)),
        }
        Ok(())
    }

    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error> {
        let shape = *self.state.weights.shape();
        batch.check(&shape)?;
        update.check(shape)?;
        let learning_rate = match update {
            Update::Sgd { learning_rate } => *learning_rate,
            Update::Adam(adam) => {
                let mut flat = self.take_flat()?;
                let (loss, mut sum) = self.sum(batch, T::one() / T::from_f64(batch.len() as f64));
                sum.dense.copy_to(&mut flat.grad);
                sum.copy_rows_to(flat.grad.emb_mut());
                self.adam(&mut flat.params, &flat.grad, &mut sum.words, adam);
                self.flat = Some(flat);
                self.state.free().sums.push(sum);
                return Ok(loss);
            }
            other => return Err(unsupported(other)),
        };
        self.flat = None;
        if batch.len() == 1 {
            return Ok(self.cpu.run(SentenceStep { state: &mut self.state, batch, learning_rate }));
        }
        let (cpu, threads, state) = (self.cpu, self.pool.threads(), &mut self.state);
        Ok(self.pool.run(|| cpu.run(BatchStep { state, batch, learning_rate, threads })))
    }

    fn params(&self) -> Params<T> {
        self.flat.as_ref().map_or_else(|| self.state.weights.to_params(), |flat| flat.params.clone())
    }

    fn params_to(&self, params: &mut Params<T>) {
        match &self.flat {
            Some(flat) if flat.params.shape() == params.shape() => {
                params.as_mut_slice().copy_from_slice(flat.params.as_slice());
            }
            _ => *params = self.params(),
        }
    }
}

fn unsupported<T: Num>(update: &Update<T>) -> Error {
    Error::unsupported("update of elman-fast", "SGD or Adam", format!("{update:?}"))
}

impl<T: Num> State<T> {
    fn free(&self) -> MutexGuard<'_, Free<T>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_scratch(&self) -> batch::Scratch<T> {
        let free = self.free().scratch.pop();
        free.unwrap_or_else(batch::Scratch::new)
    }

    fn take_sum(&self) -> Sum<T> {
        let free = self.free().sums.pop();
        free.unwrap_or_else(|| Sum::new(*self.weights.shape()))
    }

    /// `share` times the sum of the losses and of the gradients: the tree of [`Batch::halves`].
    fn tree<S: Simd>(&self, simd: S, batch: Batch<'_>, share: T, threads: usize) -> (T, Sum<T>) {
        match batch.halves() {
            Some((left, right)) if threads > 1 || batch.len() > TOGETHER || !self.weights.is_packed() => {
                let half = (threads / 2).max(1);
                let (left, right) = if threads > 1 {
                    join(
                        || self.tree(simd, left, share, threads - half),
                        || self.tree(simd, right, share, half),
                    )
                } else {
                    (self.tree(simd, left, share, 1), self.tree(simd, right, share, 1))
                };
                self.add(simd, left, right)
            }
            _ if !self.weights.is_packed() => self.by_sentence(simd, batch, share),
            _ => {
                let mut scratch = self.take_scratch();
                scratch.forward_backward(simd, threads, &self.weights, batch, share);
                let found = self.fold(simd, &mut scratch, batch, 0, share, threads);
                self.free().scratch.push(scratch);
                found
            }
        }
    }

    /// [`State::tree`] of a chunk, sentence by sentence: for networks of several layers or directions, or with a CRF.
    fn by_sentence<S: Simd>(&self, simd: S, batch: Batch<'_>, share: T) -> (T, Sum<T>) {
        let free = self.free().sentences.pop();
        let mut scratch = free.unwrap_or_else(sentence::Scratch::new);
        let mut sum = self.take_sum();
        sum.clear();
        let mut losses = T::zero();
        for one in batch.iter() {
            scratch.forward(simd, &self.weights, one.words);
            let scale = share / T::from_f64(one.words.len() as f64);
            losses += scratch.backward(simd, &self.weights, one.labels, scale);
            scratch.apply(simd, one.words.len(), &mut sum.dense);
            simd.vectorize(
                #[inline(always)]
                || sum.add_embeddings(simd, scratch.rows(self.weights.shape(), one.words)),
            );
        }
        self.free().sentences.push(scratch);
        (share * losses, sum)
    }

    fn add<S: Simd>(
        &self,
        simd: S,
        (loss, mut sum): (T, Sum<T>),
        (right, other): (T, Sum<T>),
    ) -> (T, Sum<T>) {
        simd.vectorize(
            #[inline(always)]
            || sum.add(simd, &other),
        );
        self.free().sums.push(other);
        (loss + right, sum)
    }

    /// [`State::tree`] of sentences whose steps are computed, the first of which is number `first`.
    fn fold<S: Simd>(
        &self,
        simd: S,
        scratch: &mut batch::Scratch<T>,
        batch: Batch<'_>,
        first: usize,
        share: T,
        threads: usize,
    ) -> (T, Sum<T>) {
        let chunk = |scratch: &mut batch::Scratch<T>, batch, first, onto, sum: &mut Sum<T>| {
            let loss = scratch.chunk(simd, threads, &self.weights, batch, first);
            scratch.apply(simd, threads, onto, &mut sum.dense);
            if let Onto::Set = onto {
                sum.words.clear();
            }
            simd.vectorize(
                #[inline(always)]
                || sum.add_embeddings(simd, scratch.embeddings(self.weights.shape())),
            );
            share * loss
        };
        let Some((left, right)) = batch.halves() else {
            let mut sum = self.take_sum();
            let loss = chunk(scratch, batch, first, Onto::Set, &mut sum);
            return (loss, sum);
        };
        let middle = first + left.len();
        if right.halves().is_none() {
            // A chunk on the right is added where the left is, to the same bits as from a place of its own.
            let (loss, mut sum) = self.fold(simd, scratch, left, first, share, threads);
            let right = chunk(scratch, right, middle, Onto::AddScaled(T::one()), &mut sum);
            return (loss + right, sum);
        }
        let left = self.fold(simd, scratch, left, first, share, threads);
        let right = self.fold(simd, scratch, right, middle, share, threads);
        self.add(simd, left, right)
    }
}

/// Divides the embeddings of the words and of the padding by their norms, each once.
fn normalise<S: Simd, T: Num>(
    simd: S,
    words: impl Iterator<Item = u32>,
    seen: &mut Places,
    weights: &mut Weights<T>,
) {
    let Shape { window, vocab, .. } = *weights.shape();
    let padding = (window > 1).then_some(weights.shape().padding());
    seen.begin(vocab + 1);
    simd.vectorize(
        #[inline(always)]
        || {
            for word in words.chain(padding) {
                if seen.first(word) {
                    kernel::normalise(simd, weights.emb.row_mut(word as usize));
                }
            }
        },
    );
}

struct Normalise<'a, T> {
    weights: &'a mut Weights<T>,
    rows: &'a [u32],
    seen: &'a mut Places,
}

impl<T: Num> Task for Normalise<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        normalise(simd, self.rows.iter().copied(), self.seen, self.weights);
    }
}

struct Gradient<'a, T> {
    state: &'a State<T>,
    batch: Batch<'a>,
    share: T,
    threads: usize,
}

impl<T: Num> Task for Gradient<'_, T> {
    type Output = (T, Sum<T>);
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        self.state.tree(simd, self.batch, self.share, self.threads)
    }
}

/// A step from a given gradient.
struct Apply<'a, T> {
    state: &'a mut State<T>,
    grad: &'a Weights<T>,
    batch: Batch<'a>,
    learning_rate: T,
}

impl<T: Num> Task for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let State { weights, seen, .. } = self.state;
        let factor = -self.learning_rate;
        simd.vectorize(
            #[inline(always)]
            || {
                let dense = weights.dense.slices_mut().zip(self.grad.dense.slices());
                let emb = [(weights.emb.data_mut(), self.grad.emb.data())];
                for (to, from) in dense.chain(emb) {
                    kernel::add_scaled(simd, factor, from, to);
                }
            },
        );
        normalise(simd, self.batch.words().iter().copied(), seen, weights);
    }
}

/// A step of one sentence: its gradient is added to the weights in the products that it is.
struct SentenceStep<'a, T> {
    state: &'a mut State<T>,
    batch: Batch<'a>,
    learning_rate: T,
}

impl<T: Num> Task for SentenceStep<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let State { weights, sentence: scratch, seen, .. } = self.state;
        weights.prepare(simd);
        let shape = *weights.shape();
        let one = self.batch.sentence(0);
        let scale = -self.learning_rate / T::from_f64(one.words.len() as f64);
        scratch.forward(simd, weights, one.words);
        let loss = scratch.backward(simd, weights, one.labels, scale);
        scratch.apply(simd, one.words.len(), &mut weights.dense);
        simd.vectorize(
            #[inline(always)]
            || {
                for (word, row) in scratch.rows(&shape, one.words) {
                    kernel::add(simd, row, weights.emb.row_mut(word as usize));
                }
            },
        );
        normalise(simd, one.words.iter().copied(), seen, weights);
        loss
    }
}

/// A step of several sentences.
struct BatchStep<'a, T> {
    state: &'a mut State<T>,
    batch: Batch<'a>,
    learning_rate: T,
    threads: usize,
}

impl<T: Num> Task for BatchStep<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let BatchStep { state, batch, learning_rate, threads } = self;
        state.weights.prepare(simd);
        let share = T::one() / T::from_f64(batch.len() as f64);
        let factor = -learning_rate;
        if batch.halves().is_some() || !state.weights.is_packed() {
            let (loss, sum) = state.tree(simd, batch, share, threads);
            let State { weights, seen, .. } = &mut *state;
            simd.vectorize(
                #[inline(always)]
                || {
                    for (to, from) in weights.dense.slices_mut().zip(sum.dense.slices()) {
                        kernel::add_scaled(simd, factor, from, to);
                    }
                    for (word, row) in sum.rows() {
                        kernel::add_scaled(simd, factor, row, weights.emb.row_mut(word as usize));
                    }
                },
            );
            normalise(simd, sum.words.iter().copied(), seen, weights);
            state.free().sums.push(sum);
            return loss;
        }
        // One chunk: its gradient is applied to the same bits without being stored.
        let mut scratch = state.take_scratch();
        let State { weights, seen, .. } = &mut *state;
        let shape = *weights.shape();
        scratch.forward_backward(simd, threads, weights, batch, share);
        let loss = scratch.chunk(simd, threads, weights, batch, 0);
        scratch.apply(simd, threads, Onto::AddScaled(factor), &mut weights.dense);
        simd.vectorize(
            #[inline(always)]
            || {
                for (word, row) in scratch.embeddings(&shape) {
                    kernel::add_scaled(simd, factor, row, weights.emb.row_mut(word as usize));
                }
            },
        );
        normalise(simd, scratch.embeddings(&shape).map(|(word, _)| word), seen, weights);
        state.free().scratch.push(scratch);
        share * loss
    }
}
