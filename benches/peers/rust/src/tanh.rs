//! The network by tanh, for crates whose recurrence knows no sigmoid.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use elman::{Error, LayerParams, Params};

/// The tensors of a network's recurrence.
pub(crate) fn layer(params: &Params<f32>) -> Result<LayerParams<f32>, Error> {
    let mut layer = LayerParams::zeros(params.shape().layer(0))?;
    for (name, mut tensor) in layer.tensors_mut() {
        if let Some(own) = params.tensor(name) {
            tensor.assign(&own);
        }
    }
    Ok(layer)
}

/// With g\[t\] = tanh(x\[t\]·wx/2 + g\[t-1\]·wh/4 + bh/2 + column sums of wh/4) and g\[-1\] = 2·h0 - 1, the state of the
/// network is h\[t\] = (1 + g\[t\]) / 2, since sigmoid(z) = (1 + tanh(z/2)) / 2.
pub(crate) fn as_tanh(params: &LayerParams<f32>) -> LayerParams<f32> {
    let mut changed = params.clone();
    changed.wx_mut().mapv_inplace(|entry| entry / 2.0);
    changed.wh_mut().mapv_inplace(|entry| entry / 4.0);
    changed.bh_mut().assign(&(&params.bh() / 2.0 + params.wh().sum_axis(Axis(0)) / 4.0));
    changed.h0_mut().mapv_inplace(|entry| 2.0 * entry - 1.0);
    changed
}

/// The output layer that reads g: `h·w + b = g·w/2 + (b + column sums of w/2)`.
pub(crate) fn output(w: ArrayView2<'_, f32>, b: ArrayView1<'_, f32>) -> (Array2<f32>, Array1<f32>) {
    (&w / 2.0, &b + w.sum_axis(Axis(0)) / 2.0)
}
