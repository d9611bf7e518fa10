//! One step of the recurrence for one sequence.

use fearless_simd::{Simd, prelude::*};

use super::product::{load, store};
use crate::exact::Factors;
use crate::isa::{ONLY_EXACT, second_level_cache};
use crate::matrix::View;
use crate::num::{Num, is_exact};
use crate::unit::{Function, Identity};

/// Vectors of sums that a pass over the weights keeps in registers, at most: few, so that one pass's sigmoids
/// overlap with the next one's reads.
const fn vectors_of(native_lanes: usize) -> usize {
    match native_lanes {
        _ if ONLY_EXACT => 1,
        16 => 4,
        8 => 5,
        _ if cfg!(target_arch = "aarch64") => 5,
        _ => 3,
    }
}

/// `h = f(z + fed_back · wh)`: z is the part of the input and the bias, `[gates·hidden]` padded to whole vectors. For a
/// cell of several gates f is the [identity](crate::unit::Identity).
///
/// Each element is one chain over `fed_back` ascending, as in [`super::product`]. One sequence's step is bound
/// by reading wh from the second-level cache: each weight is used once. The passes go from left to right for
/// even `t` and back for odd ones, so that a step begins with the columns that the step before has left in
/// the first-level cache.
#[inline(always)]
pub(crate) fn step<S: Simd, T: Num>(
    simd: S,
    t: usize,
    fed_back: &[T],
    wh: View<'_, T>,
    z: &[T],
    h: &mut [T],
    f: impl Function,
) {
    assert_eq!(z.len(), h.len(), "as many states as sums");
    simd.vectorize(
        #[inline(always)]
        || {
            if is_large::<S, T>(wh) {
                h.copy_from_slice(z);
                return stream_here(simd, fed_back, wh, h, f);
            }
            // SAFETY: z can be read and h written for their common length.
            unsafe { step_here(simd, t, fed_back, wh, h.len(), (z.as_ptr(), h.as_mut_ptr()), f) }
        },
    );
}

/// `z += fed_back · wh`, as [`step`] computes it: for a cell of several gates.
#[inline(always)]
pub(crate) fn step_in_place<S: Simd, T: Num>(
    simd: S,
    t: usize,
    fed_back: &[T],
    wh: View<'_, T>,
    z: &mut [T],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            if is_large::<S, T>(wh) {
                return stream_here(simd, fed_back, wh, z, Identity);
            }
            let (len, z) = (z.len(), z.as_mut_ptr());
            // SAFETY: z can be read and written for its length; a pass reads its part of z before it writes it.
            unsafe { step_here(simd, t, fed_back, wh, len, (z, z), Identity) }
        },
    );
}

/// [`Isa::Exact`](crate::Isa::Exact) computes longer than it reads.
fn is_large<S: Simd, T: Num>(wh: View<'_, T>) -> bool {
    !is_exact::<S>() && wh.rows() * wh.row_stride() * size_of::<T>() > second_level_cache()
}

/// # Safety
/// `len` numbers must be readable from the first and writable to the second pointer, with no other reference to the
/// latter. They may be the same place.
#[inline(always)]
unsafe fn step_here<S: Simd, T: Num>(
    simd: S,
    t: usize,
    fed_back: &[T],
    wh: View<'_, T>,
    len: usize,
    (z, h): (*const T, *mut T),
    f: impl Function,
) {
    assert!(len == wh.cols() && len.is_multiple_of(T::LANES));
    assert!(fed_back.len() >= wh.rows() && wh.col_stride() == 1);
    let most = vectors_of(<S::f32s as SimdBase<S>>::LEN);
    let vectors = len / T::LANES;
    let passes = vectors.div_ceil(most);
    for pass in 0..passes {
        let pass = if t.is_multiple_of(2) { pass } else { passes - 1 - pass };
        let (from, to) = (pass * vectors / passes * T::LANES, (pass + 1) * vectors / passes * T::LANES);
        let wh = wh.cols_from(from, to - from);
        macro_rules! by_vectors {
            ($($vectors:literal)*) => {
                match (to - from) / T::LANES {
                    // SAFETY: the columns from .. to of z and h are inside their `len` numbers; wh has these
                    // columns in all its rows (View::new), and fed_back an entry for each row, as asserted above.
                    $($vectors => unsafe {
                        pass_of::<S, T, $vectors>(simd, fed_back, wh, (z.add(from), h.add(from)), f)
                    },)*
                    vectors => unreachable!("a pass of {vectors} vectors"),
                }
            };
        }
        if const { <S::f32s as SimdBase<S>>::LEN == 16 } {
            by_vectors!(1 2 3 4);
        } else if ONLY_EXACT {
            by_vectors!(1);
        } else {
            by_vectors!(1 2 3 4 5);
        }
    }
}

/// [`step`] for a large matrix, which is read from beyond the second-level cache: some whole rows at a time, as
/// they lie in memory, so that the CPU reads ahead. The sums go to memory and back between rows.
#[inline(always)]
fn stream_here<S: Simd, T: Num>(simd: S, fed_back: &[T], wh: View<'_, T>, z: &mut [T], f: impl Function) {
    const ROWS: usize = 8;
    let depth = wh.rows();
    let whole = depth / ROWS * ROWS;
    for k in (0..whole).step_by(ROWS) {
        rows_of::<S, T, ROWS>(simd, &fed_back[k..], wh.rows_from(k, ROWS), z);
    }
    for k in whole..depth {
        rows_of::<S, T, 1>(simd, &fed_back[k..], wh.rows_from(k, 1), z);
    }
    for z in z.chunks_exact_mut(T::LANES) {
        f.value::<S, T>(simd, T::V::<S>::from_slice(simd, z)).store_slice(z);
    }
}

/// `z += fed_back · wh` for R rows of wh.
#[inline(always)]
fn rows_of<S: Simd, T: Num, const R: usize>(simd: S, fed_back: &[T], wh: View<'_, T>, z: &mut [T]) {
    let h: [T::V<S>; R] = std::array::from_fn(
        #[inline(always)]
        |r| T::V::<S>::splat(simd, fed_back[r]),
    );
    let rows: [&[T]; R] = std::array::from_fn(
        #[inline(always)]
        |r| &wh.row(r)[..z.len()],
    );
    for (v, z) in z.chunks_exact_mut(T::LANES).enumerate() {
        let mut sum = T::V::<S>::from_slice(simd, z);
        for r in 0..R {
            let weights = T::V::<S>::from_slice(simd, &rows[r][v * T::LANES..][..T::LANES]);
            sum = T::fma(simd, h[r], weights, sum);
        }
        sum.store_slice(z);
    }
}

/// # Safety
/// V vectors must be readable from z and writable to h, and in each row of wh; fed_back must have an entry for each row.
#[inline(always)]
unsafe fn pass_of<S: Simd, T: Num, const V: usize>(
    simd: S,
    fed_back: &[T],
    wh: View<'_, T>,
    (z, h): (*const T, *mut T),
    f: impl Function,
) {
    let row = wh.row_stride();
    let depth = wh.rows();
    let (view, wh) = (wh, wh.as_ptr());
    let mut sums = [T::V::<S>::splat(simd, T::zero()); V];
    // SAFETY: the caller's promise.
    unsafe {
        for v in 0..V {
            sums[v] = load(simd, z.add(v * T::LANES));
        }
        if is_exact::<S>() {
            for v in 0..V {
                let b = view.cols_from(v * T::LANES, T::LANES).row(0);
                let factors = Factors { depth, a: fed_back, a_step: 1, b, b_step: row };
                T::chains::<false>(factors, sums[v].as_mut_slice());
            }
        } else {
            for (k, fed_back) in fed_back[..depth].iter().enumerate() {
                let fed_back = T::V::<S>::splat(simd, *fed_back);
                for v in 0..V {
                    let weights: T::V<S> = load(simd, wh.add(k * row + v * T::LANES));
                    sums[v] = T::fma(simd, fed_back, weights, sums[v]);
                }
            }
        }
        for v in 0..V {
            store(f.value::<S, T>(simd, sums[v]), h.add(v * T::LANES));
        }
    }
}
