//! Memory: aligned buffers, padded matrices, and the checked views that the kernels read and write.

use aligned_vec::{AVec, ConstAlign};
use elman::ndarray::{ArrayView1, ArrayView2};

use crate::num::Num;

/// Numbers aligned to a cache line.
pub(crate) type Buffer<T> = AVec<T, ConstAlign<64>>;

/// An empty buffer.
pub(crate) fn buffer<T>() -> Buffer<T> {
    AVec::new(0)
}

/// The first `len` numbers of a buffer that grows when it must and never shrinks; their content is whatever
/// was there before.
pub(crate) fn grow<T: Num>(buffer: &mut Buffer<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zero());
    }
    &mut buffer[..len]
}

/// `n` rounded up to whole vectors.
pub(crate) fn padded<T: Num>(n: usize) -> usize {
    n.next_multiple_of(T::LANES)
}

/// The distance between rows of `cols` numbers: whole vectors, and no multiple of 4 KiB, at which all rows
/// would share one set of the first-level cache.
pub(crate) fn row_stride<T: Num>(cols: usize) -> usize {
    let stride = padded::<T>(cols);
    if (stride * size_of::<T>()).is_multiple_of(4096) { stride + T::LANES } else { stride }
}

/// A row-major matrix whose rows and columns are padded with zeros to whole vectors.
///
/// Kernels compute whole vectors; that the padding stays zero (or, in a bias, what it was made of) is what
/// lets them.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<T> {
    data: Buffer<T>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<T: Num> Matrix<T> {
    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Matrix::zeros_in(buffer(), rows, cols)
    }

    /// [`Matrix::zeros`] in the memory of a buffer.
    pub(crate) fn zeros_in(mut data: Buffer<T>, rows: usize, cols: usize) -> Self {
        data.clear();
        data.resize(Matrix::<T>::size(rows, cols), T::zero());
        Matrix { data, rows, cols, stride: row_stride::<T>(cols) }
    }

    /// The numbers that a matrix with its padding takes.
    pub(crate) fn size(rows: usize, cols: usize) -> usize {
        padded::<T>(rows) * row_stride::<T>(cols)
    }

    pub(crate) fn into_data(self) -> Buffer<T> {
        self.data
    }

    pub(crate) fn from_array(array: ArrayView2<'_, T>) -> Self {
        let mut matrix = Matrix::zeros(array.nrows(), array.ncols());
        matrix.copy_from(array);
        matrix
    }

    /// Takes the entries of an array of the same shape.
    pub(crate) fn copy_from(&mut self, array: ArrayView2<'_, T>) {
        assert_eq!((self.rows, self.cols), array.dim(), "shape of the copied array");
        for (row, source) in self.data.chunks_exact_mut(self.stride).zip(array.rows()) {
            let row = &mut row[..source.len()];
            match source.as_slice() {
                Some(source) => row.copy_from_slice(source),
                None => row.iter_mut().zip(source).for_each(|(to, from)| *to = *from),
            }
        }
    }

    /// Writes the entries, without the padding, into a row-major slice.
    pub(crate) fn copy_to(&self, target: &mut [T]) {
        for (target, row) in target.chunks_exact_mut(self.cols).zip(self.data.chunks_exact(self.stride)) {
            target.copy_from_slice(&row[..self.cols]);
        }
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn data(&self) -> &[T] {
        &self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// A row with its padding, in whole vectors.
    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.stride..][..padded::<T>(self.cols)]
    }

    /// A row with its padding, in whole vectors.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.stride..][..padded::<T>(self.cols)]
    }

    /// The rows without padding, the columns with it.
    pub(crate) fn view(&self) -> View<'_, T> {
        View::new(&self.data, self.rows, padded::<T>(self.cols), self.stride, 1)
    }

    /// Rows and columns with their padding.
    pub(crate) fn view_padded(&self) -> View<'_, T> {
        View::new(&self.data, padded::<T>(self.rows), padded::<T>(self.cols), self.stride, 1)
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        let cols = padded::<T>(self.cols);
        ViewMut::new(&mut self.data, self.rows, cols, self.stride)
    }
}

/// A matrix with 8 bits of mantissa, 16 columns and the next 16 in one vector of words: half the memory to
/// read.
pub(crate) struct Bf16Matrix {
    /// `[rows, pairs, 16]`. Column 32·pair + i is a bf16 number in the lower half of word i. Column
    /// 32·pair + 16 + i is the whole word as an f32, which spares the kernel a mask: the lower half stands
    /// where bits of its mantissa do that bf16 does not have, and the upper half is chosen such that the word
    /// is as near as possible, within half a unit of bf16. Where there is no such column the upper half is that of
    /// 1: with 0 the word would be a subnormal number, which some CPUs multiply a hundred times slower.
    data: Buffer<u32>,
    rows: usize,
    vectors: usize,
}

impl Bf16Matrix {
    /// Rounds the matrix, and changes it to what it was rounded to; or leaves it, if it has an entry that is
    /// infinite, NaN or almost as large as an f32 can be, which a pair cannot hold.
    pub(crate) fn round<T: Num>(matrix: &mut Matrix<T>) -> Option<Self> {
        let holds = |v: &T| v.to_f64().abs() < f64::from(f32::MAX) / 2.0;
        if !matrix.data.iter().all(holds) {
            return None;
        }
        let cols = matrix.cols;
        let vectors = cols.div_ceil(16);
        let row_words = vectors.div_ceil(2) * 16;
        let mut data = buffer();
        data.resize(matrix.rows * row_words, 0);
        for (r, words) in data.chunks_exact_mut(row_words).enumerate() {
            for (j, value) in matrix.row_mut(r)[..cols].iter_mut().enumerate() {
                let word = &mut words[j / 32 * 16 + j % 16];
                let upper = j / 16 % 2 == 1;
                *word = nearest(value.to_f64() as f32, if upper { *word } else { 0 });
                *value = T::from_f64(f64::from(f32::from_bits(*word)));
                if !upper {
                    *word >>= 16;
                }
            }
            for j in (cols..row_words * 2).filter(|j| j / 16 % 2 == 1) {
                words[j / 32 * 16 + j % 16] |= 1.0f32.to_bits();
            }
        }
        Some(Bf16Matrix { data, rows: matrix.rows, vectors })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Vectors of 16 columns.
    pub(crate) fn vectors(&self) -> usize {
        self.vectors
    }

    /// The words of a row, 16 for each pair of vectors.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[[u32; 16]] {
        let pairs = self.vectors.div_ceil(2);
        let words: &[u32] = &self.data;
        &words.as_chunks::<16>().0[row * pairs..][..pairs]
    }
}

/// The bits of the number with these lower 16 bits that has the fewest numbers between itself and a value;
/// ties to even.
fn nearest(value: f32, lower: u32) -> u32 {
    let (sign, magnitude) = (value.to_bits() & 1 << 31, value.to_bits() & !(1 << 31));
    let above = magnitude.saturating_sub(lower);
    let upper = (above + 0x7fff + (above >> 16 & 1)) >> 16;
    sign | upper << 16 | lower
}

/// A vector padded to whole vectors.
pub(crate) fn padded_vector<T: Num>(values: ArrayView1<'_, T>, padding: T) -> Buffer<T> {
    let mut data = buffer();
    data.resize(padded::<T>(values.len()), padding);
    data.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    data
}

/// The largest index plus one of a strided matrix, or `None` on overflow.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let last_row = (rows - 1).checked_mul(row_stride)?;
    let last_col = (cols - 1).checked_mul(col_stride)?;
    last_row.checked_add(last_col)?.checked_add(1)
}

/// A matrix to be read, with any strides. Every `(row, col)` of it is inside the slice it was made from:
/// that is checked here, and the kernels rely on it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Num> View<'a, T> {
    #[inline(always)]
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        let extent = extent(rows, cols, row_stride, col_stride);
        assert!(extent.is_some_and(|extent| extent <= data.len()), "a view reaches beyond its slice");
        View { data, rows, cols, row_stride, col_stride }
    }

    #[inline(always)]
    pub(crate) fn t(self) -> Self {
        View {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    #[inline(always)]
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    #[inline(always)]
    pub(crate) fn col_stride(&self) -> usize {
        self.col_stride
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const T {
        self.data.as_ptr()
    }

    /// The slice from the start of a row on.
    #[inline(always)]
    pub(crate) fn row(self, row: usize) -> &'a [T] {
        &self.data[row * self.row_stride..]
    }

    /// Rows `from .. from + rows`.
    #[inline(always)]
    pub(crate) fn rows_from(self, from: usize, rows: usize) -> Self {
        assert!(from <= self.rows && rows <= self.rows - from, "rows beyond the view");
        View { data: &self.data[(from * self.row_stride).min(self.data.len())..], rows, ..self }
    }

    /// Columns `from .. from + cols`.
    #[inline(always)]
    pub(crate) fn cols_from(self, from: usize, cols: usize) -> Self {
        self.t().rows_from(from, cols).t()
    }
}

/// A matrix to be written: rows of adjacent columns. Every `(row, col)` of it is inside the slice it was
/// made from, and rows do not overlap.
pub(crate) struct ViewMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, T: Num> ViewMut<'a, T> {
    #[inline(always)]
    pub(crate) fn new(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let extent = extent(rows, cols, row_stride, 1);
        assert!(extent.is_some_and(|extent| extent <= data.len()), "a view reaches beyond its slice");
        assert!(rows <= 1 || cols <= row_stride, "rows overlap");
        ViewMut { data, rows, cols, row_stride }
    }

    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    #[inline(always)]
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.data.as_mut_ptr()
    }

    /// The slice that the view was made from, from its first entry on.
    #[inline(always)]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        self.data
    }

    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { data: self.data, ..*self }
    }

    /// Rows `from .. from + rows`.
    #[inline(always)]
    pub(crate) fn rows_from(self, from: usize, rows: usize) -> ViewMut<'a, T> {
        assert!(from <= self.rows && rows <= self.rows - from, "rows beyond the view");
        let start = (from * self.row_stride).min(self.data.len());
        ViewMut { data: &mut self.data[start..], rows, ..self }
    }

    /// Columns `from .. from + cols`.
    #[inline(always)]
    pub(crate) fn cols_from(self, from: usize, cols: usize) -> ViewMut<'a, T> {
        assert!(from <= self.cols && cols <= self.cols - from, "columns beyond the view");
        let start = from.min(self.data.len());
        ViewMut { data: &mut self.data[start..], cols, ..self }
    }
}

impl<T: Num> crate::pool::Split for ViewMut<'_, T> {
    fn pieces(&self) -> usize {
        self.rows
    }

    fn cut(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "rows beyond the view");
        let (a, b) = self.data.split_at_mut((at * self.row_stride).min(self.data.len()));
        (
            ViewMut { data: a, rows: at, ..self },
            ViewMut { data: b, rows: self.rows - at, cols: self.cols, row_stride: self.row_stride },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elman::ndarray::Array2;

    #[test]
    fn the_extent_of_a_matrix_is_its_last_entry_and_one() {
        for (rows, cols, row_stride, col_stride, expected) in [
            (2, 3, 8, 1, Some(11)),
            (3, 2, 1, 8, Some(11)),
            (1, 1, usize::MAX, usize::MAX, Some(1)),
            (0, 3, 8, 1, Some(0)),
            (3, 0, 8, 1, Some(0)),
            (3, 1, usize::MAX, 1, None),
            (1, 2, 1, usize::MAX, None),
            (2, 2, usize::MAX / 2 + 1, usize::MAX / 2, None),
        ] {
            let found = extent(rows, cols, row_stride, col_stride);
            assert_eq!(found, expected, "{rows} {cols} {row_stride} {col_stride}");
        }
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for (value, lower, expected) in [
            (1.0, 0, 0x3f80_0000),
            (-2.5, 0, 0xc020_0000),
            (f32::from_bits(0x3f80_7fff), 0, 0x3f80_0000),
            (f32::from_bits(0x3f80_8000), 0, 0x3f80_0000),
            (f32::from_bits(0x3f80_8001), 0, 0x3f81_0000),
            (f32::from_bits(0x3f81_8000), 0, 0x3f82_0000),
            (0.0, 0x1234, 0x1234),
            (f32::from_bits(0x8000_0001), 0xffff, 0x8000_ffff),
            (1.0, 0x7000, 0x3f80_7000),
            (1.0, 0x9000, 0x3f7f_9000),
            (-1.0, 0x9000, 0xbf7f_9000),
        ] {
            assert_eq!(nearest(value, lower), expected, "{value}, {lower:x}");
        }
        // Half a unit of bf16 at most: the upper halves are 2^16 numbers apart.
        for i in 0..10_000u32 {
            let value = 0x3d00_0000 + i * 7919;
            let lower = (i * 31337) & 0xffff;
            let found = nearest(f32::from_bits(value), lower);
            assert_eq!(found & 0xffff, lower);
            assert!(found.abs_diff(value) <= 1 << 15, "{value:x} {lower:x}");
        }
    }

    #[test]
    fn bf16_columns_lie_in_pairs_of_vectors() {
        let array = Array2::from_shape_fn((3, 40), |(r, c)| (r * 40 + c) as f32 / 4.0 - 7.0);
        let mut matrix = Matrix::from_array(array.view());
        let packed = Bf16Matrix::round(&mut matrix).unwrap();
        assert_eq!((packed.rows(), packed.vectors()), (3, 3));
        for r in 0..3 {
            for c in 0..40 {
                let word = packed.row(r)[c / 32][c % 16];
                let bits = if c / 16 % 2 == 0 { word << 16 } else { word };
                assert_eq!(f32::from_bits(bits), matrix.row(r)[c]);
                // Half a unit of 8 bits of mantissa.
                let allowed = f32::max(array[[r, c]].abs() / 256.0, 1e-37);
                assert!((matrix.row(r)[c] - array[[r, c]]).abs() <= allowed, "{r} {c}");
            }
        }
        for unfit in [f32::NAN, f32::NEG_INFINITY, f32::MAX] {
            let mut array = array.clone();
            array[[2, 39]] = unfit;
            let mut matrix = Matrix::from_array(array.view());
            assert!(Bf16Matrix::round(&mut matrix).is_none());
            assert_eq!(matrix.row(1)[..40], array.row(1).to_vec(), "unchanged");
        }
    }

    #[test]
    fn a_view_must_be_inside_its_slice() {
        let data = [0.0f32; 20];
        View::new(&data, 3, 4, 8, 1);
        for (rows, cols, row_stride, col_stride) in
            [(3, 5, 8, 1), (4, 1, 7, 1), (1, 2, 1, 20), (2, 2, usize::MAX, 1), (usize::MAX, 2, 2, 1)]
        {
            let view = || View::new(&data, rows, cols, row_stride, col_stride);
            assert!(std::panic::catch_unwind(view).is_err(), "{rows} {cols} {row_stride} {col_stride}");
        }
        let mut overlapping = [0.0f32; 20];
        let view = std::panic::AssertUnwindSafe(|| ViewMut::new(&mut overlapping, 2, 4, 3).rows());
        assert!(std::panic::catch_unwind(view).is_err());
    }

    #[test]
    fn strides_of_4_kib_are_avoided() {
        assert_eq!(row_stride::<f32>(200), 208);
        assert_eq!(row_stride::<f32>(1024), 1040);
        assert_eq!(row_stride::<f64>(512), 520);
    }
}
