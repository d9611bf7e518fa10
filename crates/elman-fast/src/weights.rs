//! The seven parameters, or what is added to them, in the layout of the kernels.

use elman::ndarray::{Array1, Array2};
use elman::{Error, Params, Shape};

use crate::matrix::{Buffer, Matrix, padded_vector};
use crate::num::Num;

/// Parameters padded to whole vectors. The padding of `b` is minus infinity, so that a padded class has
/// probability 0 and no gradient; all other padding is 0.
#[derive(Clone, Debug)]
pub(crate) struct Weights<T> {
    pub(crate) shape: Shape,
    pub(crate) emb: Matrix<T>,
    pub(crate) wx: Matrix<T>,
    pub(crate) wh: Matrix<T>,
    pub(crate) w: Matrix<T>,
    pub(crate) bh: Buffer<T>,
    pub(crate) b: Buffer<T>,
    pub(crate) h0: Buffer<T>,
}

impl<T: Num> Weights<T> {
    pub(crate) fn new(params: &Params<T>) -> Result<Self, Error> {
        let shape = params.shape()?;
        Ok(Weights {
            shape,
            emb: Matrix::from_array(params.emb.view()),
            wx: Matrix::from_array(params.wx.view()),
            wh: Matrix::from_array(params.wh.view()),
            w: Matrix::from_array(params.w.view()),
            bh: padded_vector(params.bh.view(), T::zero()),
            b: padded_vector(params.b.view(), T::from_f64(f64::NEG_INFINITY)),
            h0: padded_vector(params.h0.view(), T::zero()),
        })
    }

    /// Zeros: where a gradient is added up.
    pub(crate) fn zeros(shape: Shape) -> Self {
        let zeros = |n| padded_vector(Array1::zeros(n).view(), T::zero());
        Weights {
            shape,
            emb: Matrix::zeros(shape.vocab + 1, shape.embed),
            wx: Matrix::zeros(shape.input(), shape.hidden),
            wh: Matrix::zeros(shape.fed_back(), shape.hidden),
            w: Matrix::zeros(shape.hidden, shape.classes),
            bh: zeros(shape.hidden),
            b: zeros(shape.classes),
            h0: zeros(shape.fed_back()),
        }
    }

    /// Overwrites `params`, which must have this shape.
    pub(crate) fn copy_to(&self, params: &mut Params<T>) {
        fn matrix<T: Num>(from: &Matrix<T>, to: &mut Array2<T>) {
            from.copy_to(to.as_slice_mut().expect("checked: row-major"));
        }
        fn vector<T: Num>(from: &Buffer<T>, to: &mut Array1<T>) {
            to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to = *from);
        }
        matrix(&self.emb, &mut params.emb);
        matrix(&self.wx, &mut params.wx);
        matrix(&self.wh, &mut params.wh);
        matrix(&self.w, &mut params.w);
        vector(&self.bh, &mut params.bh);
        vector(&self.b, &mut params.b);
        vector(&self.h0, &mut params.h0);
    }

    /// The parameters without the padding.
    pub(crate) fn to_params(&self) -> Params<T> {
        let mut params = Params::zeros(self.shape).expect("the shape was checked when the weights were made");
        self.copy_to(&mut params);
        params
    }
}
