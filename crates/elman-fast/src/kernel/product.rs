//! `C += A · B`, B and C with adjacent columns, A with any strides.

use fearless_simd::{Simd, prelude::*};

use crate::exact::Factors;
use crate::isa::{ONLY_EXACT, second_level_cache};
use crate::matrix::{Panels, View, ViewMut};
use crate::num::{Num, is_exact};

/// Rows and vectors of columns of a tile, so that its sums stay in registers.
const fn tile_of(native_lanes: usize) -> (usize, usize) {
    match native_lanes {
        // Its chains are computed one by one.
        _ if ONLY_EXACT => (1, 1),
        16 => (12, 2),                                // 32 registers of a whole vector
        8 => (6, 1),                                  // 16 registers of half a vector
        _ if cfg!(target_arch = "aarch64") => (6, 1), // 32 registers of a quarter
        _ => (2, 1),
    }
}

/// Where the product goes. (Each element is one chain `sum = fma(a[r][k], b[k][j], sum)` for k ascending.)
#[derive(Clone, Copy)]
pub(crate) enum Onto<T> {
    /// `C += A·B`: the chain goes on from C.
    Add,
    /// `C = A·B`: the chain begins at 0; C is not read.
    Set,
    /// `C += factor · (A·B)`: the chain begins at 0, then `c = fma(sum, factor, c)`. A gradient that is applied and
    /// never stored, to the same bits as if it were.
    AddScaled(T),
}

/// `C[rows, cols] += A[rows, depth] · B[depth, cols]`.
///
/// Each element is one chain: `c = fma(a[r][k], b[k][j], c)` for k ascending, however the work is blocked.
/// `cols` must be a multiple of LANES.
#[inline(always)]
pub(crate) fn product<S: Simd, T: Num>(simd: S, a: View<'_, T>, b: View<'_, T>, c: ViewMut<'_, T>) {
    product_onto(simd, a, b, c, Onto::Add);
}

/// [`product`], but the result goes where `onto` says.
#[inline(always)]
pub(crate) fn product_onto<S: Simd, T: Num>(
    simd: S,
    a: View<'_, T>,
    b: View<'_, T>,
    c: ViewMut<'_, T>,
    onto: Onto<T>,
) {
    // Each is compiled by itself, so that the tile has no branches.
    match onto {
        Onto::Add => simd.vectorize(
            #[inline(always)]
            || product_here::<S, T, ADD>(simd, a, b, c, T::one()),
        ),
        Onto::Set => simd.vectorize(
            #[inline(always)]
            || product_here::<S, T, SET>(simd, a, b, c, T::one()),
        ),
        Onto::AddScaled(factor) => simd.vectorize(
            #[inline(always)]
            || product_here::<S, T, ADD_SCALED>(simd, a, b, c, factor),
        ),
    }
}

// The variants of `Onto` as constants.
const ADD: u8 = 0;
const SET: u8 = 1;
const ADD_SCALED: u8 = 2;

#[inline(always)]
fn product_here<S: Simd, T: Num, const ONTO: u8>(
    simd: S,
    a: View<'_, T>,
    b: View<'_, T>,
    mut c: ViewMut<'_, T>,
    factor: T,
) {
    let (rows, depth, cols) = (c.rows(), a.cols(), c.cols());
    assert_eq!((a.rows(), b.rows(), b.cols()), (rows, depth, cols), "shapes of a product");
    assert_eq!(b.col_stride(), 1, "columns of B are adjacent");
    assert_eq!(cols % T::LANES, 0, "columns are whole vectors");
    if rows == 0 {
        return;
    }
    let (max_rows, max_vectors) = const { tile_of(<S::f32s as SimdBase<S>>::LEN) };
    // Where the chains are short, reading and writing C decides: smaller tiles let the CPU fetch the next
    // while it computes this one (92 -> 102 GFLOP/s at [350, 11] · [11, 200]).
    let max_rows = if depth <= 64 { max_rows.min(6) } else { max_rows };
    // Blocks of depth and columns so small that B's block stays in the second-level cache while the rows
    // pass; a chain goes on from where it was stored.
    let large = depth * cols * size_of::<T>() > second_level_cache() && rows > max_rows;
    let block_depth = if large && ONTO != ADD_SCALED { 256 } else { depth };
    let tiles = rows.div_ceil(max_rows);
    let mut k = 0;
    loop {
        let block = block_depth.min(depth - k);
        for tile in 0..tiles {
            let (from, to) = (tile * rows / tiles, (tile + 1) * rows / tiles);
            let mut j = 0;
            while j < cols {
                let vectors = ((cols - j) / T::LANES).min(max_vectors);
                let a = a.rows_from(from, to - from).cols_from(k, block);
                let b = b.rows_from(k, block).cols_from(j, vectors * T::LANES);
                let c = c.reborrow().rows_from(from, to - from).cols_from(j, vectors * T::LANES);
                if ONTO == SET && k > 0 {
                    tile_rows::<S, T, ADD>(simd, a, b, c, factor);
                } else {
                    tile_rows::<S, T, ONTO>(simd, a, b, c, factor);
                }
                j += vectors * T::LANES;
            }
        }
        k += block;
        if k >= depth {
            break;
        }
    }
}

/// [`product`] with B in panels, each of which stays in the second-level cache while the rows pass. The same bits.
#[inline(always)]
pub(crate) fn product_panels<S: Simd, T: Num>(
    simd: S,
    a: View<'_, T>,
    b: Panels<'_, T>,
    mut c: ViewMut<'_, T>,
) {
    assert_eq!((a.rows(), b.rows(), b.cols()), (c.rows(), a.cols(), c.cols()), "shapes of a product");
    assert_eq!(c.cols() % T::LANES, 0, "columns are whole vectors");
    let (max_rows, max_vectors) = const { tile_of(<S::f32s as SimdBase<S>>::LEN) };
    let (rows, tiles) = (c.rows(), c.rows().div_ceil(max_rows));
    simd.vectorize(
        #[inline(always)]
        || {
            let mut j = 0;
            while j < b.cols() {
                let part = b.part(j, max_vectors);
                for tile in 0..tiles {
                    let (from, to) = (tile * rows / tiles, (tile + 1) * rows / tiles);
                    let a = a.rows_from(from, to - from);
                    let c = c.reborrow().rows_from(from, to - from).cols_from(j, part.cols());
                    tile_rows::<S, T, ADD>(simd, a, part, c, T::one());
                }
                j += part.cols();
            }
        },
    );
}

/// Chooses the tile's size.
#[inline(always)]
fn tile_rows<S: Simd, T: Num, const ONTO: u8>(
    simd: S,
    a: View<'_, T>,
    b: View<'_, T>,
    c: ViewMut<'_, T>,
    factor: T,
) {
    macro_rules! by_rows {
        ($vectors:literal: $($rows:literal)*) => {
            match c.rows() {
                $($rows => tile::<S, T, $rows, $vectors, ONTO>(simd, a, b, c, factor),)*
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    let two = c.cols() == 2 * T::LANES;
    match const { tile_of(<S::f32s as SimdBase<S>>::LEN) } {
        (12, 2) if two => by_rows!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
        (12, 2) => by_rows!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
        (6, 1) => by_rows!(1: 1 2 3 4 5 6),
        (1, 1) => by_rows!(1: 1),
        _ => by_rows!(1: 1 2),
    }
}

/// One tile of R rows and V vectors of columns.
#[inline(always)]
fn tile<S: Simd, T: Num, const R: usize, const V: usize, const ONTO: u8>(
    simd: S,
    a: View<'_, T>,
    b: View<'_, T>,
    mut c: ViewMut<'_, T>,
    factor: T,
) {
    let depth = a.cols();
    assert_eq!((a.rows(), c.rows(), b.rows()), (R, R, depth));
    assert_eq!((b.cols(), c.cols(), b.col_stride()), (V * T::LANES, V * T::LANES, 1));
    let (a_row, a_col, b_row, c_row) = (a.row_stride(), a.col_stride(), b.row_stride(), c.row_stride());
    let views = (a, b);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let mut sums = [[T::V::<S>::splat(simd, T::zero()); V]; R];
    // SAFETY: the views hold every (row, column) of their sizes inside their slices (View::new), and the
    // sizes are those asserted above: r < R rows of A and C, k < depth columns of A and rows of B, and
    // V vectors of adjacent columns of B and C. C is borrowed mutably, so it overlaps neither.
    unsafe {
        if ONTO == ADD {
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = load(simd, c.add(r * c_row + v * T::LANES));
                }
            }
        }
        if is_exact::<S>() {
            for r in 0..R {
                for v in 0..V {
                    let a = views.0.rows_from(r, 1).row(0);
                    let b = views.1.cols_from(v * T::LANES, T::LANES).row(0);
                    let factors = Factors { depth, a, a_step: a_col, b, b_step: b_row };
                    T::chains::<false>(factors, sums[r][v].as_mut_slice());
                }
            }
        } else {
            for k in 0..depth {
                let mut weights = [T::V::<S>::splat(simd, T::zero()); V];
                for v in 0..V {
                    weights[v] = load(simd, b.add(k * b_row + v * T::LANES));
                }
                for r in 0..R {
                    let x = T::V::<S>::splat(simd, *a.add(r * a_row + k * a_col));
                    for v in 0..V {
                        sums[r][v] = T::fma(simd, x, weights[v], sums[r][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let c = c.add(r * c_row + v * T::LANES);
                let result = if ONTO == ADD_SCALED {
                    T::fma(simd, sums[r][v], T::V::<S>::splat(simd, factor), load(simd, c))
                } else {
                    sums[r][v]
                };
                store(result, c);
            }
        }
    }
}

/// Reads a vector.
///
/// # Safety
/// LANES numbers must be readable from `from`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, T: Num>(simd: S, from: *const T) -> T::V<S> {
    // SAFETY: the caller's promise.
    T::V::<S>::from_slice(simd, unsafe { std::slice::from_raw_parts(from, T::LANES) })
}

/// Writes a vector.
///
/// # Safety
/// LANES numbers must be writable from `to`, and no reference to them may live.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, V: SimdBase<S>>(vector: V, to: *mut V::Element) {
    // SAFETY: the caller's promise.
    vector.store_slice(unsafe { std::slice::from_raw_parts_mut(to, V::LEN) });
}

/// [`product`] through matrixmultiply, which blocks for the caches: for large shapes.
pub(crate) fn gemm<T: Num>(a: View<'_, T>, b: View<'_, T>, mut c: ViewMut<'_, T>) {
    let (rows, depth, cols) = (c.rows(), a.cols(), c.cols());
    assert_eq!((a.rows(), b.rows(), b.cols()), (rows, depth, cols), "shapes of a product");
    let stride = |n: usize| isize::try_from(n).expect("a stride inside a slice");
    let (a_strides, b_strides) =
        ([stride(a.row_stride()), stride(a.col_stride())], [stride(b.row_stride()), stride(b.col_stride())]);
    let c_strides = [stride(c.row_stride()), 1];
    // SAFETY: the views hold every (row, column) of their sizes inside their slices (View::new), the sizes
    // are those asserted above, and C is borrowed mutably, so it overlaps neither A nor B.
    unsafe {
        T::gemm([rows, depth, cols], a.as_ptr(), a_strides, b.as_ptr(), b_strides, c.as_mut_ptr(), c_strides)
    }
}
