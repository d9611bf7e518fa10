use elman::Params;
use elman::ndarray::Axis;

/// What the recurrence in a file computes. As `sigmoid(z) = (tanh(z/2) + 1) / 2`, a network of either has an exact
/// counterpart of the other; the crate's documentation has the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    /// tanh, the one that every system has: parameters are converted.
    #[default]
    Tanh,
    /// sigmoid, as here: parameters as they are.
    Sigmoid,
}

impl Nonlinearity {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Nonlinearity::Tanh => "tanh",
            Nonlinearity::Sigmoid => "sigmoid",
        }
    }

    /// The parameters of the Elman network of this nonlinearity that gives the same probabilities as ours.
    pub(crate) fn encode(self, params: Params<f64>) -> Params<f64> {
        match self {
            Nonlinearity::Sigmoid => params,
            Nonlinearity::Tanh => Params {
                bh: params.bh / 2.0 + params.wh.sum_axis(Axis(0)) / 4.0,
                b: params.b + params.w.sum_axis(Axis(0)) / 2.0,
                emb: params.emb,
                wx: params.wx / 2.0,
                wh: params.wh / 4.0,
                w: params.w / 2.0,
                h0: params.h0 * 2.0 - 1.0,
                feedback: params.feedback,
            },
        }
    }

    /// The inverse of [`Nonlinearity::encode`], for tensors that fit together.
    pub(crate) fn decode(self, params: Params<f64>) -> Params<f64> {
        match self {
            Nonlinearity::Sigmoid => params,
            Nonlinearity::Tanh => Params {
                bh: (params.bh - params.wh.sum_axis(Axis(0))) * 2.0,
                b: params.b - params.w.sum_axis(Axis(0)),
                emb: params.emb,
                wx: params.wx * 2.0,
                wh: params.wh * 4.0,
                w: params.w * 2.0,
                h0: (params.h0 + 1.0) / 2.0,
                feedback: params.feedback,
            },
        }
    }
}
