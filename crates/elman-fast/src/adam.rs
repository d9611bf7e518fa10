//! Adam on parameters in their own layout, so that the moments are flat.
//!
//! ```text
//! m  = beta1 · m + (1 - beta1) · g,   v = beta2 · v + (1 - beta2) · g²
//! p -= learning_rate / (1 - beta1^t) · m / (√(v / (1 - beta2^t)) + epsilon) + learning_rate · weight_decay · p
//! ```
//!
//! Plain operations on numbers, compiled for each instruction set: no multiply-add is fused, so that all have the same
//! bits.

use elman::{Adam, Name, Params};
use fearless_simd::Simd;

use crate::isa::Task;
use crate::num::Num;

/// Sums of squares are added in so many lanes, whatever the width of a vector.
const LANES: usize = 16;

/// One step, of all tensors but of the embeddings these rows alone, each once, in rising order.
pub(crate) struct Step<'a, T> {
    pub(crate) params: &'a mut Params<T>,
    pub(crate) grad: &'a Params<T>,
    pub(crate) rows: &'a [u32],
    pub(crate) adam: &'a mut Adam<T>,
}

impl<T: Num> Task for Step<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || self.step(),
        );
    }
}

impl<T: Num> Step<'_, T> {
    #[inline(always)]
    fn step(self) {
        let Step { params, grad, rows, adam } = self;
        let scale = match adam.clip {
            Some(clip) => scale(grad, rows, clip),
            None => T::one(),
        };
        adam.steps += 1;
        let [correct_m, correct_v] = adam.corrections();
        let factors = Factors {
            scale,
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: adam.epsilon,
            rate: adam.learning_rate / correct_m,
            correct_v,
            decay: T::zero(),
        };
        let embed = params.shape().embed;
        let decay = adam.learning_rate * adam.weight_decay;
        let [first, second] = &mut adam.moments;
        let mut from = 0;
        for (name, tensor) in grad.tensors() {
            let decay = if tensor.ndim() == 2 { decay } else { T::zero() };
            let factors = Factors { decay, ..factors };
            let mut update = |from: usize, len: usize| {
                let entries = from..from + len;
                factors.update(
                    &mut params.as_mut_slice()[entries.clone()],
                    &grad.as_slice()[entries.clone()],
                    &mut first.as_mut_slice()[entries.clone()],
                    &mut second.as_mut_slice()[entries],
                );
            };
            if name == Name::Emb {
                rows.iter().for_each(|row| update(from + *row as usize * embed, embed));
            } else {
                update(from, tensor.len());
            }
            from += tensor.len();
        }
    }
}

/// The numbers of a step that all entries of a tensor have in common.
#[derive(Clone, Copy)]
struct Factors<T> {
    scale: T,
    beta1: T,
    beta2: T,
    epsilon: T,
    rate: T,
    correct_v: T,
    decay: T,
}

impl<T: Num> Factors<T> {
    #[inline(always)]
    fn update(self, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
        let Factors { scale, beta1, beta2, epsilon, rate, correct_v, decay } = self;
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = *g * scale;
            *m = beta1 * *m + (T::one() - beta1) * g;
            *v = beta2 * *v + (T::one() - beta2) * g * g;
            *p -= rate * *m / ((*v / correct_v).sqrt() + epsilon) + decay * *p;
        }
    }
}

/// The factor that scales a gradient to the norm `clip`, if its own is larger.
#[inline(always)]
fn scale<T: Num>(grad: &Params<T>, rows: &[u32], clip: T) -> T {
    let mut sums = [T::zero(); LANES];
    let (emb, dense) = grad.as_slice().split_at(grad.emb().len());
    let embed = grad.shape().embed;
    for row in rows {
        add_squares(&emb[*row as usize * embed..][..embed], &mut sums);
    }
    add_squares(dense, &mut sums);
    let norm = sums.into_iter().fold(T::zero(), |sum, lane| sum + lane).sqrt();
    if norm > clip { clip / norm } else { T::one() }
}

#[inline(always)]
fn add_squares<T: Num>(values: &[T], sums: &mut [T; LANES]) {
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, v)| *sum += *v * *v);
    }
    sums.iter_mut().zip(chunks.remainder()).for_each(|(sum, v)| *sum += *v * *v);
}
