//! Several sequences side by side: the order in which their steps are computed together.

use std::cmp::Reverse;

use fearless_simd::Simd;

use crate::kernel;
use crate::matrix::{View, ViewMut};
use crate::num::Num;

/// Sequences sorted by length, the longest first, their rows packed step by step: row `rank` of step t is
/// row `offset(t) + rank`, and the sequences that have a step t are the first `active(t)`.
#[derive(Default)]
pub(crate) struct Packed {
    order: Vec<usize>,
    offsets: Vec<usize>,
}

impl Packed {
    /// Packs the sequences `from .. to`, of which `length` gives the number of steps.
    pub(crate) fn pack(&mut self, from: usize, to: usize, length: impl Fn(usize) -> usize) {
        self.order.clear();
        self.order.extend(from..to);
        self.order.sort_unstable_by_key(|i| (Reverse(length(*i)), *i));
        self.offsets.clear();
        self.offsets.push(0);
        let mut active = self.order.len();
        let mut rows = 0;
        for t in 0..self.order.first().map_or(0, |longest| length(*longest)) {
            while length(self.order[active - 1]) <= t {
                active -= 1;
            }
            rows += active;
            self.offsets.push(rows);
        }
    }

    /// The sequences by rank.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(crate) fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn rows(&self) -> usize {
        self.offsets[self.steps()]
    }

    pub(crate) fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    pub(crate) fn active(&self, t: usize) -> usize {
        self.offsets[t + 1] - self.offsets[t]
    }

    /// `(row, sequence, t)` of every row, in order.
    pub(crate) fn each_row(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.steps()).flat_map(move |t| {
            (0..self.active(t)).map(move |rank| (self.offset(t) + rank, self.order[rank], t))
        })
    }
}

/// What packed sequences have a row for at each step; dh0: what each sequence has one for.
pub(crate) struct Rows<B> {
    /// The states, `[rows, hidden]`.
    pub(crate) h: B,
    /// What the step before feeds back, `[rows, hidden]`, or in a Jordan network `[rows, classes]`.
    pub(crate) fed_back: B,
    /// Logits, then the derivatives by them, `[rows, classes]`.
    pub(crate) s: B,
    /// The derivatives by the hidden units before the sigmoid, `[rows, hidden]`.
    pub(crate) dz: B,
    /// The derivatives by h0, a row for each sequence by rank, as wide as `fed_back`.
    pub(crate) dh0: B,
}

/// One step of several sequences: `z = sigmoid(z + h_prev·wh)`, row by row.
#[inline(always)]
pub(crate) fn step<S: Simd, T: Num>(
    simd: S,
    t: usize,
    h_prev: View<'_, T>,
    wh: View<'_, T>,
    z: &mut [T],
    stride: usize,
) {
    let (rows, hidden) = (h_prev.rows(), wh.cols());
    if rows == 1 {
        return kernel::step(simd, t, h_prev.row(0), wh, &mut z[..hidden]);
    }
    kernel::product(simd, h_prev, wh, ViewMut::new(z, rows, hidden, stride));
    simd.vectorize(
        #[inline(always)]
        || z.chunks_mut(stride).take(rows).for_each(|row| kernel::sigmoid(simd, &mut row[..hidden])),
    );
}

/// All steps of packed sequences: `h[t] = sigmoid(z[t] + h[t-1]·wh)`, h written over z.
#[inline(always)]
pub(crate) fn forward<S: Simd, T: Num>(
    simd: S,
    packed: &Packed,
    h0: &[T],
    wh: View<'_, T>,
    z: &mut [T],
    stride: usize,
) {
    for t in 0..packed.steps() {
        let (before, now) = z.split_at_mut(packed.offset(t) * stride);
        let rows = packed.active(t);
        let h_prev = match t.checked_sub(1) {
            None => View::new(h0, rows, wh.rows(), 0, 1),
            Some(t) => View::new(&before[packed.offset(t) * stride..], rows, wh.rows(), stride, 1),
        };
        step(simd, t, h_prev, wh, now, stride);
    }
}

/// All steps backwards: `dz[t] = dh[t] ∘ h[t] ∘ (1 - h[t])`, written over dh, and `dh[t-1] += dz[t]·whᵀ`;
/// for t = 0 into `dh0`, a row for each sequence by rank. `wh` has its padding rows.
#[inline(always)]
pub(crate) fn backward<S: Simd, T: Num>(
    simd: S,
    packed: &Packed,
    wh: View<'_, T>,
    h: &[T],
    dh: &mut [T],
    dh0: &mut [T],
    stride: usize,
) {
    let hidden = wh.cols();
    for t in (0..packed.steps()).rev() {
        let (offset, rows) = (packed.offset(t), packed.active(t));
        let (before, now) = dh.split_at_mut(offset * stride);
        simd.vectorize(
            #[inline(always)]
            || {
                let h = h[offset * stride..].chunks(stride);
                for (now, h) in now.chunks_mut(stride).zip(h).take(rows) {
                    kernel::through_sigmoid(simd, &h[..hidden], &mut now[..hidden]);
                }
            },
        );
        let dh_prev = match t.checked_sub(1) {
            None => &mut *dh0,
            Some(t) => &mut before[packed.offset(t) * stride..],
        };
        if rows == 1 {
            kernel::dot_row(simd, t, &now[..hidden], wh, &mut dh_prev[..hidden]);
        } else {
            let now = View::new(now, rows, hidden, stride, 1);
            kernel::dot(simd, now, wh, ViewMut::new(dh_prev, rows, hidden, stride));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_packed_longest_first() {
        let lengths = [2, 1, 4, 2];
        let mut packed = Packed::default();
        packed.pack(0, 4, |i| lengths[i]);
        assert_eq!(packed.order(), [2, 0, 3, 1]);
        assert_eq!((packed.steps(), packed.rows()), (4, 9));
        assert_eq!((0..4).map(|t| packed.active(t)).collect::<Vec<_>>(), [4, 3, 1, 1]);
        let rows: Vec<_> = packed.each_row().collect();
        assert_eq!(rows[3..6], [(3, 1, 0), (4, 2, 1), (5, 0, 1)]);
        packed.pack(1, 2, |i| lengths[i]);
        assert_eq!(packed.each_row().collect::<Vec<_>>(), [(0, 1, 0)]);
    }
}
