//! The network's equations once more, forward only and in `f64`: the functions that the finite differences
//! differentiate.
//!
//! Nothing here is taken from an implementation, nor from the reference, nor from [`elman::context`].

use std::ops::Range;

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Slice};
use elman::{Activation, Batch, Cell, Crf, Direction, Feedback, Layer, Params};

use crate::strategies::Drawn;

/// How smooth a function is where it was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// One number for the signs of all arguments of a ReLU. The function is smooth where it stays.
    pub(crate) sides: u64,
    /// The largest number that was added up: its last place is the noise of the function.
    pub(crate) size: f64,
}

impl Seen {
    fn side(&mut self, a: f64) {
        self.sides = self.sides.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(if a > 0.0 { 2 } else { 1 });
    }

    fn sum(&mut self, numbers: ArrayView1<'_, f64>) {
        self.size = numbers.fold(self.size, |size, number| size.max(number.abs()));
    }
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

/// The states h and c after those before (in a Jordan network h after the output `fed_back`), for a row of inputs. The
/// cells without a c hand it on as it is.
fn next(
    layer: &Layer<'_, f64>,
    x: ArrayView1<'_, f64>,
    (fed_back, c): (ArrayView1<'_, f64>, Array1<f64>),
    seen: &mut Seen,
) -> (Array1<f64>, Array1<f64>) {
    let (from_x, from_state) = (x.dot(&layer.wx()) + layer.bh(), fed_back.dot(&layer.wh()));
    let gate = |of: &Array1<f64>, i: usize| {
        let hidden = of.len() / layer.cell().gates();
        of.slice_axis(Axis(0), (i * hidden..(i + 1) * hidden).into()).to_owned()
    };
    let h = match (layer.cell(), layer.bhn()) {
        (Cell::Lstm, _) => {
            let a = from_x + from_state;
            let [i, f, o] = [0, 1, 3].map(|of| gate(&a, of).mapv(sigmoid));
            let c = i * gate(&a, 2).mapv(f64::tanh) + f * c;
            return (o * c.mapv(f64::tanh), c);
        }
        (Cell::Elman(activation), _) => (from_x + from_state).mapv(|a| match activation {
            Activation::Sigmoid => sigmoid(a),
            Activation::Tanh => a.tanh(),
            Activation::Relu => {
                seen.side(a);
                a.max(0.0)
            }
            other => unimplemented!("the activation {other}"),
        }),
        (Cell::Gru, Some(bhn)) => {
            let r = (gate(&from_x, 0) + gate(&from_state, 0)).mapv(sigmoid);
            let z = (gate(&from_x, 1) + gate(&from_state, 1)).mapv(sigmoid);
            let candidate = (gate(&from_x, 2) + r * (gate(&from_state, 2) + bhn)).mapv(f64::tanh);
            &candidate + &z * (&fed_back - &candidate)
        }
        (other, _) => unimplemented!("the cell {other}"),
    };
    (h, c)
}

/// The states before the first step: h0 and, of an LSTM, c0.
fn first(layer: &Layer<'_, f64>) -> (Array1<f64>, Array1<f64>) {
    (layer.h0().to_owned(), layer.c0().map_or(Array1::zeros(0), |c0| c0.to_owned()))
}

/// `x`, `[T, embed · window]`: the words with `window / 2` padding rows on either side, seen through a
/// window that moves by one word a step.
fn windows(emb: ArrayView2<'_, f64>, words: &[u32], window: usize) -> Array2<f64> {
    let padding = emb.nrows() - 1;
    let beyond = || std::iter::repeat_n(padding, window / 2);
    let padded: Vec<usize> =
        beyond().chain(words.iter().map(|word| *word as usize)).chain(beyond()).collect();
    let ids: Vec<usize> = padded.windows(window).flatten().copied().collect();
    let x = emb.select(Axis(0), &ids);
    x.into_shape_with_order((words.len(), window * emb.ncols())).unwrap_or_default()
}

/// `sum(dh ∘ h) + sum(dlast ∘ last)` of packed sequences.
pub(crate) fn recurrence(drawn: &Drawn<f64>) -> (f64, Seen) {
    let (layer, mut seen) = (drawn.layer.layer(), Seen::default());
    let (mut sum, mut t) = (0.0, 0);
    for (sequence, length) in drawn.lengths.iter().enumerate() {
        let (mut h, mut c) = drawn.initial.as_ref().map_or(first(&layer), |initial| {
            let (h, c) = initial.row(sequence).split_at(Axis(0), layer.h0().len());
            (h.to_owned(), c.to_owned())
        });
        for _ in 0..*length {
            (h, c) = next(&layer, drawn.rows.row(t), (h.view(), c), &mut seen);
            seen.sum((&h * &drawn.dh.row(t)).view());
            sum += h.dot(&drawn.dh.row(t));
            t += 1;
        }
        sum += drawn.dlast.as_ref().map_or(0.0, |dlast| {
            let (dh, dc) = dlast.row(sequence).split_at(Axis(0), h.len());
            h.dot(&dh) + c.dot(&dc)
        });
    }
    (sum, seen)
}

/// Some of the rows of a matrix.
pub(crate) fn rows<T>(matrix: ArrayView2<'_, T>, range: Range<usize>) -> ArrayView2<'_, T> {
    matrix.slice_axis_move(Axis(0), Slice::from(range))
}

/// `ln sum_k e^z[k]`.
fn log_sum_exp(z: ArrayView1<'_, f64>) -> f64 {
    let max = z.fold(f64::NEG_INFINITY, |max, z| max.max(*z));
    max + z.mapv(|z| (z - max).exp()).sum().ln()
}

/// The loss of a sentence with a CRF, from its emissions: the sum over all labels in products of `e^transitions`, row
/// by row divided by its largest number.
fn crf_loss(crf: &Crf<'_, f64>, z: &Array2<f64>, labels: &[u32], seen: &mut Seen) -> f64 {
    let largest = |row: &Array1<f64>| row.fold(f64::NEG_INFINITY, |max, v| max.max(*v));
    let label = |t: usize| labels[t] as usize;
    let last = z.nrows() - 1;
    let between = crf.transitions.mapv(f64::exp);
    let (mut weights, mut log_z, mut score) = (crf.start.mapv(f64::exp), 0.0, crf.start[label(0)]);
    for (t, z) in z.rows().into_iter().enumerate() {
        if t > 0 {
            weights = weights.dot(&between);
            score += crf.transitions[[label(t - 1), label(t)]];
        }
        let top = z.fold(f64::NEG_INFINITY, |max, v| max.max(*v));
        weights *= &z.mapv(|z| (z - top).exp());
        let scale = largest(&weights);
        weights /= scale;
        log_z += top + scale.ln();
        score += z[label(t)];
        seen.sum(z);
        seen.sum(Array1::from(vec![log_z, score]).view());
    }
    score += crf.end[label(last)];
    log_z + (weights * crf.end.mapv(f64::exp)).sum().ln() - score
}

/// The states of the last of some layers, those of both directions side by side.
fn stacked(params: &Params<f64>, mut x: Array2<f64>, seen: &mut Seen) -> Array2<f64> {
    let shape = params.shape();
    for number in 0..shape.layers {
        let mut above = Array2::zeros((x.nrows(), shape.top()));
        for (place, direction) in shape.directions().iter().enumerate() {
            let layer = params.layer_at(number, *direction);
            let (mut h, mut c) = first(&layer);
            for step in 0..x.nrows() {
                let word = if *direction == Direction::Reverse { x.nrows() - 1 - step } else { step };
                (h, c) = next(&layer, x.row(word), (h.view(), c), seen);
                for (unit, h) in h.iter().enumerate() {
                    above[[word, place * shape.hidden + unit]] = *h;
                }
            }
        }
        x = above;
    }
    x
}

/// The loss of a batch: the mean over its sentences of the mean over their words of `-ln s[t][label[t]]`, or with a CRF of
/// `-ln` of the probability of all labels, divided by the number of words.
pub(crate) fn loss(params: &Params<f64>, batch: Batch<'_>) -> (f64, Seen) {
    let (shape, layer, mut seen) = (params.shape(), params.layer(), Seen::default());
    let mut loss = 0.0;
    for sentence in batch.iter() {
        let mut of_sentence = 0.0;
        let x = windows(params.emb(), sentence.words, shape.window);
        if let Some(crf) = params.crf() {
            let z = stacked(params, x, &mut seen).dot(&params.w()) + params.b();
            loss += crf_loss(&crf, &z, sentence.labels, &mut seen) / sentence.words.len() as f64;
            continue;
        }
        if !shape.is_single() {
            for (h, label) in stacked(params, x, &mut seen).rows().into_iter().zip(sentence.labels) {
                let z = h.dot(&params.w()) + params.b();
                seen.sum(z.view());
                of_sentence += log_sum_exp(z.view()) - z[*label as usize];
            }
            loss += of_sentence / sentence.words.len() as f64;
            continue;
        }
        let (mut fed_back, mut c) = first(&layer);
        for (x, label) in x.rows().into_iter().zip(sentence.labels) {
            let h;
            (h, c) = next(&layer, x, (fed_back.view(), c), &mut seen);
            let z = h.dot(&params.w()) + params.b();
            seen.sum(z.view());
            let log_sum = log_sum_exp(z.view());
            of_sentence += log_sum - z[*label as usize];
            fed_back = match shape.feedback {
                Feedback::Hidden => h,
                Feedback::Output => z.mapv(|z| (z - log_sum).exp()),
            };
        }
        loss += of_sentence / sentence.words.len() as f64;
    }
    (loss / batch.len() as f64, seen)
}
