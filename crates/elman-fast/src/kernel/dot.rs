//! `C += A · Wᵀ` with W read along its rows, as it lies.

use fearless_simd::{Simd, prelude::*};

use super::product::{load, product, store};
use crate::exact::Factors;
use crate::isa::ONLY_EXACT;
use crate::matrix::{View, ViewMut};
use crate::num::{Num, is_exact};

/// `C[r, k] += sum over j of A[r, j] · W[k, j]`.
///
/// Each sum is LANES chains (lane i takes the j with `j % LANES == i`, ascending) and a balanced tree over
/// the lanes; then it is added to C. `A.cols()` and `W.cols()` must be equal and a multiple of LANES.
#[inline(always)]
pub(crate) fn dot<S: Simd, T: Num>(simd: S, a: View<'_, T>, w: View<'_, T>, c: ViewMut<'_, T>) {
    assert_eq!((a.rows(), a.cols(), a.col_stride()), (c.rows(), w.cols(), 1), "shape of A");
    let blocks = Blocks { count: 1, a: 0, w: 0 };
    dot_blocks(
        simd,
        #[inline(always)]
        |r| &a.row(r)[..a.cols()],
        w,
        blocks,
        c,
    );
}

/// [`dot`] for one row, as the backward step of one sequence needs it: bound by reading W from the
/// second-level cache, so the rows of W are taken from the first for even `t` and from the last for odd ones,
/// which the step before has left in the first-level cache. The sums are the same.
#[inline(always)]
fn dot_row<S: Simd, T: Num>(simd: S, t: usize, a: &[T], w: View<'_, T>, c: &mut [T]) {
    simd.vectorize(
        #[inline(always)]
        || {
            assert_eq!((w.rows(), w.cols(), c.len() % T::LANES), (c.len(), a.len(), 0), "shape of W");
            let groups = c.len() / T::LANES;
            for group in 0..groups {
                let k = if t.is_multiple_of(2) { group } else { groups - 1 - group } * T::LANES;
                let w = w.rows_from(k, T::LANES);
                let c = ViewMut::new(&mut c[k..k + T::LANES], 1, T::LANES, T::LANES);
                let blocks = Blocks { count: 1, a: 0, w: 0 };
                dot_here(
                    simd,
                    #[inline(always)]
                    |_| a,
                    w,
                    blocks,
                    c,
                );
            }
        },
    );
}

/// The weights W of a product backwards, `C += A · Wᵀ`.
#[derive(Clone, Copy)]
pub(crate) enum Backwards<'a, T> {
    /// W as it lies, with its rows of padding: each sum is that of [`dot`].
    Rows(View<'a, T>),
    /// A copy of Wᵀ, which pays where there are many rows of A: each sum is one chain.
    Transposed(View<'a, T>),
}

impl<T: Num> Backwards<'_, T> {
    /// `C += A · Wᵀ`, for step `t` of a sequence.
    #[inline(always)]
    pub(crate) fn product<S: Simd>(self, simd: S, t: usize, a: View<'_, T>, mut c: ViewMut<'_, T>) {
        match self {
            Backwards::Rows(w) if a.rows() == 1 => {
                let cols = c.cols();
                dot_row(simd, t, &a.row(0)[..a.cols()], w, &mut c.as_mut_slice()[..cols]);
            }
            Backwards::Rows(w) => dot(simd, a, w, c),
            Backwards::Transposed(w) => product(simd, a, w, c),
        }
    }
}

/// How a sum runs over several blocks of A and W.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    /// Number of blocks.
    pub(crate) count: usize,
    /// Columns of A from one block to the *previous* one: block o of W meets block `count - 1 - o` of A.
    pub(crate) a: usize,
    /// Rows of W from one block to the next.
    pub(crate) w: usize,
}

/// `C[r, k] += sum over o < count and j < width of A[r, (count - 1 - o) · a + j] · W[k + o · w, j]`, where
/// width is `W.cols()` and `a_row(r)` is row r of A, `(count - 1) · a + width` long.
///
/// This is the gradient of the embeddings: what a word's embedding did through each position of the window,
/// the sum over window and hidden units in one.
#[inline(always)]
pub(crate) fn dot_blocks<'a, S: Simd, T: Num>(
    simd: S,
    a_row: impl Fn(usize) -> &'a [T],
    w: View<'_, T>,
    blocks: Blocks,
    c: ViewMut<'_, T>,
) {
    simd.vectorize(
        #[inline(always)]
        || dot_here(simd, a_row, w, blocks, c),
    );
}

#[inline(always)]
fn dot_here<'a, S: Simd, T: Num>(
    simd: S,
    a_row: impl Fn(usize) -> &'a [T],
    w: View<'_, T>,
    blocks: Blocks,
    mut c: ViewMut<'_, T>,
) {
    let (rows, cols) = (c.rows(), c.cols());
    assert!(blocks.count > 0);
    let last = blocks.count - 1;
    assert_eq!(w.rows(), cols + last * blocks.w, "rows of W");
    // So many rows of W at once that they stay in the second-level cache while the rows of A pass.
    let at_once = ((256 << 10) / (w.row_stride() * size_of::<T>() * blocks.count)).max(1);
    let at_once = at_once.next_multiple_of(T::LANES);
    let wide = const { <S::f32s as SimdBase<S>>::LEN == 16 };
    let mut from = 0;
    while from < cols {
        let to = (from + at_once).min(cols);
        let mut r = 0;
        while r < rows {
            // As many rows at once as leave LANES sums for a tile: 4 x 4, 2 x 8, 1 x 16 in f32.
            let tile_rows = match rows - r {
                1 => 1,
                _ if ONLY_EXACT => 1,
                2 | 3 => 2,
                _ if wide => 4,
                _ => 2,
            };
            // A's rows r .. r + tile_rows (those beyond are not used).
            let mut a = [a_row(r); 4];
            for i in 1..tile_rows {
                a[i] = a_row(r + i);
            }
            let mut c = c.reborrow().rows_from(r, tile_rows);
            let mut k = from;
            while k < to {
                let columns = (T::LANES / tile_rows).min(to - k);
                let w = w.rows_from(k, columns + last * blocks.w);
                let c = c.reborrow().cols_from(k, columns);
                match (wide, tile_rows, T::LANES) {
                    (true, 1, 16) => tile::<S, T, 1, 16, 1>(simd, &a, w, blocks, c),
                    (true, 2, 16) => tile::<S, T, 2, 8, 1>(simd, &a, w, blocks, c),
                    (true, 4, 16) => tile::<S, T, 4, 4, 1>(simd, &a, w, blocks, c),
                    (true, 1, 8) => tile::<S, T, 1, 8, 1>(simd, &a, w, blocks, c),
                    (true, 2, 8) => tile::<S, T, 2, 4, 1>(simd, &a, w, blocks, c),
                    (true, 4, 8) => tile::<S, T, 4, 2, 1>(simd, &a, w, blocks, c),
                    (false, 1, 16) => tile::<S, T, 1, 4, 4>(simd, &a, w, blocks, c),
                    (false, 2, 16) => tile::<S, T, 2, 2, 4>(simd, &a, w, blocks, c),
                    (false, 1, 8) => tile::<S, T, 1, 4, 2>(simd, &a, w, blocks, c),
                    (false, 2, 8) => tile::<S, T, 2, 2, 2>(simd, &a, w, blocks, c),
                    _ => unreachable!("a tile of {tile_rows} rows and vectors of {} lanes", T::LANES),
                }
                k += columns;
            }
            r += tile_rows;
        }
        from = to;
    }
}

/// R rows of A by up to J · P rows of W, where R · J · P = LANES. P passes take J rows each, so that the sums
/// stay in registers: first the rows 0, P, 2P, ..., then 1, P + 1, ...; in this order the tree over the lanes
/// is the same for every P.
#[inline(always)]
fn tile<S: Simd, T: Num, const R: usize, const J: usize, const P: usize>(
    simd: S,
    a: &[&[T]; 4],
    w: View<'_, T>,
    blocks: Blocks,
    mut c: ViewMut<'_, T>,
) {
    let columns = c.cols();
    let last = blocks.count - 1;
    assert!(R * J * P == T::LANES && (1..=J * P).contains(&columns));
    let width = w.cols();
    assert!(a.iter().all(|row| row.len() >= last * blocks.a + width), "columns of A");
    assert_eq!((c.rows(), w.rows()), (R, columns + last * blocks.w));
    assert!(R <= 4 && width.is_multiple_of(T::LANES) && w.col_stride() == 1);
    let (w_row, c_row) = (w.row_stride(), c.row_stride());
    let slices = (a, w);
    let (a, w, c) = (a.map(<[T]>::as_ptr), w.as_ptr(), c.as_mut_ptr());
    let zero = T::V::<S>::splat(simd, T::zero());
    let mut folded = [zero; P];
    // SAFETY: the views hold every (row, column) of their sizes inside their slices (View::new). Read are
    // rows r < R of A (slices of that length) at columns (last - o) · blocks.a + j < last · blocks.a + width, and rows
    // min(k, columns - 1) + o · blocks.w < columns + last · blocks.w of W at columns j < width, j in whole
    // vectors; written are the rows and columns of C: all as asserted above. C is borrowed mutably, so it
    // overlaps neither.
    unsafe {
        for p in 0..P {
            // Where there are fewer rows of W, the last one is read again and its sums are dropped.
            let mut rows = [w; J];
            for i in 0..J {
                rows[i] = w.add((p + i * P).min(columns - 1) * w_row);
            }
            let mut sums = [[zero; J]; R];
            for o in 0..blocks.count {
                let block = (last - o) * blocks.a;
                if is_exact::<S>() {
                    let (depth, step) = (width / T::LANES, T::LANES);
                    for i in 0..J {
                        let row = (p + i * P).min(columns - 1) + o * blocks.w;
                        let b = slices.1.row(row);
                        for r in 0..R {
                            let factors =
                                Factors { depth, a: &slices.0[r][block..], a_step: step, b, b_step: step };
                            T::chains::<true>(factors, sums[r][i].as_mut_slice());
                        }
                    }
                    continue;
                }
                let mut j = 0;
                while j < width {
                    let mut x = [zero; R];
                    for r in 0..R {
                        x[r] = load(simd, a[r].add(block + j));
                    }
                    for i in 0..J {
                        let weights: T::V<S> = load(simd, rows[i].add(o * blocks.w * w_row + j));
                        for r in 0..R {
                            sums[r][i] = T::fma(simd, x[r], weights, sums[r][i]);
                        }
                    }
                    j += T::LANES;
                }
            }
            folded[p] = fold::<S, T>(sums.as_flattened_mut());
        }
        let sums = fold::<S, T>(&mut folded);
        if R == 1 && columns == T::LANES {
            return store(load::<S, T>(simd, c) + sums, c);
        }
        let sums = sums.as_slice().as_ptr();
        for r in 0..R {
            let c = c.add(r * c_row);
            if columns == J * P {
                for k in 0..J * P {
                    *c.add(k) += *sums.add(r * J * P + k);
                }
            } else {
                for k in 0..columns {
                    *c.add(k) += *sums.add(r * J * P + k);
                }
            }
        }
    }
}

/// Adds halves of vectors, two at a time, until one is left (its length a power of two).
#[inline(always)]
fn fold<S: Simd, T: Num>(v: &mut [T::V<S>]) -> T::V<S> {
    let mut n = v.len() / 2;
    while n > 0 {
        for i in 0..n {
            v[i] = T::add_halves::<S>(v[i], v[i + n]);
        }
        n /= 2;
    }
    v[0]
}
