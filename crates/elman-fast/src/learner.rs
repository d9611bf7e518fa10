//! Gradient descent on weights that stay in the kernels' layout.

use std::sync::{Mutex, PoisonError};

use elman::{Batch, Error, Learner, Params, Shape, Update};
use fearless_simd::Simd;

use crate::batch;
use crate::isa::{Cpu, Task};
use crate::kernel::{self, Onto};
use crate::num::Num;
use crate::pool::Pool;
use crate::sentence;
use crate::unit;
use crate::weights::{Places, Sum, Weights};

pub(crate) struct FastLearner<T: Num> {
    cpu: Cpu,
    pool: Pool,
    state: State<T>,
}

struct State<T> {
    weights: Weights<T>,
    sentence: sentence::Scratch<T>,
    /// Nodes of the tree that are not in use.
    free: Mutex<Vec<Leaf<T>>>,
    seen: Places,
}

/// The memory of a node of the tree of chunks.
struct Leaf<T> {
    chunk: batch::Scratch<T>,
    /// The gradient of the node's sentences; made when it is first needed.
    sum: Option<Sum<T>>,
    places: Places,
}

impl<T: Num> FastLearner<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, params: &Params<T>) -> Result<Self, Error> {
        unit::check(params.shape().cell)?;
        let state = State {
            weights: Weights::new(params),
            sentence: sentence::Scratch::new(),
            free: Mutex::default(),
            seen: Places::default(),
        };
        Ok(FastLearner { cpu, pool, state })
    }
}

impl<T: Num> Learner<T> for FastLearner<T> {
    fn gradient(&mut self, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> Result<T, Error> {
        let shape = self.state.weights.shape();
        grad.check(*shape)?;
        batch.check(shape)?;
        let (cpu, threads, state) = (self.cpu, self.pool.threads(), &self.state);
        let (loss, leaf) = self.pool.run(|| cpu.run(Gradient { state, batch, share, threads }));
        if let Some(sum) = &leaf.sum {
            sum.dense.copy_to(grad);
            let mut emb = grad.emb_mut();
            emb.fill(T::zero());
            for (word, row) in sum.rows() {
                emb.row_mut(word as usize).iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        }
        state.put_back(leaf);
        Ok(loss)
    }

    fn apply(&mut self, grad: &Params<T>, batch: Batch<'_>, update: &mut Update<T>) -> Result<(), Error> {
        let shape = self.state.weights.shape();
        grad.check(*shape)?;
        batch.check(shape)?;
        let learning_rate = learning_rate(update)?;
        let grad = Weights::of_gradient(grad);
        self.cpu.run(Apply { state: &mut self.state, grad: &grad, batch, learning_rate });
        Ok(())
    }

    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error> {
        batch.check(self.state.weights.shape())?;
        let learning_rate = learning_rate(update)?;
        if batch.len() == 1 {
            return Ok(self.cpu.run(SentenceStep { state: &mut self.state, batch, learning_rate }));
        }
        let (cpu, threads, state) = (self.cpu, self.pool.threads(), &mut self.state);
        Ok(self.pool.run(|| cpu.run(BatchStep { state, batch, learning_rate, threads })))
    }

    fn params(&self) -> Params<T> {
        self.state.weights.to_params()
    }
}

fn learning_rate<T: Num>(update: &Update<T>) -> Result<T, Error> {
    update.check()?;
    match update {
        Update::Sgd { learning_rate } => Ok(*learning_rate),
        other => Err(Error::unsupported("update of elman-fast", "SGD", format!("{other:?}"))),
    }
}

impl<T: Num> State<T> {
    fn take(&self) -> Leaf<T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Leaf { chunk: batch::Scratch::new(), sum: None, places: Places::default() })
    }

    fn put_back(&self, leaf: Leaf<T>) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(leaf);
    }

    /// `share` times the sum of the losses, and in the returned leaf that of the gradients: the tree of
    /// [`Batch::halves`].
    fn tree<S: Simd>(&self, simd: S, batch: Batch<'_>, share: T, threads: usize) -> (T, Leaf<T>) {
        let Some((left, right)) = batch.halves() else {
            let mut leaf = self.take();
            let loss = leaf.gradient(simd, &self.weights, batch, share, threads, Onto::Set);
            return (loss, leaf);
        };
        if threads <= 1 && right.halves().is_none() {
            // A chunk on the right is added where the left is, to the same bits as from a place of its own.
            let (left_loss, mut leaf) = self.tree(simd, left, share, threads);
            let loss = leaf.gradient(simd, &self.weights, right, share, threads, Onto::AddScaled(T::one()));
            return (left_loss + loss, leaf);
        }
        let half = (threads / 2).max(1);
        let (left, right) = if threads > 1 {
            rayon::join(
                || self.tree(simd, left, share, threads - half),
                || self.tree(simd, right, share, half),
            )
        } else {
            (self.tree(simd, left, share, 1), self.tree(simd, right, share, 1))
        };
        let ((left_loss, mut leaf), (right_loss, other)) = (left, right);
        let Leaf { sum, places, .. } = &mut leaf;
        if let (Some(sum), Some(other)) = (sum, &other.sum) {
            simd.vectorize(
                #[inline(always)]
                || sum.add(simd, other, places),
            );
        }
        self.put_back(other);
        (left_loss + right_loss, leaf)
    }
}

impl<T: Num> Leaf<T> {
    /// `share` times the sum of the losses of a chunk; that of its gradients is set or added in `sum`.
    fn gradient<S: Simd>(
        &mut self,
        simd: S,
        weights: &Weights<T>,
        batch: Batch<'_>,
        share: T,
        threads: usize,
        onto: Onto<T>,
    ) -> T {
        let shape = *weights.shape();
        let Leaf { chunk, sum, places } = self;
        let sum = sum.get_or_insert_with(|| Sum::new(shape));
        let loss = chunk.forward_backward(simd, threads, weights, batch, share);
        chunk.apply(simd, threads, onto, &mut sum.dense);
        if let Onto::Set = onto {
            sum.words.clear();
        }
        simd.vectorize(
            #[inline(always)]
            || sum.add_embeddings(simd, chunk.embeddings(&shape), places),
        );
        share * loss
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

struct Gradient<'a, T> {
    state: &'a State<T>,
    batch: Batch<'a>,
    share: T,
    threads: usize,
}

impl<T: Num> Task for Gradient<'_, T> {
    type Output = (T, Leaf<T>);
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
                let dense = weights.dense.slices_mut().into_iter().zip(self.grad.dense.slices());
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
        let share = T::one() / T::from_f64(batch.len() as f64);
        let factor = -learning_rate;
        if batch.halves().is_some() {
            let (loss, leaf) = state.tree(simd, batch, share, threads);
            let State { weights, seen, .. } = &mut *state;
            if let Some(sum) = &leaf.sum {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        for (to, from) in weights.dense.slices_mut().into_iter().zip(sum.dense.slices()) {
                            kernel::add_scaled(simd, factor, from, to);
                        }
                        for (word, row) in sum.rows() {
                            kernel::add_scaled(simd, factor, row, weights.emb.row_mut(word as usize));
                        }
                    },
                );
                normalise(simd, sum.words.iter().copied(), seen, weights);
            }
            state.put_back(leaf);
            return loss;
        }
        // One chunk: its gradient is applied to the same bits without being stored.
        let mut leaf = state.take();
        let State { weights, seen, .. } = &mut *state;
        let chunk = &mut leaf.chunk;
        let shape = *weights.shape();
        let loss = chunk.forward_backward(simd, threads, weights, batch, share);
        chunk.apply(simd, threads, Onto::AddScaled(factor), &mut weights.dense);
        simd.vectorize(
            #[inline(always)]
            || {
                for (word, row) in chunk.embeddings(&shape) {
                    kernel::add_scaled(simd, factor, row, weights.emb.row_mut(word as usize));
                }
            },
        );
        normalise(simd, chunk.embeddings(&shape).map(|(word, _)| word), seen, weights);
        state.put_back(leaf);
        share * loss
    }
}
