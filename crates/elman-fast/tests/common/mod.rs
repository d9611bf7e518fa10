//! Random networks, sentences and sequences, and the implementations whose bits must agree.
#![allow(dead_code, reason = "each test file uses a part")]

use elman::ndarray::Array2;
use elman::{Cell, Feedback, Head, Layout, Params, Sentences, Shape};
use elman_fast::{Fast, Isa, Num};

/// A small generator, so that a failing case is named by its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Uniform in [-1, 1), and exact in f32.
    pub(crate) fn number(&mut self) -> f64 {
        f64::from(((self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Sizes on both sides of every vector boundary.
pub(crate) const SIZES: [usize; 12] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100];

/// Every network of these sizes: each cell with each feedback that it can have, and some of several layers or directions
/// or with a CRF.
pub(crate) fn networks(sizes: Shape) -> Vec<Shape> {
    let all = Cell::ALL.into_iter().flat_map(|cell| Feedback::ALL.map(|feedback| (cell, feedback)));
    let shapes = all.map(|(cell, feedback)| Shape { cell, feedback, ..sizes });
    let stacked = [
        Shape { bidirectional: true, ..sizes },
        Shape { layers: 3, cell: Cell::Gru, ..sizes },
        Shape { layers: 2, bidirectional: true, cell: Cell::Lstm, ..sizes },
        Shape { head: Head::Crf, ..sizes },
        Shape { head: Head::Crf, bidirectional: true, cell: Cell::Gru, ..sizes },
    ];
    shapes.chain(stacked).filter(|shape| shape.check().is_ok()).collect()
}

/// Random sizes.
pub(crate) fn sizes(random: &mut Random) -> Shape {
    Shape {
        vocab: 1 + random.below(30),
        embed: random.of(&SIZES),
        window: random.of(&[1, 3, 5, 7, 9]),
        hidden: random.of(&SIZES),
        classes: random.of(&SIZES),
        ..Shape::ELMAN
    }
}

/// Random numbers in all tensors, the biases and h0 too.
pub(crate) fn params<T: Num, S: Layout>(shape: S, random: &mut Random) -> Params<T, S> {
    let zeros = Params::<f64, S>::zeros(shape).unwrap();
    let scale = 1.5 / (zeros.h0().len() as f64).sqrt();
    zeros.map(|_| T::from_f64(f64::from((random.number() * scale) as f32)))
}

/// So many sentences of 1 to 12 words.
pub(crate) fn sentences(shape: &Shape, sentences: usize, random: &mut Random) -> Sentences {
    let mut all = Sentences::new();
    for _ in 0..sentences {
        let words = 1 + random.below(12);
        let mut ids = |limit| (0..words).map(|_| random.below(limit) as u32).collect::<Vec<_>>();
        all.push(&ids(shape.vocab), &ids(shape.classes)).unwrap();
    }
    all
}

pub(crate) fn rows<T: Num>(rows: usize, cols: usize, random: &mut Random) -> Array2<T> {
    Array2::from_shape_simple_fn((rows, cols), || T::from_f64(random.number()))
}

/// The implementations that must agree to the bit, in groups: all instruction sets under the promise and up to
/// four threads on the best of them; the others each with one thread and with three.
pub(crate) fn groups() -> Vec<Vec<Fast>> {
    // Without the slow `exact`, which the digests of elman-digest compare.
    let fused: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.is_fused()).collect();
    let others: Vec<Isa> = Isa::available().into_iter().filter(|isa| !isa.is_fused()).collect();
    let with = |isa: &Isa, threads| Fast::with(*isa).unwrap().threads(threads).unwrap();
    let mut all: Vec<Fast> = fused.iter().map(|isa| with(isa, 1)).collect();
    if fused.len() < 2 {
        println!("fewer than two instruction sets under the promise here: {fused:?}");
    }
    all.extend(fused.last().into_iter().flat_map(|best| [2, 3, 4].map(|threads| with(best, threads))));
    let others = others.iter().map(|isa| vec![with(isa, 1), with(isa, 3)]);
    std::iter::once(all).filter(|all| !all.is_empty()).chain(others).collect()
}

/// Results as bits, each with its name; NaN equals itself, and 0 differs from -0.
pub(crate) type Bits = Vec<(String, Vec<u64>)>;

/// Asserts that all implementations of a group get the same results.
pub(crate) fn assert_same_everywhere(groups: &[Vec<Fast>], case: &str, compute: impl Fn(&Fast) -> Bits) {
    for group in groups {
        let expected = compute(&group[0]);
        for fast in &group[1..] {
            assert_same(&compute(fast), &expected, &format!("{case}, {fast:?} against {:?}", group[0]));
        }
    }
}

/// Asserts the same results; the message names the first that differs and its place.
pub(crate) fn assert_same(found: &Bits, expected: &Bits, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{case}: {name}");
        let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{case}: the first entry of {name} that differs");
    }
}

pub(crate) fn bits<'a, T: Num>(values: impl IntoIterator<Item = &'a T>) -> Vec<u64> {
    values.into_iter().map(|value| value.bits()).collect()
}

/// The bits of all tensors.
pub(crate) fn tensors<T: Num, S: Layout>(what: &str, params: &Params<T, S>) -> Bits {
    params.tensors().map(|(name, tensor)| (format!("{name} of {what}"), bits(tensor.iter()))).collect()
}
