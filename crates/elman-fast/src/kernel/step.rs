//! One step of the recurrence for one sequence.

use fearless_simd::{Simd, prelude::*};

use super::product::{load, store};
use crate::matrix::{Bf16Matrix, View};
use crate::num::Num;

/// Vectors of sums that a pass over the weights keeps in registers, at most: few where the matrix is read
/// from the second-level cache, so that one pass's sigmoids overlap with the next one's reads; more where it
/// is read from the third.
const fn vectors_of(native_lanes: usize, small: bool) -> usize {
    match native_lanes {
        16 if small => 4,
        16 => 8,
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
    let small = wh.rows() * wh.row_stride() * size_of::<T>() <= 512 << 10;
    let most = vectors_of(<S::f32s as SimdBase<S>>::LEN, small);
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
            by_vectors!(1 2 3 4 5 6 7 8);
        } else {
            by_vectors!(1 2 3 4 5);
        }
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
