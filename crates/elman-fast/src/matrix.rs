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
        Matrix::stale_in(data, rows, cols)
    }

    /// A matrix of the numbers of a buffer, and of zeros where it has none.
    pub(crate) fn stale_in(mut data: Buffer<T>, rows: usize, cols: usize) -> Self {
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
        Matrix::from_gates(array, 1)
    }

    /// A matrix whose columns are those of some gates side by side, `[rows, gates·width]`: here each gate's columns
    /// are padded to whole vectors.
    pub(crate) fn from_gates(array: ArrayView2<'_, T>, gates: usize) -> Self {
        let cols = if gates == 1 { array.ncols() } else { gates * padded::<T>(array.ncols() / gates) };
        let mut matrix = Matrix::zeros(array.nrows(), cols);
        matrix.copy_gates_from(array, gates);
        matrix
    }

    /// Takes the entries of an array of some gates.
    pub(crate) fn copy_gates_from(&mut self, array: ArrayView2<'_, T>, gates: usize) {
        let width = array.ncols() / gates;
        assert_eq!(
            (self.rows, padded::<T>(self.cols)),
            (array.nrows(), gates * padded::<T>(width)),
            "shape of a copied array"
        );
        for (row, source) in self.data.chunks_exact_mut(self.stride).zip(array.rows()) {
            for (to, from) in row.chunks_exact_mut(padded::<T>(width)).zip(source.exact_chunks(width)) {
                let to = &mut to[..width];
                match from.as_slice() {
                    Some(from) => to.copy_from_slice(from),
                    None => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }

    /// Writes the entries, without the padding, into a row-major slice of rows of `gates` times `width` entries.
    pub(crate) fn copy_gates_to(&self, target: &mut [T], gates: usize, width: usize) {
        for (target, row) in target.chunks_exact_mut(gates * width).zip(self.data.chunks_exact(self.stride)) {
            for (to, from) in target.chunks_exact_mut(width).zip(row.chunks_exact(padded::<T>(width))) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }

    /// Makes `to` the transpose, whose rows are the columns of this matrix with their padding.
    pub(crate) fn transpose_to(&self, to: &mut Matrix<T>) {
        let cols = padded::<T>(self.cols);
        if (to.rows, to.cols) != (cols, self.rows) {
            *to = Matrix::zeros(cols, self.rows);
        }
        for (i, rows) in self.data.chunks_exact(T::LANES * self.stride).enumerate() {
            for (j, to) in to.data.chunks_exact_mut(to.stride).take(cols).enumerate() {
                let column = rows[j..].iter().step_by(self.stride);
                to[i * T::LANES..][..T::LANES].iter_mut().zip(column).for_each(|(to, from)| *to = *from);
            }
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

/// A copy of a matrix in panels: the rows of its first columns, then those of the next ones. Where a matrix comes from
/// beyond the second-level cache, each row of a tile's columns is otherwise a page of its own.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
}

impl<'a, T: Num> Panels<'a, T> {
    /// Columns of a panel: those of the widest tile.
    pub(crate) const WIDTH: usize = 2 * T::LANES;

    /// The numbers that the panels of a matrix take.
    pub(crate) fn size(rows: usize, cols: usize) -> usize {
        cols.div_ceil(Self::WIDTH) * rows * Self::WIDTH
    }

    /// Panels that [`Panels::of`] has written.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Panels { data: &data[..Self::size(rows, cols)], rows, cols }
    }

    /// Copies a matrix, whose columns are whole vectors.
    pub(crate) fn of(matrix: View<'_, T>, to: &'a mut [T]) -> Self {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let data = &mut to[..Self::size(rows, cols)];
        for (panel, to) in data.chunks_exact_mut(rows * Self::WIDTH).enumerate() {
            let from = panel * Self::WIDTH;
            let width = Self::WIDTH.min(cols - from);
            for (row, to) in to.chunks_exact_mut(Self::WIDTH).enumerate() {
                to[..width].copy_from_slice(&matrix.row(row)[from..][..width]);
            }
        }
        Panels { data, rows, cols }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// At most `vectors` vectors of columns from `col` on, as many as are in one panel.
    #[inline(always)]
    pub(crate) fn part(self, col: usize, vectors: usize) -> View<'a, T> {
        let (panel, inside) = (col / Self::WIDTH, col % Self::WIDTH);
        let cols = (vectors * T::LANES).min(Self::WIDTH - inside).min(self.cols - col);
        let data = &self.data[panel * self.rows * Self::WIDTH + inside..];
        View::new(data, self.rows, cols, Self::WIDTH, 1)
    }
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
        assert!(rows == 0 || cols <= row_stride, "rows overlap");
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

    /// A row of the view's columns.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// A row of the view's columns.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.row_stride..][..self.cols]
    }

    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_, T> {
        View::new(self.data, self.rows, self.cols, self.row_stride, 1)
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
    fn a_view_must_be_inside_its_slice() {
        let data = [0.0f32; 20];
        View::new(&data, 3, 4, 8, 1);
        for (rows, cols, row_stride, col_stride) in
            [(3, 5, 8, 1), (4, 1, 7, 1), (1, 2, 1, 20), (2, 2, usize::MAX, 1), (usize::MAX, 2, 2, 1)]
        {
            let view = || View::new(&data, rows, cols, row_stride, col_stride);
            assert!(std::panic::catch_unwind(view).is_err(), "{rows} {cols} {row_stride} {col_stride}");
        }
        for rows in [1, 2] {
            let mut overlapping = [0.0f32; 20];
            let view = std::panic::AssertUnwindSafe(|| ViewMut::new(&mut overlapping, rows, 4, 3).rows());
            assert!(std::panic::catch_unwind(view).is_err(), "{rows} rows that overlap, once they are cut");
        }
    }

    #[test]
    fn strides_of_4_kib_are_avoided() {
        assert_eq!(row_stride::<f32>(200), 208);
        assert_eq!(row_stride::<f32>(1024), 1040);
        assert_eq!(row_stride::<f64>(512), 520);
    }
}
