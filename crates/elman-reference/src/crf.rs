//! The linear-chain conditional random field: the forward and the backward algorithm in log space, the gradient, and
//! Viterbi's algorithm.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1};
use elman::{Crf, Name, Params, Real};

use crate::layer::add;
use crate::linear::{log_sum_exp, negative_log_softmax, softmax, stack};

/// The sums over all labels of a sentence with the emissions `y`, `[T, classes]`, before a word and after it:
///
/// ```text
/// alpha[0][j] = start[j] + y[0][j]
/// alpha[t][j] = y[t][j] + ln sum over i of e^(alpha[t-1][i] + transitions[i, j])
/// beta[T-1][i] = end[i]
/// beta[t][i]  = ln sum over j of e^(transitions[i, j] + y[t+1][j] + beta[t+1][j])
/// ```
pub(crate) struct Chain<'a, T> {
    crf: Crf<'a, T>,
    y: ArrayView2<'a, T>,
    beta: Array2<T>,
    /// `s`, `[T, classes]`: the marginal probability of each label at each word, `softmax(alpha[t] + beta[t])`.
    pub(crate) s: Array2<T>,
}

impl<'a, T: Real> Chain<'a, T> {
    pub(crate) fn new(crf: Crf<'a, T>, y: ArrayView2<'a, T>) -> Self {
        let (words, classes) = y.dim();
        let (mut alpha, mut beta) = (Array2::zeros(y.raw_dim()), Array2::zeros(y.raw_dim()));
        alpha.row_mut(0).assign(&(&crf.start + &y.row(0)));
        for t in 1..words {
            for j in 0..classes {
                let paths = &alpha.row(t - 1) + &crf.transitions.column(j);
                alpha[[t, j]] = y[[t, j]] + log_sum_exp(&paths);
            }
        }
        beta.row_mut(words - 1).assign(&crf.end);
        for t in (0..words - 1).rev() {
            for i in 0..classes {
                let paths = &crf.transitions.row(i) + &y.row(t + 1) + beta.row(t + 1);
                beta[[t, i]] = log_sum_exp(&paths);
            }
        }
        let rows = alpha.rows().into_iter().zip(beta.rows());
        let s: Vec<_> = rows.map(|(alpha, beta)| softmax(&alpha + &beta)).collect();
        Chain { crf, y, beta, s: stack(&s, classes) }
    }

    /// The logarithms, up to a constant, of the probabilities of the labels of word t after label i: a softmax of
    /// `transitions[i, j] + y[t][j] + beta[t][j]`.
    fn after(&self, i: usize, t: usize) -> Array1<T> {
        &self.crf.transitions.row(i) + &self.y.row(t) + self.beta.row(t)
    }

    /// `-ln` of the probability of these labels: that of the first label, times that of each label after the one before.
    pub(crate) fn loss(&self, labels: &[u32]) -> T {
        let first = &self.crf.start + &self.y.row(0) + self.beta.row(0);
        let loss = negative_log_softmax(&first, labels[0] as usize);
        (1..labels.len()).fold(loss, |loss, t| {
            loss + negative_log_softmax(&self.after(labels[t - 1] as usize, t), labels[t] as usize)
        })
    }

    /// Adds `scale` times the gradient of the loss by the three tensors, over the last `steps` words. It is the
    /// probability of a label, or of a pair of labels, minus 1 where the sentence has it; that by `y` is `s - onehot`.
    pub(crate) fn add_gradient(&self, labels: &[u32], scale: T, steps: usize, grad: &mut Params<T>) {
        let words = labels.len();
        let without = |mut probabilities: Array1<T>, label: u32| {
            probabilities[label as usize] -= T::one();
            probabilities
        };
        let add_scaled =
            |to: ArrayViewMut1<'_, T>, part: Array1<T>| add(Some(to), part.mapv(|p| p * scale).view());
        for t in (1..words).filter(|t| *t >= words - steps) {
            for i in 0..self.y.ncols() {
                let mut pairs = softmax(self.after(i, t)).mapv(|p| self.s[[t - 1, i]] * p);
                if i == labels[t - 1] as usize {
                    pairs = without(pairs, labels[t]);
                }
                add_scaled(grad.matrix_mut(Name::Transitions).row_mut(i), pairs);
            }
        }
        for (name, t, counts) in [(Name::Start, 0, steps == words), (Name::End, words - 1, steps > 0)] {
            if let Some(to) = grad.vector_mut(name).filter(|_| counts) {
                add_scaled(to, without(self.s.row(t).to_owned(), labels[t]));
            }
        }
    }
}

/// The most probable labels:
///
/// ```text
/// best[0][j] = start[j] + y[0][j]
/// best[t][j] = y[t][j] + max over i of (best[t-1][i] + transitions[i, j])
/// ```
///
/// The last label has the largest `best[T-1][j] + end[j]`, and each label before it is the i of its maximum; of equal
/// ones the first.
pub(crate) fn viterbi<T: Real>(crf: Crf<'_, T>, y: ArrayView2<'_, T>) -> Vec<u32> {
    let mut best = &crf.start + &y.row(0);
    let mut before: Vec<Vec<usize>> = Vec::new();
    for y in y.rows().into_iter().skip(1) {
        let paths = crf.transitions.columns().into_iter().map(|transitions| &best + &transitions);
        let (labels, scores): (Vec<usize>, Vec<T>) = paths
            .map(|paths| {
                let label = argmax(paths.view());
                (label, paths[label])
            })
            .unzip();
        best = &y + &Array1::from(scores);
        before.push(labels);
    }
    let mut label = argmax((&best + &crf.end).view());
    let mut labels = vec![label as u32];
    for before in before.iter().rev() {
        label = before[label];
        labels.push(label as u32);
    }
    labels.reverse();
    labels
}

/// The index of the largest entry; of equal ones the first.
pub(crate) fn argmax<T: Real>(s: ArrayView1<'_, T>) -> usize {
    (1..s.len()).fold(0, |best, j| if s[j] > s[best] { j } else { best })
}
