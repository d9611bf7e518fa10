//! Vectors and matrices: plain loops in the order of the indices, and the softmax.

use elman::Real;
use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2};

/// `v·m`: entry `j` is the sum over `i` of `v[i] m[i, j]`.
pub(crate) fn vec_mat<T: Real>(v: ArrayView1<'_, T>, m: ArrayView2<'_, T>) -> Array1<T> {
    let mut product = Array1::zeros(m.ncols());
    for (v_i, row) in v.iter().zip(m.rows()) {
        product.scaled_add(*v_i, &row);
    }
    product
}

/// `m·v`: entry `i` is the sum over `j` of `m[i, j] v[j]`.
pub(crate) fn mat_vec<T: Real>(m: ArrayView2<'_, T>, v: ArrayView1<'_, T>) -> Array1<T> {
    let sum = |row: ArrayView1<'_, T>| row.iter().zip(v).fold(T::zero(), |sum, (m, v)| sum + *m * *v);
    m.rows().into_iter().map(sum).collect()
}

/// `m[i, j] += a[i] b[j]`.
pub(crate) fn add_outer<T: Real>(m: &mut ArrayViewMut2<'_, T>, a: ArrayView1<'_, T>, b: ArrayView1<'_, T>) {
    for (mut row, a_i) in m.rows_mut().into_iter().zip(a) {
        row.scaled_add(*a_i, &b);
    }
}

/// `e^y[j] / (sum over k of e^y[k])`, with the largest entry subtracted first, so that nothing overflows.
pub(crate) fn softmax<T: Real>(y: Array1<T>) -> Array1<T> {
    let max = max(&y);
    let e = y.mapv_into(|y| (y - max).exp());
    let sum = sum(&e);
    e.mapv_into(|e| e / sum)
}

/// `dy += (diag(s) - s·sᵀ)·ds`: from the gradient of `s = softmax(y)` to that of `y`.
pub(crate) fn add_through_softmax<T: Real>(dy: &mut Array1<T>, s: ArrayView1<'_, T>, ds: &Array1<T>) {
    let mean = s.iter().zip(ds).fold(T::zero(), |sum, (s, ds)| sum + *s * *ds);
    for ((dy, s), ds) in dy.iter_mut().zip(s).zip(ds) {
        *dy += *s * (*ds - mean);
    }
}

/// `-ln softmax(y)[label]`, finite even where the softmax itself is too small to be represented. The differences come
/// first: where scores are large, `(max + ln sum) - y[label]` would lose the digits of the logarithm.
pub(crate) fn negative_log_softmax<T: Real>(y: &Array1<T>, label: usize) -> T {
    let max = max(y);
    sum(&y.mapv(|y| (y - max).exp())).ln() + (max - y[label])
}

/// `ln (sum over k of e^y[k])`.
pub(crate) fn log_sum_exp<T: Real>(y: &Array1<T>) -> T {
    let max = max(y);
    max + sum(&y.mapv(|y| (y - max).exp())).ln()
}

fn max<T: Real>(y: &Array1<T>) -> T {
    y.iter().fold(y[0], |max, y| if *y > max { *y } else { max })
}

fn sum<T: Real>(y: &Array1<T>) -> T {
    y.iter().fold(T::zero(), |sum, y| sum + *y)
}

/// The rows of a matrix of `width` columns.
pub(crate) fn stack<T: Real>(rows: &[Array1<T>], width: usize) -> Array2<T> {
    let mut matrix = Array2::zeros((rows.len(), width));
    for (mut to, from) in matrix.rows_mut().into_iter().zip(rows) {
        to.assign(from);
    }
    matrix
}
