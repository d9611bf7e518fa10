//! Random networks, sentences and sequences for the tests of this crate.
#![allow(dead_code, reason = "each test file uses a part")]

use elman::ndarray::{Array1, Array2};
use elman::{Cell, Feedback, Labelled, Params, Real, Sentence, Shape};

/// A small generator, so that a failing case is named by its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Uniform in [-1, 1).
    pub(crate) fn number(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Sizes on both sides of every vector boundary.
pub(crate) const SIZES: [usize; 12] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100];

/// Elman's network and Jordan's.
pub(crate) const FEEDBACKS: [Feedback; 2] = [Feedback::Hidden, Feedback::Output];

pub(crate) fn shape(random: &mut Random) -> Shape {
    Shape {
        vocab: 1 + random.below(30),
        embed: *random.of(&SIZES),
        window: 1 + 2 * random.below(5),
        hidden: *random.of(&SIZES),
        classes: *random.of(&SIZES),
        feedback: *random.of(&FEEDBACKS),
    }
}

/// Parameters of all tensors, the biases and h0 too; rounded to f32 so that both number types can have them.
pub(crate) fn params<T: Real>(shape: Shape, random: &mut Random) -> Params<T> {
    let scale = 1.5 / (shape.hidden as f64).sqrt();
    Params::<f64>::zeros(shape).unwrap().map(|_| T::from_f64(f64::from((random.number() * scale) as f32)))
}

pub(crate) fn sentence(shape: &Shape, words: usize, random: &mut Random) -> Labelled {
    let ids = (0..words).map(|_| random.below(shape.vocab)).collect();
    let labels = (0..words).map(|_| random.below(shape.classes)).collect();
    Labelled::new(Sentence::new(ids).unwrap(), labels).unwrap()
}

pub(crate) fn cell<T: Real>(input: usize, hidden: usize, random: &mut Random) -> Cell<T> {
    let scale = 1.5 / (hidden as f64).sqrt();
    let mut number = || T::from_f64(f64::from((random.number() * scale) as f32));
    Cell {
        wx: Array2::from_shape_simple_fn((input, hidden), &mut number),
        wh: Array2::from_shape_simple_fn((hidden, hidden), &mut number),
        bh: Array1::from_shape_simple_fn(hidden, &mut number),
        h0: Array1::from_shape_simple_fn(hidden, &mut number),
    }
}

pub(crate) fn rows<T: Real>(rows: usize, cols: usize, random: &mut Random) -> Array2<T> {
    Array2::from_shape_simple_fn((rows, cols), || T::from_f64(f64::from(random.number() as f32)))
}

/// Every entry within `allowed` of what is expected; the message names the place.
pub(crate) fn assert_close<'a, T: Real>(
    what: &str,
    found: impl IntoIterator<Item = &'a T>,
    expected: impl IntoIterator<Item = &'a f64>,
    allowed: f64,
) {
    let found: Vec<f64> = found.into_iter().map(|v| v.to_f64()).collect();
    let expected: Vec<f64> = expected.into_iter().copied().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() <= allowed, "{what}[{i}] = {f}, expected {e}, allowed {allowed:e}");
    }
}

/// The largest entry of all tensors.
pub(crate) fn largest(params: &Params<f64>) -> f64 {
    params.tensors().iter().flat_map(|(_, t)| t.iter()).fold(0.0, |m: f64, v| m.max(v.abs()))
}
