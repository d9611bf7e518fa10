use elman::ndarray::Axis;
use elman::{Activation, Params};

/// The nonlinearity that the recurrence in a file has where ours has a sigmoid. As `sigmoid(z) = (tanh(z/2) + 1) / 2`, a network of either has an exact
/// counterpart of the other; the crate's documentation has the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    /// tanh, the one that every system has: parameters are converted.
    #[default]
    Tanh,
    /// sigmoid, as here: parameters as they are.
    Sigmoid,
}

impl From<Nonlinearity> for Activation {
    fn from(nonlinearity: Nonlinearity) -> Self {
        match nonlinearity {
            Nonlinearity::Tanh => Activation::Tanh,
            Nonlinearity::Sigmoid => Activation::Sigmoid,
        }
    }
}

impl Nonlinearity {
    /// The parameters of the network of this nonlinearity that gives the same probabilities as our network of a sigmoid.
    pub(crate) fn encode(self, mut params: Params<f64>) -> Params<f64> {
        if self == Nonlinearity::Tanh {
            let (by_wh, by_w) = (params.wh().sum_axis(Axis(0)) / 4.0, params.w().sum_axis(Axis(0)) / 2.0);
            params.bh_mut().zip_mut_with(&by_wh, |bh, by_wh| *bh = *bh / 2.0 + by_wh);
            params.b_mut().zip_mut_with(&by_w, |b, by_w| *b += by_w);
            params.wx_mut().mapv_inplace(|wx| wx / 2.0);
            params.wh_mut().mapv_inplace(|wh| wh / 4.0);
            params.w_mut().mapv_inplace(|w| w / 2.0);
            params.h0_mut().mapv_inplace(|h0| h0 * 2.0 - 1.0);
        }
        params
    }

    /// The inverse of [`Nonlinearity::encode`].
    pub(crate) fn decode(self, mut params: Params<f64>) -> Params<f64> {
        if self == Nonlinearity::Tanh {
            let (by_wh, by_w) = (params.wh().sum_axis(Axis(0)), params.w().sum_axis(Axis(0)));
            params.bh_mut().zip_mut_with(&by_wh, |bh, by_wh| *bh = (*bh - by_wh) * 2.0);
            params.b_mut().zip_mut_with(&by_w, |b, by_w| *b -= by_w);
            params.wx_mut().mapv_inplace(|wx| wx * 2.0);
            params.wh_mut().mapv_inplace(|wh| wh * 4.0);
            params.w_mut().mapv_inplace(|w| w * 2.0);
            params.h0_mut().mapv_inplace(|h0| (h0 + 1.0) / 2.0);
        }
        params
    }
}
