//! What is done element by element, and the sums over one row.
//!
//! All slices are whole vectors long.

use fearless_simd::{Simd, prelude::*};

use crate::matrix::View;
use crate::num::Num;
use crate::unit::Function;

/// Applies `f` to each vector of a slice.
#[inline(always)]
fn map<S: Simd, T: Num>(simd: S, x: &mut [T], f: impl Fn(T::V<S>) -> T::V<S>) {
    let chunks = x.chunks_exact_mut(T::LANES);
    for x in chunks {
        f(T::V::<S>::from_slice(simd, x)).store_slice(x);
    }
}

/// `y = f(x, y)` for each vector of two slices of one length.
#[inline(always)]
fn zip<S: Simd, T: Num>(simd: S, x: &[T], y: &mut [T], f: impl Fn(T::V<S>, T::V<S>) -> T::V<S>) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.chunks_exact(T::LANES).zip(y.chunks_exact_mut(T::LANES)) {
        f(T::V::<S>::from_slice(simd, x), T::V::<S>::from_slice(simd, y)).store_slice(y);
    }
}

/// `x = f(x)`.
#[inline(always)]
pub(crate) fn apply<S: Simd, T: Num>(simd: S, f: impl Function, x: &mut [T]) {
    map(
        simd,
        x,
        #[inline(always)]
        |x| f.value::<S, T>(simd, x),
    );
}

/// `x = exp(x)`.
#[inline(always)]
pub(crate) fn exp<S: Simd, T: Num>(simd: S, x: &mut [T]) {
    map(
        simd,
        x,
        #[inline(always)]
        |x| T::exp_each(simd, x),
    );
}

/// `x = ln(x)`, of positive normal numbers.
#[inline(always)]
pub(crate) fn ln<S: Simd, T: Num>(simd: S, x: &mut [T]) {
    map(
        simd,
        x,
        #[inline(always)]
        |x| T::ln_each(simd, x),
    );
}

/// The largest number.
#[inline(always)]
fn largest<S: Simd, T: Num>(simd: S, x: &[T]) -> T {
    let mut largest = T::V::<S>::splat(simd, T::from_f64(f64::NEG_INFINITY));
    for x in x.chunks_exact(T::LANES) {
        largest = largest.max(T::V::<S>::from_slice(simd, x));
    }
    T::largest::<S>(largest)
}

/// `x = x - largest of x`.
#[inline(always)]
pub(crate) fn shift<S: Simd, T: Num>(simd: S, x: &mut [T]) {
    let shift = T::V::<S>::splat(simd, largest(simd, x));
    map(
        simd,
        x,
        #[inline(always)]
        |x| x - shift,
    );
}

/// `best[j] = max over i of (m[i, j] + v[i])`, and the first i of that maximum.
#[inline(always)]
pub(crate) fn largest_sums<S: Simd, T: Num>(
    simd: S,
    m: View<'_, T>,
    v: &[T],
    best: &mut [T],
    first: &mut [T],
) {
    /// Of N vectors from column j on.
    #[inline(always)]
    fn block<S: Simd, T: Num, const N: usize>(
        simd: S,
        (m, v): (View<'_, T>, &[T]),
        j: usize,
        (best, first): (&mut [T], &mut [T]),
    ) {
        let mut most = [T::V::<S>::splat(simd, T::from_f64(f64::NEG_INFINITY)); N];
        let mut place = [T::V::<S>::splat(simd, T::zero()); N];
        for i in 0..m.rows() {
            let row = &m.row(i)[j..][..N * T::LANES];
            let (v, number) = (T::V::<S>::splat(simd, v[i]), T::V::<S>::splat(simd, T::from_f64(i as f64)));
            for k in 0..N {
                let sum = T::V::<S>::from_slice(simd, &row[k * T::LANES..][..T::LANES]) + v;
                let better = sum.simd_gt(most[k]);
                most[k] = better.select(sum, most[k]);
                place[k] = better.select(number, place[k]);
            }
        }
        for k in 0..N {
            most[k].store_slice(&mut best[j + k * T::LANES..][..T::LANES]);
            place[k].store_slice(&mut first[j + k * T::LANES..][..T::LANES]);
        }
    }
    let mut j = 0;
    while j + 4 * T::LANES <= best.len() {
        block::<S, T, 4>(simd, (m, v), j, (best, first));
        j += 4 * T::LANES;
    }
    while j < best.len() {
        block::<S, T, 1>(simd, (m, v), j, (best, first));
        j += T::LANES;
    }
}

/// `x = factor · x`.
#[inline(always)]
pub(crate) fn scale<S: Simd, T: Num>(simd: S, factor: T, x: &mut [T]) {
    let factor = T::V::<S>::splat(simd, factor);
    map(
        simd,
        x,
        #[inline(always)]
        |x| x * factor,
    );
}

/// `y += x`.
#[inline(always)]
pub(crate) fn add<S: Simd, T: Num>(simd: S, x: &[T], y: &mut [T]) {
    zip(
        simd,
        x,
        y,
        #[inline(always)]
        |x, y| y + x,
    );
}

/// `y += factor · x`, in one rounding where multiply-add is fused.
#[inline(always)]
pub(crate) fn add_scaled<S: Simd, T: Num>(simd: S, factor: T, x: &[T], y: &mut [T]) {
    let factor = T::V::<S>::splat(simd, factor);
    zip(
        simd,
        x,
        y,
        #[inline(always)]
        |x, y| T::fma(simd, x, factor, y),
    );
}

/// `z += x ∘ y`, in one rounding where multiply-add is fused.
#[inline(always)]
pub(crate) fn add_products<S: Simd, T: Num>(simd: S, x: &[T], y: &[T], z: &mut [T]) {
    assert_eq!((x.len(), y.len()), (z.len(), z.len()));
    let factors = x.chunks_exact(T::LANES).zip(y.chunks_exact(T::LANES));
    for ((x, y), z) in factors.zip(z.chunks_exact_mut(T::LANES)) {
        let (x, y) = (T::V::<S>::from_slice(simd, x), T::V::<S>::from_slice(simd, y));
        T::fma(simd, x, y, T::V::<S>::from_slice(simd, z)).store_slice(z);
    }
}

/// `z = bias`, and to its first `width` numbers `+ sum over o of table[ids[o], o]`, the table being
/// `[ids, window, width]` with this stride between its rows: the input of a word from the projections of the words
/// around it.
#[inline(always)]
pub(crate) fn sum_rows<S: Simd, T: Num>(
    simd: S,
    bias: &[T],
    table: &[T],
    (width, stride): (usize, usize),
    window: usize,
    ids: impl Iterator<Item = usize>,
    z: &mut [T],
) {
    z.copy_from_slice(bias);
    for (o, id) in ids.enumerate() {
        add(simd, &table[(id * window + o) * stride..][..width], &mut z[..width]);
    }
}

/// `row = exp(row - largest of row)`. Returns the largest number, and the sum of the exponentials.
#[inline(always)]
pub(crate) fn exp_from_largest<S: Simd, T: Num>(simd: S, row: &mut [T]) -> (T, T) {
    let largest = largest(simd, row);
    let shift = T::V::<S>::splat(simd, largest);
    let mut sum = T::V::<S>::splat(simd, T::zero());
    for x in row.chunks_exact_mut(T::LANES) {
        let e = T::exp_each(simd, T::V::<S>::from_slice(simd, x) - shift);
        sum += e;
        e.store_slice(x);
    }
    (largest, T::fold::<S>(sum))
}

/// `row = softmax(row)`. Returns the largest logit and the logarithm of the softmax's denominator, so that
/// `-ln row[label] = log_sum + (largest - logit[label])` without leaving the numbers' range. Columns of padding must be
/// minus infinity.
#[inline(always)]
pub(crate) fn softmax<S: Simd, T: Num>(simd: S, row: &mut [T]) -> (T, T) {
    let (largest, sum) = exp_from_largest(simd, row);
    scale(simd, T::one() / sum, row);
    (largest, sum.ln())
}

/// From a row of logits the derivative of `-ln softmax(row)[label]` by the logits, times `scale`:
/// `scale · (softmax(row) - onehot(label))`, written over the row. Returns the loss.
#[inline(always)]
pub(crate) fn derive_softmax<S: Simd, T: Num>(simd: S, row: &mut [T], label: usize, scale_by: T) -> T {
    let logit = row[label];
    let (largest, log_sum) = softmax(simd, row);
    row[label] -= T::one();
    scale(simd, scale_by, row);
    log_sum + (largest - logit)
}

/// `dy += s ∘ (ds - sum of s ∘ ds)`: from the derivative by `s = softmax(y)` to that by y.
#[inline(always)]
pub(crate) fn through_softmax<S: Simd, T: Num>(simd: S, s: &[T], ds: &[T], dy: &mut [T]) {
    assert_eq!((s.len(), ds.len()), (dy.len(), dy.len()));
    let mut sum = T::V::<S>::splat(simd, T::zero());
    for (s, ds) in s.chunks_exact(T::LANES).zip(ds.chunks_exact(T::LANES)) {
        sum = T::fma(simd, T::V::<S>::from_slice(simd, s), T::V::<S>::from_slice(simd, ds), sum);
    }
    let mean = T::V::<S>::splat(simd, T::fold::<S>(sum));
    for ((s, ds), dy) in
        s.chunks_exact(T::LANES).zip(ds.chunks_exact(T::LANES)).zip(dy.chunks_exact_mut(T::LANES))
    {
        let from_mean = T::V::<S>::from_slice(simd, ds) - mean;
        let sum = T::V::<S>::from_slice(simd, dy);
        T::fma(simd, T::V::<S>::from_slice(simd, s), from_mean, sum).store_slice(dy);
    }
}

/// Divides by the Euclidean norm; zeros are left alone.
#[inline(always)]
pub(crate) fn normalise<S: Simd, T: Num>(simd: S, row: &mut [T]) {
    let mut sum = T::V::<S>::splat(simd, T::zero());
    for x in row.chunks_exact(T::LANES) {
        let x = T::V::<S>::from_slice(simd, x);
        sum = T::fma(simd, x, x, sum);
    }
    let norm = T::fold::<S>(sum).sqrt();
    if norm != T::zero() {
        let norm = T::V::<S>::splat(simd, norm);
        map(
            simd,
            row,
            #[inline(always)]
            |x| x / norm,
        );
    }
}

/// The index of the first largest of the numbers.
#[inline(always)]
pub(crate) fn argmax<T: Num>(row: &[T]) -> u32 {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    // As many classes as 32 bits can count, at most (Shape::check).
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_numbers_the_first_is_the_largest() {
        assert_eq!(argmax(&[1.0f32, 3.0, 3.0, 2.0]), 1);
        assert_eq!(argmax(&[0.0f64; 40]), 0);
        assert_eq!(argmax(&[-2.0f64, -1.0]), 1);
    }
}
