//! proptest strategies for networks and sentences, which shrink to small and tame ones.
//!
//! A [`Problem`] describes its parameters by how each tensor is filled and by a seed, not entry by entry: it
//! prints in one line, and it shrinks by its sizes, its words and its fills.
//!
//! ```
//! use elman_verify::strategies::{Sizes, problems};
//! use proptest::prelude::*;
//!
//! proptest!(|(problem in problems(Sizes::Small))| {
//!     let params = problem.params::<f32>().unwrap();
//!     prop_assert_eq!(params.shape().unwrap(), problem.shape);
//!     for labelled in &problem.batch {
//!         prop_assert!(labelled.check(&problem.shape).is_ok());
//!     }
//! });
//! ```

use elman::ndarray::Array2;
use elman::{Cell, Error, Feedback, Labelled, Params, Sentence, Shape};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Number;

/// Sizes on both sides of every width that vectors and tiles have.
pub const BOUNDARIES: [usize; 10] = [1, 15, 16, 17, 31, 33, 63, 65, 127, 200];

/// How the entries of a tensor are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Uniform in [-0.2, 0.2), as the tutorial starts.
    Small,
    /// All zero.
    Zero,
    /// Uniform in [-1, 1).
    Unit,
    /// Uniform in [0, 0.5): sums do not cancel.
    Positive,
    /// Zero, but for one entry in four, in [-1, 1).
    Sparse,
    /// Below the smallest normal number of the type, or zero.
    Subnormal,
    /// Uniform in [-20, 20): sigmoids saturate.
    Large,
    /// Uniform in [-1000, 1000): an `exp` of such a score overflows in every type.
    Huge,
}

impl Fill {
    fn draw<T: Number>(self, rng: &mut ChaCha8Rng) -> T {
        let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        let value = unit();
        T::from_f64(match self {
            Fill::Small => 0.2 * value,
            Fill::Zero => 0.0,
            Fill::Unit => value,
            Fill::Positive => 0.25 * (value + 1.0),
            Fill::Sparse => {
                if value < -0.5 {
                    unit()
                } else {
                    0.0
                }
            }
            Fill::Subnormal => value * T::SUBNORMAL,
            Fill::Large => 20.0 * value,
            Fill::Huge => 1000.0 * value,
        })
    }
}

/// A network, and a batch of labelled sentences for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The sizes.
    pub shape: Shape,
    /// How emb, wx, wh, w, bh, b and h0 are filled.
    pub fills: [Fill; 7],
    /// The seed that the entries are drawn from.
    pub seed: u64,
    /// At least one sentence.
    pub batch: Vec<Labelled>,
}

impl Problem {
    /// The parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is one that cannot be.
    pub fn params<T: Number>(&self) -> Result<Params<T>, Error> {
        let mut params = Params::zeros(self.shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for ((_, mut tensor), fill) in params.tensors_mut().into_iter().zip(self.fills) {
            tensor.iter_mut().for_each(|entry| *entry = fill.draw(&mut rng));
        }
        Ok(params)
    }

    /// A network of this shape filled as the tutorial starts (but for bh, b and h0, which are not zero),
    /// and sentences of these lengths, drawn from a seed.
    ///
    /// # Errors
    /// A length is 0.
    pub fn tutorial(shape: Shape, lengths: &[usize], seed: u64) -> Result<Self, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: usize| (rng.next_u64() % limit as u64) as usize;
        let batch = lengths
            .iter()
            .map(|length| {
                let words = (0..*length).map(|_| below(shape.vocab)).collect();
                let labels = (0..*length).map(|_| below(shape.classes)).collect();
                Labelled::new(Sentence::new(words)?, labels)
            })
            .collect::<Result<_, _>>()?;
        Ok(Problem { shape, fills: [Fill::Small; 7], seed, batch })
    }
}

/// A cell, packed sequences for it, and a gradient that reaches its states.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequenced {
    /// Width of an input.
    pub input: usize,
    /// Width of a state.
    pub hidden: usize,
    /// The number of steps of each sequence.
    pub lengths: Vec<usize>,
    /// How wx, wh, bh, h0, the inputs and `dh` are filled.
    pub fills: [Fill; 6],
    /// The seed that the entries are drawn from.
    pub seed: u64,
}

impl Sequenced {
    /// The cell, the packed inputs `[steps, input]`, and `dh` `[steps, hidden]`.
    pub fn draw<T: Number>(&self) -> (Cell<T>, Array2<T>, Array2<T>) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut cell = Cell::zeros(self.input, self.hidden);
        let [wx, wh, bh, h0, xs, dh] = self.fills;
        cell.wx.iter_mut().for_each(|entry| *entry = wx.draw(&mut rng));
        cell.wh.iter_mut().for_each(|entry| *entry = wh.draw(&mut rng));
        cell.bh.iter_mut().for_each(|entry| *entry = bh.draw(&mut rng));
        cell.h0.iter_mut().for_each(|entry| *entry = h0.draw(&mut rng));
        let steps = self.lengths.iter().sum();
        let xs = Array2::from_shape_simple_fn((steps, self.input), || xs.draw(&mut rng));
        let dh = Array2::from_shape_simple_fn((steps, self.hidden), || dh.draw(&mut rng));
        (cell, xs, dh)
    }
}

/// How large problems get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Small enough for the derivative by every single parameter: at most 900 of them, 6 words.
    Small,
    /// Every boundary up to 200, windows up to 19, 24 words.
    Full,
}

/// Shapes of Elman and of Jordan networks, whose every size may be a [boundary](BOUNDARIES). One in eight has as many
/// labels as hidden units: the tensors of either network would then fit the other.
pub fn shapes(sizes: Sizes) -> impl Strategy<Value = Shape> {
    let (most, vocab, parameters) = match sizes {
        Sizes::Small => (17usize, 6usize, 900usize),
        Sizes::Full => (200, 60, 150_000),
    };
    let size = move || {
        let boundaries: Vec<usize> = BOUNDARIES.into_iter().filter(|b| *b <= most).collect();
        prop_oneof![3 => 1..=9usize.min(most), 2 => select(boundaries)]
    };
    let window =
        prop_oneof![2 => select(vec![1usize, 3, 5, 7]), 1 => (0usize..10).prop_map(|half| 2 * half + 1)];
    let feedback = select(vec![Feedback::Hidden, Feedback::Output]);
    let square = proptest::bool::weighted(0.125);
    (1..=vocab, size(), window, size(), size(), 0..3usize, feedback, square).prop_map(
        move |(vocab, embed, window, hidden, classes, keep, feedback, square)| {
            let classes = if square { hidden } else { classes };
            let mut shape = Shape { vocab, embed, window, hidden, classes, feedback };
            // Too many parameters: halve the sizes in turn, one of them last.
            let mut turn = 0;
            while shape.parameters() > parameters {
                match (turn + keep) % 3 {
                    0 => shape.embed = shape.embed.div_ceil(2),
                    1 => shape.window = (shape.window / 2) | 1,
                    _ => shape.hidden = shape.hidden.div_ceil(2),
                }
                turn += 1;
                if turn > 30 {
                    shape = Shape { embed: 1, window: 1, hidden: 1, ..shape };
                }
            }
            if square {
                shape.classes = shape.hidden;
            }
            shape
        },
    )
}

/// How a tensor is filled, most often as the tutorial does it.
pub fn fills() -> impl Strategy<Value = Fill> {
    use Fill::*;
    prop_oneof![
        12 => Just(Small),
        2 => Just(Zero),
        4 => Just(Unit),
        2 => Just(Positive),
        2 => Just(Sparse),
        2 => Just(Subnormal),
        2 => Just(Large),
    ]
}

/// A sentence and its labels before the network is known, so that both shrink by themselves.
#[derive(Clone, Debug)]
struct Raw {
    /// Numbers for a word and its label.
    words: Vec<(u16, u16)>,
    /// How many distinct words there are, if not any number; and the first of them.
    distinct: Option<usize>,
    first: u16,
}

impl Raw {
    fn labelled(&self, shape: &Shape) -> Option<Labelled> {
        let distinct = self.distinct.unwrap_or(shape.vocab);
        let id = |word: u16| (usize::from(word) % distinct + usize::from(self.first)) % shape.vocab;
        let words = self.words.iter().map(|(word, _)| id(*word)).collect();
        let labels = self.words.iter().map(|(_, label)| usize::from(*label) % shape.classes).collect();
        Labelled::new(Sentence::new(words).ok()?, labels).ok()
    }
}

fn raw(most: usize) -> impl Strategy<Value = Raw> {
    let distinct = prop_oneof![4 => Just(None), 1 => Just(Some(1)), 1 => Just(Some(2))];
    (vec(any::<(u16, u16)>(), 1..=most), distinct, any::<u16>()).prop_map(|(words, distinct, first)| Raw {
        words,
        distinct,
        first,
    })
}

/// Labelled sentences of up to `most` words: any words, one word over and over, or two in turns.
pub fn labelled(shape: Shape, most: usize) -> impl Strategy<Value = Labelled> {
    raw(most).prop_filter_map("a sentence has a word", move |raw| raw.labelled(&shape))
}

/// Sentences of up to `most` words, as [`labelled`] makes them.
pub fn sentences(shape: Shape, most: usize) -> impl Strategy<Value = Sentence> {
    labelled(shape, most).prop_map(|labelled| labelled.sentence().clone())
}

/// Networks with batches of 1 to 4 sentences.
pub fn problems(sizes: Sizes) -> impl Strategy<Value = Problem> {
    let most = match sizes {
        Sizes::Small => 6,
        Sizes::Full => 24,
    };
    let all = [fills(), fills(), fills(), fills(), fills(), fills(), fills()].map(Strategy::boxed);
    // The tutorial's own fills, any fills, or any fills with huge scores.
    let fills = prop_oneof![
        4 => Just([Fill::Small; 7]),
        5 => all.clone(),
        1 => all.prop_map(|mut fills| { fills[5] = Fill::Huge; fills }),
    ];
    let batch = prop_oneof![2 => vec(raw(most), 1..=1usize), 1 => vec(raw(most), 1..=4usize)];
    (shapes(sizes), fills, any::<u64>().no_shrink(), batch).prop_map(|(shape, fills, seed, batch)| {
        let batch = batch.iter().filter_map(|raw| raw.labelled(&shape)).collect();
        Problem { shape, fills, seed, batch }
    })
}

/// Cells with 1 to 4 sequences.
pub fn sequenced(sizes: Sizes) -> impl Strategy<Value = Sequenced> {
    let (most, steps, input) = match sizes {
        Sizes::Small => (17, 5usize, 17),
        Sizes::Full => (200, 20, 200),
    };
    let size = move |most: usize| {
        let boundaries: Vec<usize> = BOUNDARIES.into_iter().filter(|b| *b <= most).collect();
        prop_oneof![3 => 1..=9usize, 2 => select(boundaries)]
    };
    let all = [fills(), fills(), fills(), fills(), fills(), fills()].map(Strategy::boxed);
    let fills = prop_oneof![2 => Just([Fill::Small; 6]), 3 => all];
    let lengths = prop_oneof![1 => vec(1..=steps, 1..=1usize), 2 => vec(1..=steps, 1..=4usize)];
    (size(input), size(most), lengths, fills, any::<u64>())
        .prop_map(|(input, hidden, lengths, fills, seed)| Sequenced { input, hidden, lengths, fills, seed })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fmt::Debug;

    use super::*;
    use crate::Options;
    use crate::runner::Part;

    /// The same seed gives the same cases on every machine: a case that a report of long ago names can still be run
    /// alone. `UPDATE_EXPECT=1 cargo test` writes cases.txt anew, as a new version of proptest may need it.
    #[test]
    fn the_cases_of_a_seed_are_what_was_written_down() {
        let found = RefCell::new(String::new());
        let write = |what: &str, value: &dyn Debug| *found.borrow_mut() += &format!("{what}: {value:?}\n");
        let options = Options::new().seed(7);
        let mut part = Part::new::<f64>("written", "none".to_string(), &options);
        for (sizes, cases) in [(Sizes::Small, 12), (Sizes::Full, 12)] {
            part.random(cases, part.problems(sizes), |problem, _| {
                let Problem { shape, fills, seed, batch } = problem;
                let batch: Vec<_> =
                    batch.iter().map(|labelled| (labelled.sentence().words(), labelled.labels())).collect();
                write("problem", &(shape, fills, seed));
                write("  words and labels", &batch);
                Ok(())
            });
            part.random(cases, sequenced(sizes), |sequenced, _| {
                write("sequences", sequenced);
                Ok(())
            });
        }
        let Part { report, .. } = part;
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        write("tutorial", &Problem::tutorial(crate::checks::TUTORIAL, &[3, 1], 42).unwrap());
        for fill in [
            Fill::Small,
            Fill::Zero,
            Fill::Unit,
            Fill::Positive,
            Fill::Sparse,
            Fill::Subnormal,
            Fill::Large,
            Fill::Huge,
        ] {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            write(&format!("{fill:?}"), &[(); 8].map(|()| fill.draw::<f64>(&mut rng)));
            write(&format!("{fill:?}"), &[(); 8].map(|()| fill.draw::<f32>(&mut rng)));
        }
        let sequenced =
            Sequenced { input: 2, hidden: 1, lengths: vec![1, 2], fills: [Fill::Unit; 6], seed: 7 };
        let (Cell { wx, wh, bh, h0 }, xs, dh) = sequenced.draw::<f64>();
        write("drawn", &[wx, wh, xs, dh].map(|tensor| tensor.into_iter().collect::<Vec<_>>()));
        write("drawn", &[bh, h0].map(|tensor| tensor.into_iter().collect::<Vec<_>>()));
        expect_test::expect_file!["cases.txt"].assert_eq(&found.borrow());
    }
}
