//! The network's equations once more, forward only and in `f64`: what the finite differences differentiate.
//!
//! Nothing here is taken from an implementation, nor from the reference, nor from `Sentence::context`.

use std::ops::Range;

use elman::ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice};
use elman::{Cell, Feedback, Labelled, Params};

/// `x`, `[T, embed · window]`: the words with `window / 2` padding rows on either side, seen through a
/// window that moves by one word a step.
pub(crate) fn windows(emb: ArrayView2<'_, f64>, words: &[usize], window: usize) -> Array2<f64> {
    let padding = emb.nrows() - 1;
    let beyond = || std::iter::repeat_n(padding, window / 2);
    let padded: Vec<usize> = beyond().chain(words.iter().copied()).chain(beyond()).collect();
    let ids: Vec<usize> = padded.windows(window).flatten().copied().collect();
    let x = emb.select(Axis(0), &ids);
    x.into_shape_with_order((words.len(), window * emb.ncols())).unwrap_or_default()
}

/// `h[t] = sigmoid(x[t]·wx + h[t-1]·wh + bh)`, `[T, hidden]`, for one sequence.
pub(crate) fn states(
    x: ArrayView2<'_, f64>,
    wx: ArrayView2<'_, f64>,
    wh: ArrayView2<'_, f64>,
    bh: ArrayView1<'_, f64>,
    h0: ArrayView1<'_, f64>,
) -> Array2<f64> {
    let mut h = x.dot(&wx) + bh;
    let mut previous = h0.to_owned();
    for mut row in h.rows_mut() {
        row += &previous.dot(&wh);
        row.mapv_inplace(|a| 1.0 / (1.0 + (-a).exp()));
        previous.assign(&row);
    }
    h
}

/// The scores `z[t] = h[t]·w + b` of a sentence, `[T, classes]`.
fn scores(params: &Params<f64>, x: ArrayView2<'_, f64>) -> Array2<f64> {
    let (wx, wh, bh, h0) = (params.wx.view(), params.wh.view(), params.bh.view(), params.h0.view());
    match params.feedback {
        Feedback::Hidden => states(x, wx, wh, bh, h0).dot(&params.w) + &params.b,
        // h[t] = sigmoid(x[t]·wx + softmax(z[t-1])·wh + bh)
        Feedback::Output => {
            let from_x = x.dot(&wx) + bh;
            let mut z = Array2::zeros((x.nrows(), params.b.len()));
            let mut s = h0.to_owned();
            for (from_x, mut z) in from_x.rows().into_iter().zip(z.rows_mut()) {
                let h = (s.dot(&wh) + from_x).mapv(|a| 1.0 / (1.0 + (-a).exp()));
                z.assign(&(h.dot(&params.w) + &params.b));
                let log_sum = log_sum_exp(z.view());
                s = z.mapv(|z| (z - log_sum).exp());
            }
            z
        }
    }
}

/// The states of packed sequences.
pub(crate) fn packed_states(cell: &Cell<f64>, xs: ArrayView2<'_, f64>, lengths: &[usize]) -> Array2<f64> {
    let mut h = Array2::zeros((xs.nrows(), cell.h0.len()));
    let mut start = 0;
    for length in lengths {
        let range = start..start + length;
        let x = rows(xs, range.clone());
        let part = states(x, cell.wx.view(), cell.wh.view(), cell.bh.view(), cell.h0.view());
        h.slice_axis_mut(Axis(0), Slice::from(range)).assign(&part);
        start += length;
    }
    h
}

/// Some of the rows of a matrix.
pub(crate) fn rows<T>(matrix: ArrayView2<'_, T>, range: Range<usize>) -> ArrayView2<'_, T> {
    matrix.slice_axis_move(Axis(0), Slice::from(range))
}

/// `ln sum_k e^z[k]`.
pub(crate) fn log_sum_exp(z: ArrayView1<'_, f64>) -> f64 {
    let max = z.fold(f64::NEG_INFINITY, |max, z| max.max(*z));
    max + z.mapv(|z| (z - max).exp()).sum().ln()
}

/// The loss of a batch: the mean over its sentences of the mean over their words of `-ln s[t][label[t]]`.
pub(crate) fn loss(params: &Params<f64>, batch: &[Labelled]) -> f64 {
    let window = params.wx.nrows() / params.emb.ncols();
    let sentence_loss = |labelled: &Labelled| {
        let x = windows(params.emb.view(), labelled.sentence().words(), window);
        let z = scores(params, x.view());
        let words = z.rows().into_iter().zip(labelled.labels());
        words.map(|(z, label)| log_sum_exp(z) - z[*label]).sum::<f64>() / labelled.labels().len() as f64
    };
    batch.iter().map(sentence_loss).sum::<f64>() / batch.len() as f64
}
