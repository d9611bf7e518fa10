//! Networks of every cell, and small sentences, for the tests of this crate.
#![allow(dead_code, reason = "each test file uses a part")]

use elman::ndarray::Array2;
use elman::{Batch, Cell, Feedback, Head, Layout, Network, Params, Sentences, Sequences, Shape};
use elman_reference::Reference;

/// Every network of these sizes: each cell with each feedback and head that it can have.
pub(crate) fn networks(sizes: Shape) -> Vec<Shape> {
    let all = Cell::ALL.into_iter().flat_map(|cell| Feedback::ALL.map(|feedback| (cell, feedback)));
    let all = all.flat_map(|of| Head::ALL.map(|head| (of, head)));
    let shapes = all.map(|((cell, feedback), head)| Shape { cell, feedback, head, ..sizes });
    shapes.filter(|shape| shape.check().is_ok()).collect()
}

/// Parameters with nothing at zero: the start of training would hide an error in a bias.
pub(crate) fn params<S: Layout>(shape: S, seed: u64) -> Params<f64, S> {
    let mut params = Params::init(shape, seed).unwrap().map(|v: f64| 3.0 * v);
    for (i, v) in params.as_mut_slice().iter_mut().filter(|v| **v == 0.0).enumerate() {
        *v = ((7 * i + 10) % 19) as f64 / 25.0 - 0.3;
    }
    params
}

/// Sentences of words and labels.
pub(crate) fn sentences(all: &[(&[u32], &[u32])]) -> Sentences {
    let mut sentences = Sentences::new();
    all.iter().for_each(|(words, labels)| sentences.push(words, labels).unwrap());
    sentences
}

/// One sentence.
pub(crate) fn one(words: &[u32], labels: &[u32]) -> Sentences {
    sentences(&[(words, labels)])
}

/// The mean loss and its gradient, over a gradient of NaNs: an implementation that reads it, or adds to it, returns NaN.
pub(crate) fn gradient(network: Reference, params: &Params<f64>, batch: Batch<'_>) -> (f64, Params<f64>) {
    let mut grad = params.map(|_| f64::NAN);
    let loss = network.gradient(params, batch, &mut grad).unwrap();
    (loss, grad)
}

/// Packed sequences, which start from h0 or from states of their own.
pub(crate) fn sequences<'a, T: elman::Real>(
    rows: &'a Array2<T>,
    lengths: &'a [usize],
    initial: Option<&'a Array2<T>>,
) -> Sequences<'a, T> {
    let sequences = Sequences::new(rows.view(), lengths).unwrap();
    initial.map_or(sequences, |initial| sequences.starting_from(initial.view()).unwrap())
}

/// Some numbers between -0.4 and 0.6.
pub(crate) fn numbers(rows: usize, columns: usize, seed: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| ((7 * i + 3 * j + seed) % 11) as f64 / 11.0 - 0.4)
}
