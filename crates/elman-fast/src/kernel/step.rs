//! One step of the recurrence for one sequence.

use fearless_simd::{Simd, prelude::*};

use super::product::{load, store};
use crate::matrix::{Bf16Matrix, View};
use crate::num::Num;

/// Vectors of sums that a pass over the weights keeps in registers, at most: few, so that one pass's sigmoids
/// overlap with the next one's reads.
const fn vectors_of(native_lanes: usize) -> usize {
    match native_lanes {
        16 => 4,
        8 => 5,
        _ if cfg!(target_arch = "aarch64") => 5,
        _ => 3,
    }
}

/// `h = sigmoid(z + h_prev · wh)`: z is what the input and the bias give, `[hidden]` padded to whole
/// vectors, and h is written over it.
///
/// Each element is one chain over `h_prev` ascending, as in [`super::product`]. One sequence's step is bound
/// by reading wh from the second-level cache: each weight is used once. The passes go from left to right for
/// even `t` and back for odd ones, so that a step begins with the columns that the step before has left in
/// the first-level cache.
#[inline(always)]
pub(crate) fn step<S: Simd, T: Num>(simd: S, t: usize, h_prev: &[T], wh: View<'_, T>, z: &mut [T]) {
    simd.vectorize(
        #[inline(always)]
        || step_here(simd, t, h_prev, wh, z),
    );
}

#[inline(always)]
fn step_here<S: Simd, T: Num>(simd: S, t: usize, h_prev: &[T], wh: View<'_, T>, z: &mut [T]) {
    assert!(z.len() == wh.cols() && z.len().is_multiple_of(T::LANES));
    if wh.rows() * wh.row_stride() * size_of::<T>() > LARGE {
        return stream_here(simd, h_prev, wh, z);
    }
    let most = vectors_of(<S::f32s as SimdBase<S>>::LEN);
    let vectors = z.len() / T::LANES;
    let passes = vectors.div_ceil(most);
    for pass in 0..passes {
        let pass = if t.is_multiple_of(2) { pass } else { passes - 1 - pass };
        let (from, to) = (pass * vectors / passes * T::LANES, (pass + 1) * vectors / passes * T::LANES);
        let wh = wh.cols_from(from, to - from);
        let z = &mut z[from..to];
        macro_rules! by_vectors {
            ($($vectors:literal)*) => {
                match (to - from) / T::LANES {
                    $($vectors => pass_of::<S, T, $vectors>(simd, h_prev, wh, z),)*
                    vectors => unreachable!("a pass of {vectors} vectors"),
                }
            };
        }
        if const { <S::f32s as SimdBase<S>>::LEN == 16 } {
            by_vectors!(1 2 3 4);
        } else {
            by_vectors!(1 2 3 4 5);
        }
    }
}

/// Bytes of a matrix that the second-level cache cannot be expected to hold.
const LARGE: usize = 512 << 10;

/// [`step`] for a large matrix, which is read from beyond the second-level cache: some whole rows at a time, as
/// they lie in memory, so that the CPU reads ahead. The sums go to memory and back between rows.
#[inline(always)]
fn stream_here<S: Simd, T: Num>(simd: S, h_prev: &[T], wh: View<'_, T>, z: &mut [T]) {
    const ROWS: usize = 8;
    let depth = wh.rows();
    let whole = depth / ROWS * ROWS;
    for k in (0..whole).step_by(ROWS) {
        rows_of::<S, T, ROWS>(simd, &h_prev[k..], wh.rows_from(k, ROWS), z);
    }
    for k in whole..depth {
        rows_of::<S, T, 1>(simd, &h_prev[k..], wh.rows_from(k, 1), z);
    }
    for z in z.chunks_exact_mut(T::LANES) {
        T::sigmoid_each(simd, T::V::<S>::from_slice(simd, z)).store_slice(z);
    }
}

/// `z += h_prev · wh` for R rows of wh.
#[inline(always)]
fn rows_of<S: Simd, T: Num, const R: usize>(simd: S, h_prev: &[T], wh: View<'_, T>, z: &mut [T]) {
    let h: [T::V<S>; R] = std::array::from_fn(
        #[inline(always)]
        |r| T::V::<S>::splat(simd, h_prev[r]),
    );
    let rows: [&[T]; R] = std::array::from_fn(
        #[inline(always)]
        |r| &wh.row(r)[..z.len()],
    );
    for (v, z) in z.chunks_exact_mut(T::LANES).enumerate() {
        let mut sum = T::V::<S>::from_slice(simd, z);
        for r in 0..R {
            let weights = T::V::<S>::from_slice(simd, &rows[r][v * T::LANES..][..T::LANES]);
            sum = h[r].mul_add(weights, sum);
        }
        sum.store_slice(z);
    }
}

#[inline(always)]
fn pass_of<S: Simd, T: Num, const V: usize>(simd: S, h_prev: &[T], wh: View<'_, T>, z: &mut [T]) {
    let depth = wh.rows();
    assert!(h_prev.len() >= depth && wh.col_stride() == 1);
    assert!(wh.cols() == V * T::LANES && z.len() == V * T::LANES);
    let row = wh.row_stride();
    let (wh, z) = (wh.as_ptr(), z.as_mut_ptr());
    let mut sums = [T::V::<S>::splat(simd, T::zero()); V];
    // SAFETY: z has V vectors, and every row k < depth of wh has V vectors inside its slice (View::new), as
    // asserted above. z is borrowed mutably, so it overlaps neither h_prev nor wh.
    unsafe {
        for v in 0..V {
            sums[v] = load(simd, z.add(v * T::LANES));
        }
        for (k, h) in h_prev[..depth].iter().enumerate() {
            let h = T::V::<S>::splat(simd, *h);
            for v in 0..V {
                let weights: T::V<S> = load(simd, wh.add(k * row + v * T::LANES));
                sums[v] = h.mul_add(weights, sums[v]);
            }
        }
        for v in 0..V {
            store(T::sigmoid_each(simd, sums[v]), z.add(v * T::LANES));
        }
    }
}

/// [`step`] with wh in bf16, which is read in half the time; the sums are those of [`step`] with the rounded
/// weights. f32 only.
#[inline(always)]
pub(crate) fn step_bf16<S: Simd, T: Num>(simd: S, t: usize, h_prev: &[T], wh: &Bf16Matrix, z: &mut [T]) {
    simd.vectorize(
        #[inline(always)]
        || {
            assert!(T::LANES == 16 && z.len() == wh.vectors() * 16);
            let wide = const { <S::f32s as SimdBase<S>>::LEN == 16 };
            let most = if wide { 4 } else { 2 };
            let pairs = wh.vectors().div_ceil(2);
            let passes = pairs.div_ceil(most);
            for pass in 0..passes {
                let pass = if t.is_multiple_of(2) { pass } else { passes - 1 - pass };
                let (from, to) = (pass * pairs / passes, (pass + 1) * pairs / passes);
                let end = (to * 32).min(z.len());
                let z = &mut z[from * 32..end];
                match to - from {
                    1 => pass_bf16::<S, T, 1>(simd, h_prev, wh, from, z),
                    2 => pass_bf16::<S, T, 2>(simd, h_prev, wh, from, z),
                    3 => pass_bf16::<S, T, 3>(simd, h_prev, wh, from, z),
                    4 => pass_bf16::<S, T, 4>(simd, h_prev, wh, from, z),
                    pairs => unreachable!("a pass of {pairs} pairs"),
                }
            }
        },
    );
}

/// P pairs of vectors; of the last pair of the row the second may be missing.
#[inline(always)]
fn pass_bf16<S: Simd, T: Num, const P: usize>(
    simd: S,
    h_prev: &[T],
    wh: &Bf16Matrix,
    from: usize,
    z: &mut [T],
) {
    let mut sums = [[T::V::<S>::splat(simd, T::zero()); 2]; P];
    for (v, z) in z.chunks_exact(T::LANES).enumerate() {
        sums[v / 2][v % 2] = T::V::<S>::from_slice(simd, z);
    }
    for (k, h) in h_prev[..wh.rows()].iter().enumerate() {
        let h = T::V::<S>::splat(simd, *h);
        let row: &[[u32; 16]; P] = wh.row(k)[from..from + P].try_into().expect("P pairs");
        for p in 0..P {
            let (first, second) = T::unpack_bf16(simd, &row[p]);
            sums[p][0] = h.mul_add(first, sums[p][0]);
            sums[p][1] = h.mul_add(second, sums[p][1]);
        }
    }
    for (v, z) in z.chunks_exact_mut(T::LANES).enumerate() {
        T::sigmoid_each(simd, sums[v / 2][v % 2]).store_slice(z);
    }
}
