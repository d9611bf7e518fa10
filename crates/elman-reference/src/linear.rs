//! Vectors and matrices: plain loops in the order of the indices, and the two non-linear functions.

use elman::Real;
use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2};

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
pub(crate) fn add_outer<T: Real>(m: &mut Array2<T>, a: ArrayView1<'_, T>, b: ArrayView1<'_, T>) {
    for (mut row, a_i) in m.rows_mut().into_iter().zip(a) {
        row.scaled_add(*a_i, &b);
    }
}

/// `1 / (1 + e^-z)`, for every entry; for negative `z` as `e^z / (1 + e^z)`, which cannot overflow.
pub(crate) fn sigmoid<T: Real>(z: Array1<T>) -> Array1<T> {
    z.mapv_into(|z| {
        if z < T::zero() {
            let e = z.exp();
            e / (T::one() + e)
        } else {
            T::one() / (T::one() + (-z).exp())
        }
    })
}

/// `e^y[j] / (sum over k of e^y[k])`, with the largest entry subtracted first, so that nothing overflows.
pub(crate) fn softmax<T: Real>(y: Array1<T>) -> Array1<T> {
    let max = max(&y);
    let e = y.mapv_into(|y| (y - max).exp());
    let sum = sum(&e);
    e.mapv_into(|e| e / sum)
}

/// `dh ∘ h ∘ (1 - h)`, written over dh: from the gradient of `h = sigmoid(z)` to that of `z`.
pub(crate) fn through_sigmoid<T: Real>(dh: &mut Array1<T>, h: ArrayView1<'_, T>) {
    for (dh, h) in dh.iter_mut().zip(h) {
        *dh *= *h * (T::one() - *h);
    }
}

/// `dy += (diag(s) - s·sᵀ)·ds`: from the gradient of `s = softmax(y)` to that of `y`.
pub(crate) fn add_through_softmax<T: Real>(dy: &mut Array1<T>, s: ArrayView1<'_, T>, ds: &Array1<T>) {
    let mean = s.iter().zip(ds).fold(T::zero(), |sum, (s, ds)| sum + *s * *ds);
    for ((dy, s), ds) in dy.iter_mut().zip(s).zip(ds) {
        *dy += *s * (*ds - mean);
    }
}

/// `ln (sum over k of e^y[k])`: `-ln softmax(y)[j]` is `log_sum_exp(y) - y[j]`, finite even where the
/// softmax itself is too small to be represented.
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
