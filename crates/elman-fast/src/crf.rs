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
//! `softmax(transitions[i] + g[t])`. No probability is the difference of large logarithms. (The forward variables of the
//! textbooks are not needed.)
//!
//! With `m[i]` and `n[t]` the largest of a row of the transitions and of g, the sum over j is the product of a matrix that
//! is made once for each update, and of a vector that is made once for each word:
//!
//! ```text
//! sums[t][i] = sum over j of e^(transitions[i, j] - m[i]) · e^(g[t][j] - n[t])
//! ```
//!
//! So a word takes as many exponentials as there are labels, not their square. A factor too small for a number would be
//! lost: a row whose range or sum allows that is *apart*, and its exponentials are those of the softmax.

use elman::Params;
use fearless_simd::Simd;

use crate::kernel::{self, Backwards, Onto};
use crate::matrix::{Buffer, Matrix, View, ViewMut, buffer, grow, padded, padded_vector, row_stride};
use crate::num::Num;

/// The tensors of the CRF, or a sum of their gradients. All padding is 0.
#[derive(Clone)]
pub(crate) struct Crf<T> {
    transitions: Matrix<T>,
    start: Buffer<T>,
    end: Buffer<T>,
    factors: Factors<T>,
}

/// The factors of the transitions; see [`Crf::prepare`].
#[derive(Clone)]
struct Factors<T> {
    /// Whether they are those of the transitions.
    current: bool,
    /// `e^(transitions[i, j] - largest[i])`
    rows: Matrix<T>,
    /// The largest transition of each row.
    largest: Buffer<T>,
    /// Whether a row is apart for its range.
    apart: Vec<bool>,
}

/// The widest range of the logarithms of factors. The product of the two least ones, divided by a least sum, is too small
/// for a normal number.
fn widest<T: Num>() -> T {
    T::from_f64(if size_of::<T>() == 4 { 52.0 } else { 424.0 })
}

/// The least sum of products of factors that is taken.
fn least_sum<T: Num>() -> T {
    T::from_f64(if size_of::<T>() == 4 { 2f64.powi(-20) } else { 2f64.powi(-160) })
}

fn range<T: Num>(row: &[T], largest: T) -> T {
    largest - row.iter().fold(largest, |least, x| if *x < least { *x } else { least })
}

impl<T: Num> Crf<T> {
    pub(crate) fn of(params: &Params<T>) -> Option<Self> {
        let crf = params.crf()?;
        let mut tensors = Crf::zeros(crf.start.len());
        tensors.copy_from(crf);
        Some(tensors)
    }

    pub(crate) fn zeros(classes: usize) -> Self {
        let zeros = || padded_vector(elman::ndarray::Array1::zeros(classes).view(), T::zero());
        let factors =
            Factors { current: false, rows: Matrix::zeros(0, 0), largest: buffer(), apart: Vec::new() };
        Crf { transitions: Matrix::zeros(classes, classes), start: zeros(), end: zeros(), factors }
    }

    /// Takes the entries of tensors of this size.
    pub(crate) fn copy_from(&mut self, from: elman::Crf<'_, T>) {
        self.factors.current = false;
        self.transitions.copy_gates_from(from.transitions, 1);
        for (to, from) in [(&mut self.start, from.start), (&mut self.end, from.end)] {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }

    /// The numbers of `transitions`, `start` and `end`, with their padding.
    pub(crate) fn slices(&self) -> [&[T]; 3] {
        [self.transitions.data(), &self.start, &self.end]
    }

    /// The numbers of `transitions`, `start` and `end`, with their padding.
    pub(crate) fn slices_mut(&mut self) -> [&mut [T]; 3] {
        self.factors.current = false;
        [self.transitions.data_mut(), &mut self.start, &mut self.end]
    }

    /// The entries of `transitions`, row by row.
    pub(crate) fn transitions_to(&self, to: &mut [T]) {
        self.transitions.copy_gates_to(to, 1, self.classes());
    }

    fn classes(&self) -> usize {
        self.transitions.view().rows()
    }

    /// Makes the factors of the transitions, if they have changed. [`Scratch::marginals`] takes them.
    #[inline(always)]
    pub(crate) fn prepare<S: Simd>(&mut self, simd: S) {
        if self.factors.current {
            return;
        }
        let classes = self.classes();
        let Factors { current, rows, largest, apart } = &mut self.factors;
        if rows.cols() == 0 {
            *rows = Matrix::zeros(classes, classes);
            apart.resize(classes, false);
        }
        grow(largest, padded::<T>(classes));
        simd.vectorize(
            #[inline(always)]
            || {
                for i in 0..classes {
                    let row = rows.row_mut(i);
                    row.copy_from_slice(self.transitions.row(i));
                    row[classes..].fill(T::from_f64(f64::NEG_INFINITY));
                    (largest[i], _) = kernel::exp_from_largest(simd, row);
                    let transitions = &self.transitions.row(i)[..classes];
                    apart[i] = range(transitions, largest[i]) > widest();
                }
            },
        );
        *current = true;
    }

    /// `row = e^(transitions[i] + g - largest of them)`. Returns the largest number, and the sum of the exponentials.
    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, i: usize, g: &[T], row: &mut [T]) -> (T, T) {
        row.copy_from_slice(self.transitions.row(i));
        kernel::add(simd, g, row);
        kernel::exp_from_largest(simd, row)
    }
}

/// Memory for rows of classes; grows and stays.
pub(crate) struct Scratch<T> {
    beta: Buffer<T>,
    row: Buffer<T>,
    next: Buffer<T>,
    /// `[words, classes]`: `e^(g - largest of g)`, of each word.
    factors: Buffer<T>,
    /// `[words, classes]`: the sums over the next labels; then what the rows that are not apart are multiplied by.
    sums: Buffer<T>,
    /// `[words, classes]`: whether a row is apart.
    apart: Vec<bool>,
    /// `[classes, classes]`: the sum over the words of those multipliers times their factors.
    products: Matrix<T>,
    /// The label before each label of each word on its best path.
    before: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch {
            beta: buffer(),
            row: buffer(),
            next: buffer(),
            factors: buffer(),
            sums: buffer(),
            apart: Vec::new(),
            products: Matrix::zeros(0, 0),
            before: buffer(),
        }
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
        assert!(crf.factors.current, "the factors of the transitions are made");
        let classes = crf.classes();
        let (width, stride) = (padded::<T>(classes), row_stride::<T>(classes));
        let words = s.len() / stride;
        let Scratch { beta, row, next, factors, sums, apart, products, .. } = self;
        let [beta, row, next] = [beta, row, next].map(|memory| grow(memory, width));
        let [factors, sums] = [factors, sums].map(|memory| grow(memory, words * stride));
        apart.resize(apart.len().max(words * classes), false);
        let of_crf = &crf.factors;
        let mut loss = T::zero();
        simd.vectorize(
            #[inline(always)]
            || {
                beta.copy_from_slice(&crf.end);
                for t in (0..words).rev() {
                    let g = &mut s[t * stride..][..width];
                    kernel::add(simd, beta, g);
                    if t == 0 {
                        break;
                    }
                    let factors = &mut factors[t * stride..][..width];
                    factors.copy_from_slice(g);
                    let (largest, _) = kernel::exp_from_largest(simd, factors);
                    let is_wide = range(&g[..classes], largest) > widest();
                    let sums = &mut sums[t * stride..][..width];
                    sums.fill(T::zero());
                    let (of_word, to) = (View::new(factors, 1, width, width, 1), &mut *sums);
                    let to = ViewMut::new(to, 1, width, width);
                    Backwards::Rows(of_crf.rows.view_padded()).product(simd, t, of_word, to);
                    let apart = &mut apart[t * classes..][..classes];
                    for i in 0..classes {
                        apart[i] = of_crf.apart[i] || is_wide || sums[i] < least_sum();
                        beta[i] = of_crf.largest[i] + largest;
                        if apart[i] {
                            (beta[i], sums[i]) = crf.row(simd, i, g, row);
                        }
                    }
                    beta[classes..].fill(T::from_f64(f64::NEG_INFINITY));
                    sums[classes..].fill(T::one());
                    row.copy_from_slice(sums);
                    kernel::ln(simd, row);
                    kernel::add(simd, row, beta);
                    kernel::shift(simd, beta);
                }

                let first = &mut s[..width];
                kernel::add(simd, &crf.start, first);
                let logit = gold.as_ref().map_or(T::zero(), |(labels, _)| first[labels[0] as usize]);
                let (largest, log_sum) = kernel::softmax(simd, first);
                loss = log_sum + (largest - logit);
                for t in 1..words {
                    let (before, g) = s.split_at_mut(t * stride);
                    let (before, g) = (&before[(t - 1) * stride..][..width], &mut g[..width]);
                    let multipliers = &mut sums[t * stride..][..width];
                    for (of_row, before) in multipliers.iter_mut().zip(before) {
                        *of_row = *before / *of_row;
                    }
                    let apart = &mut apart[t * classes..][..classes];
                    if let Some((labels, _)) = &gold {
                        // 1 is subtracted from one of its probabilities, which may be close to it.
                        apart[labels[t - 1] as usize] = true;
                    }
                    next.fill(T::zero());
                    for i in (0..classes).filter(|i| apart[*i]) {
                        let (largest, sum) = crf.row(simd, i, g, row);
                        let factor = before[i] * (T::one() / sum);
                        multipliers[i] = T::zero();
                        kernel::add_scaled(simd, factor, row, next);
                        if let Some((labels, pairs)) = &mut gold {
                            kernel::add_scaled(simd, factor, row, pairs.row_mut(i));
                            if labels[t - 1] as usize == i {
                                let label = labels[t] as usize;
                                let logit = crf.transitions.row(i)[label] + g[label];
                                loss += sum.ln() + (largest - logit);
                                pairs.row_mut(i)[label] -= T::one();
                            }
                        }
                    }
                    let (of_rows, sum) = (View::new(multipliers, 1, classes, width, 1), &mut *row);
                    sum.fill(T::zero());
                    kernel::product(simd, of_rows, of_crf.rows.view(), ViewMut::new(sum, 1, width, width));
                    g.copy_from_slice(next);
                    kernel::add_products(simd, sum, &factors[t * stride..][..width], g);
                }
            },
        );
        if let Some((_, pairs)) = gold.filter(|_| words > 1) {
            if products.cols() == 0 {
                *products = Matrix::zeros(classes, classes);
            }
            let rows = View::new(&sums[stride..], words - 1, classes, stride, 1).t();
            let factors = View::new(&factors[stride..], words - 1, width, stride, 1);
            kernel::product_onto(simd, rows, factors, products.view_mut(), Onto::Set);
            simd.vectorize(
                #[inline(always)]
                || kernel::add_products(simd, products.data(), of_crf.rows.data(), pairs.data_mut()),
            );
        }
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
