//! The CRF of one sentence: its marginal probabilities with the gradient, and its most probable labels.
//!
//! Read from the first word to the last, the labels are a Markov chain: with
//!
//! ```text
//! beta[T-1][i] = end[i]
//! beta[t-1][i] = ln sum over j of e^(transitions[i, j] + g[t][j])     less the largest of them
//! g[t][j]      = y[t][j] + beta[t][j]
//! ```
//!
//! the first label has the probabilities `softmax(start + g[0])`, and the label after i those of
//! `softmax(transitions[i] + g[t])`. So every exponential is one of a softmax, none overflows, and no probability is the
//! difference of large logarithms. (The forward variables of the textbooks are not needed.)

use elman::Params;
use fearless_simd::Simd;

use crate::kernel;
use crate::matrix::{Buffer, Matrix, buffer, grow, padded, padded_vector, row_stride};
use crate::num::Num;

/// The tensors of the CRF, or a sum of their gradients. All padding is 0.
#[derive(Clone)]
pub(crate) struct Crf<T> {
    pub(crate) transitions: Matrix<T>,
    pub(crate) start: Buffer<T>,
    pub(crate) end: Buffer<T>,
}

impl<T: Num> Crf<T> {
    pub(crate) fn of(params: &Params<T>) -> Option<Self> {
        params.crf().map(|crf| Crf {
            transitions: Matrix::from_array(crf.transitions),
            start: padded_vector(crf.start, T::zero()),
            end: padded_vector(crf.end, T::zero()),
        })
    }

    fn classes(&self) -> usize {
        self.transitions.view().rows()
    }
}

/// Memory for rows of classes; grows and stays.
pub(crate) struct Scratch<T> {
    beta: Buffer<T>,
    sums: Buffer<T>,
    row: Buffer<T>,
    next: Buffer<T>,
    /// The label before each label of each word on its best path.
    before: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch { beta: buffer(), sums: buffer(), row: buffer(), next: buffer(), before: buffer() }
    }

    /// The rows of s, which are the emissions, become the marginal probabilities. With the labels of the words, returns
    /// their loss, `-ln` of their probability, and adds its gradient by the transitions to `pairs`.
    pub(crate) fn marginals<S: Simd>(
        &mut self,
        simd: S,
        crf: &Crf<T>,
        s: &mut [T],
        mut gold: Option<(&[u32], &mut Matrix<T>)>,
    ) -> T {
        let classes = crf.classes();
        let (width, stride) = (padded::<T>(classes), row_stride::<T>(classes));
        let words = s.len() / stride;
        let Scratch { beta, sums, row, next, .. } = self;
        let [beta, sums, row, next] = [beta, sums, row, next].map(|memory| grow(memory, width));
        let mut loss = T::zero();
        simd.vectorize(
            #[inline(always)]
            || {
                beta.copy_from_slice(&crf.end);
                sums.fill(T::one());
                for t in (0..words).rev() {
                    let g = &mut s[t * stride..][..width];
                    kernel::add(simd, beta, g);
                    if t == 0 {
                        break;
                    }
                    for i in 0..classes {
                        row.copy_from_slice(crf.transitions.row(i));
                        kernel::add(simd, g, row);
                        (beta[i], sums[i]) = kernel::exp_from_largest(simd, row);
                    }
                    beta[classes..].fill(T::from_f64(f64::NEG_INFINITY));
                    kernel::ln(simd, &mut sums[..]);
                    kernel::add(simd, sums, beta);
                    kernel::shift(simd, beta);
                    sums[classes..].fill(T::one());
                }

                let first = &mut s[..width];
                kernel::add(simd, &crf.start, first);
                let logit = gold.as_ref().map_or(T::zero(), |(labels, _)| first[labels[0] as usize]);
                let (largest, log_sum) = kernel::softmax(simd, first);
                loss = log_sum + (largest - logit);
                for t in 1..words {
                    let (before, g) = s.split_at_mut(t * stride);
                    let (before, g) = (&before[(t - 1) * stride..], &mut g[..width]);
                    next.fill(T::zero());
                    for i in 0..classes {
                        row.copy_from_slice(crf.transitions.row(i));
                        kernel::add(simd, g, row);
                        let logit = gold.as_ref().map_or(T::zero(), |(labels, _)| row[labels[t] as usize]);
                        let (largest, sum) = kernel::exp_from_largest(simd, row);
                        let factor = before[i] * (T::one() / sum);
                        kernel::add_scaled(simd, factor, row, next);
                        if let Some((labels, pairs)) = &mut gold {
                            kernel::add_scaled(simd, factor, row, pairs.row_mut(i));
                            if labels[t - 1] as usize == i {
                                loss += sum.ln() + (largest - logit);
                                pairs.row_mut(i)[labels[t] as usize] -= T::one();
                            }
                        }
                    }
                    g.copy_from_slice(next);
                }
            },
        );
        loss
    }

    /// The most probable labels of so many words, whose emissions `y` gives.
    pub(crate) fn labels<'a, S: Simd>(
        &mut self,
        simd: S,
        crf: &Crf<T>,
        words: usize,
        y: impl Fn(usize) -> &'a [T],
        mut write: impl FnMut(usize, u32),
    ) where
        T: 'a,
    {
        let classes = crf.classes();
        let (width, stride) = (padded::<T>(classes), row_stride::<T>(classes));
        let (best, next) = (grow(&mut self.row, width), grow(&mut self.next, width));
        let before = grow(&mut self.before, words * stride);
        simd.vectorize(
            #[inline(always)]
            || {
                best.copy_from_slice(&crf.start);
                kernel::add(simd, y(0), best);
                for t in 1..words {
                    kernel::shift(simd, best);
                    let before = &mut before[t * stride..][..width];
                    kernel::largest_sums(simd, crf.transitions.view(), best, next, before);
                    best.copy_from_slice(y(t));
                    kernel::add(simd, next, best);
                }
                kernel::add(simd, &crf.end, best);
            },
        );
        let mut label = kernel::argmax(&best[..classes]);
        for t in (0..words).rev() {
            write(t, label);
            // A number of a label: there are fewer than a float counts exactly, or none is ever read.
            label = before[t * stride + label as usize].to_f64() as u32;
        }
    }
}
