//! proptest strategies for networks and sentences, which shrink to small and tame ones.
//!
//! A [`Problem`] describes its parameters by how each tensor is filled and by a seed, not entry by entry: it
//! prints in one line, and it shrinks by its sizes, its words and its fills.
//!
//! ```
//! use elman_verify::strategies::{Sizes, networks, problems};
//! use proptest::prelude::*;
//!
//! proptest!(|(problem in problems(Sizes::Small, networks()))| {
//!     let params = problem.params::<f32>().unwrap();
//!     prop_assert_eq!(params.shape(), problem.shape);
//!     prop_assert!(problem.batch.batch().check(&problem.shape).is_ok());
//! });
//! ```

use elman::ndarray::{Array1, Array2, ArrayView2, ArrayViewMut, Axis, Dimension};
use elman::{
    Activation, Cell, Direction, Error, Feedback, Float, Head, LayerParams, LayerShape, Layout, Name, Params,
    Real, Sentences, Sequences, Shape,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::equations::rows;

/// Sizes on both sides of every width that vectors and tiles have.
pub const BOUNDARIES: [usize; 17] = [1, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 200, 255, 256, 257];

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
    fn draw<T: Float>(self, rng: &mut ChaCha8Rng) -> T {
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
            Fill::Subnormal => value * subnormal::<T>(),
            Fill::Large => 20.0 * value,
            Fill::Huge => 1000.0 * value,
        })
    }

    fn fill<T: Float, D: Dimension>(self, mut tensor: ArrayViewMut<'_, T, D>, rng: &mut ChaCha8Rng) {
        tensor.iter_mut().for_each(|entry| *entry = self.draw(rng));
    }
}

/// A number well inside the subnormal range.
pub(crate) fn subnormal<T: Float>() -> f64 {
    T::MIN_POSITIVE * T::EPSILON.sqrt()
}

/// The networks that problems are made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    /// Combinations of a cell and a feedback.
    pub cells: Vec<(Cell, Feedback)>,
    /// Whether networks that feed their states back may have several layers and both directions.
    pub stacked: bool,
    /// Whether networks that feed their states back may have a CRF.
    pub crf: bool,
}

/// Every network that there is.
pub fn networks() -> Networks {
    let all = Cell::ALL.into_iter().flat_map(|cell| Feedback::ALL.map(|feedback| (cell, feedback)));
    let one = Shape { vocab: 1, embed: 1, window: 1, hidden: 1, classes: 1, ..Shape::ELMAN };
    let cells =
        all.filter(|(cell, feedback)| Shape { cell: *cell, feedback: *feedback, ..one }.check().is_ok());
    Networks { cells: cells.collect(), stacked: true, crf: true }
}

/// Halves wh until it does not enlarge a vector any more, where nothing else bounds the states or their gradients: with
/// a ReLU always, with other cells in long sequences, whose results would depend on nothing but rounding.
fn tame<T: Float, S: Layout>(params: &mut Params<T, S>, longest: usize) {
    let names: Vec<Name> = params.shape().table().map(|tensor| tensor.name).collect();
    for name in names.into_iter().filter(|name| name.of(0, Direction::Forward) == Name::Wh) {
        tame_one(params, name, longest);
    }
}

fn tame_one<T: Float, S: Layout>(params: &mut Params<T, S>, name: Name, longest: usize) {
    let cell = params.shape().cell();
    let mut tensor = params.matrix_mut(name);
    let n = tensor.nrows();
    if cell == Cell::default() && longest <= 24 || n * cell.gates() != tensor.ncols() {
        return;
    }
    let wh = tensor.mapv(|w| w.to_f64());
    let mut growth = 0.0;
    for gate in 0..cell.gates() {
        let mut v = Array1::from_elem(n, 1.0 / (n as f64).sqrt());
        let part = wh.slice_axis(Axis(1), (gate * n..(gate + 1) * n).into());
        for _ in 0..8 {
            v = v.dot(&part);
            if cell == Cell::Elman(Activation::Relu) {
                v.mapv_inplace(|v| v.max(0.0));
            }
            let norm = v.dot(&v).sqrt();
            growth = f64::max(growth, norm);
            v.mapv_inplace(|entry| if norm > 0.0 { entry / norm } else { 0.0 });
        }
    }
    if growth > 1.0 {
        let factor = T::from_f64((-growth.log2().ceil()).exp2());
        tensor.mapv_inplace(|w| w * factor);
    }
}

/// A network, and a batch of labelled sentences for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The sizes.
    pub shape: Shape,
    /// How the tensors are filled, in the order of their table; over again where there are more.
    pub fills: [Fill; 8],
    /// The seed that the entries are drawn from.
    pub seed: u64,
    /// At least one sentence.
    pub batch: Sentences,
}

impl Problem {
    /// The parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is one that cannot be.
    pub fn params<T: Float>(&self) -> Result<Params<T>, Error> {
        let mut params = Params::zeros(self.shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for ((_, tensor), fill) in params.tensors_mut().zip(self.fills.into_iter().cycle()) {
            fill.fill(tensor, &mut rng);
        }
        tame(&mut params, self.batch.batch().iter().map(|sentence| sentence.words.len()).max().unwrap_or(0));
        Ok(params)
    }

    /// The same problem with one tensor filled otherwise, if the shape has it.
    pub fn fill(mut self, name: Name, fill: Fill) -> Self {
        if let Some(place) = self.shape.table().position(|tensor| tensor.name == name) {
            self.fills[place] = fill;
        }
        self
    }

    /// A network of this shape filled as the tutorial starts (but for the biases and h0, which are not zero),
    /// and sentences of these lengths, drawn from a seed.
    ///
    /// # Errors
    /// A length is 0.
    pub fn tutorial(shape: Shape, lengths: &[usize], seed: u64) -> Result<Self, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ids = |length: usize, limit: usize| {
            (0..length).map(|_| (rng.next_u64() % limit as u64) as u32).collect::<Vec<_>>()
        };
        let mut batch = Sentences::new();
        for length in lengths {
            batch.push(&ids(*length, shape.vocab), &ids(*length, shape.classes))?;
        }
        Ok(Problem { shape, fills: [Fill::Small; 8], seed, batch })
    }
}

/// A layer, packed sequences for it, and gradients that reach its states.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequenced {
    /// The sizes.
    pub shape: LayerShape,
    /// The number of steps of each sequence.
    pub lengths: Vec<usize>,
    /// Whether each sequence has an initial state of its own, and whether a gradient reaches its last state.
    pub ends: (bool, bool),
    /// How the tensors of the layer are filled, in the order of their table; there may be more of these.
    pub fills: [Fill; 5],
    /// How the inputs, the initial states and the gradients are filled.
    pub data: [Fill; 3],
    /// The seed that the entries are drawn from.
    pub seed: u64,
}

/// The numbers of a [`Sequenced`].
#[derive(Clone, Debug)]
pub struct Drawn<T> {
    /// The layer.
    pub layer: LayerParams<T>,
    /// The number of steps of each sequence.
    pub lengths: Vec<usize>,
    /// The packed inputs, `[steps, input]`.
    pub rows: Array2<T>,
    /// The initial states, `[sequences, states·hidden]`, if not h0.
    pub initial: Option<Array2<T>>,
    /// The gradient of the states, `[steps, hidden]`.
    pub dh: Array2<T>,
    /// The gradient of the last states, `[sequences, states·hidden]`.
    pub dlast: Option<Array2<T>>,
}

impl<T: Real> Drawn<T> {
    /// The sequences.
    ///
    /// # Errors
    /// Those of [`Sequences::new`].
    pub fn xs(&self) -> Result<Sequences<'_, T>, Error> {
        let xs = Sequences::new(self.rows.view(), &self.lengths)?;
        self.initial.as_ref().map_or(Ok(xs), |initial| xs.starting_from(initial.view()))
    }

    /// The gradient of the last states.
    pub fn dlast(&self) -> Option<ArrayView2<'_, T>> {
        self.dlast.as_ref().map(|dlast| dlast.view())
    }

    /// The same numbers in another type.
    pub fn map<U: Real>(&self, f: impl Fn(T) -> U) -> Drawn<U> {
        Drawn {
            layer: self.layer.map(&f),
            lengths: self.lengths.clone(),
            rows: self.rows.mapv(&f),
            initial: self.initial.as_ref().map(|initial| initial.mapv(&f)),
            dh: self.dh.mapv(&f),
            dlast: self.dlast.as_ref().map(|dlast| dlast.mapv(&f)),
        }
    }

    /// The same sequences with initial states of their own in any case: copies of h0 (and c0), if they had none.
    pub(crate) fn with_initial(&self) -> Drawn<T> {
        let first = self.layer.layer().initial();
        let copies = || Array2::from_shape_fn((self.lengths.len(), first.len()), |(_, i)| first[i]);
        Drawn { initial: Some(self.initial.clone().unwrap_or_else(copies)), ..self.clone() }
    }

    /// One of the sequences alone.
    pub(crate) fn sequence(&self, i: usize) -> Drawn<T> {
        let start: usize = self.lengths[..i].iter().sum();
        let steps = start..start + self.lengths[i];
        let end = |ends: &Option<Array2<T>>| ends.as_ref().map(|ends| rows(ends.view(), i..i + 1).to_owned());
        Drawn {
            layer: self.layer.clone(),
            lengths: vec![self.lengths[i]],
            rows: rows(self.rows.view(), steps.clone()).to_owned(),
            initial: end(&self.initial),
            dh: rows(self.dh.view(), steps).to_owned(),
            dlast: end(&self.dlast),
        }
    }
}

impl Sequenced {
    /// The numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is one that cannot be.
    pub fn draw<T: Float>(&self) -> Result<Drawn<T>, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut layer = LayerParams::zeros(self.shape)?;
        for ((_, tensor), fill) in layer.tensors_mut().zip(self.fills) {
            fill.fill(tensor, &mut rng);
        }
        tame(&mut layer, self.lengths.iter().copied().max().unwrap_or(0));
        let (steps, sequences) = (self.lengths.iter().sum(), self.lengths.len());
        let mut matrix = |rows: usize, cols: usize, fill: Fill| {
            let mut matrix = Array2::zeros((rows, cols));
            fill.fill(matrix.view_mut(), &mut rng);
            matrix
        };
        let ([xs, initial, dh], LayerShape { input, hidden, cell }) = (self.data, self.shape);
        let states = cell.states() * hidden;
        Ok(Drawn {
            layer,
            lengths: self.lengths.clone(),
            rows: matrix(steps, input, xs),
            initial: self.ends.0.then(|| matrix(sequences, states, initial)),
            dh: matrix(steps, hidden, dh),
            dlast: self.ends.1.then(|| matrix(sequences, states, dh)),
        })
    }
}

/// How large problems get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Small enough for the derivative by every single parameter: at most 700 of them, 6 words.
    Small,
    /// Every boundary up to 257, windows up to 41, 300 words, batches of 70 sentences, packs of 70 sequences; as many of
    /// these at once as some hundred thousand multiplications allow.
    Full,
}

/// The multiplications of a forward pass that a full problem may take.
const WORK: usize = 250_000;

/// Small sizes more often than boundaries. One list in order, so that every size shrinks to the smallest that fails.
fn size(most: usize) -> impl Strategy<Value = usize> {
    sorted((1..=9).chain(1..=9).chain(1..=9).chain(BOUNDARIES).filter(move |size| *size <= most))
}

fn sorted(sizes: impl Iterator<Item = usize>) -> impl Strategy<Value = usize> {
    let mut sizes: Vec<usize> = sizes.collect();
    sizes.sort_unstable();
    select(sizes)
}

/// Shapes of these networks before it is known how many words there are, and the size that is halved last. Every size may
/// be a [boundary](BOUNDARIES). One shape in eight has as many labels as hidden units: the tensors of an Elman and of a
/// Jordan network would then fit each other.
fn shapes(sizes: Sizes, networks: Networks) -> impl Strategy<Value = (Shape, usize)> {
    let (most, vocab, widest) = match sizes {
        Sizes::Small => (17, 6usize, 19),
        Sizes::Full => (257, 300, 41),
    };
    let usual = [1usize, 3, 5, 7].into_iter().flat_map(|window| [window; 10]);
    let window = sorted(usual.chain((3..=widest).step_by(2)));
    let vocab = prop_oneof![1 => 1..=6usize, 1 => 1usize..=vocab];
    let square = proptest::bool::weighted(0.125);
    // One network in four has layers or directions.
    let stacks = prop_oneof![
        9 => Just((1, false)),
        1 => Just((1, true)),
        1 => Just((2, false)),
        1 => prop_oneof![Just((2, true)), Just((3, true)), Just((3, false))],
    ];
    let Networks { cells, stacked, .. } = networks;
    (vocab, size(most), window, size(most), size(most), 0..3usize, select(cells), square, stacks).prop_map(
        move |(vocab, embed, window, hidden, classes, last, (cell, feedback), square, stack)| {
            let classes = if square { hidden } else { classes };
            let has_stack = stacked && feedback == Feedback::Hidden;
            let (layers, bidirectional) = if has_stack { stack } else { (1, false) };
            let sizes = Shape { vocab, embed, window, hidden, classes, ..Shape::ELMAN };
            (Shape { cell, feedback, layers, bidirectional, ..sizes }, last)
        },
    )
}

/// The shape, its sizes halved in turn until the work for so many words is not too much.
fn fitting(mut shape: Shape, last: usize, sizes: Sizes, words: usize) -> Shape {
    let square = shape.classes == shape.hidden;
    for turn in last.. {
        let too_large = match sizes {
            Sizes::Small => shape.parameters() > 700,
            Sizes::Full => {
                let tables = shape.vocab * shape.embed;
                shape.parameters() > 150_000 || (shape.parameters() - tables) * words > WORK
            }
        };
        if !too_large || turn == last + 40 {
            break;
        }
        match turn % 4 {
            0 => shape.embed = shape.embed.div_ceil(2),
            1 => shape.window = (shape.window / 2) | 1,
            2 => shape.hidden = shape.hidden.div_ceil(2),
            _ => shape.classes = shape.classes.div_ceil(2),
        }
        if square {
            shape.classes = shape.hidden;
        }
    }
    shape
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

/// Sentences and their labels before the network is known, so that both shrink by themselves.
#[derive(Clone, Debug)]
struct Raw {
    /// Numbers for a word and its label.
    sentences: Vec<Vec<(u16, u16)>>,
    /// How many distinct words there are, if not any number; and the first of them.
    distinct: Option<usize>,
    first: u16,
    /// Whether the first sentence comes again at the end.
    again: bool,
}

impl Raw {
    fn words(&self) -> usize {
        self.sentences.iter().map(Vec::len).sum()
    }

    fn batch(&self, shape: &Shape) -> Sentences {
        let distinct = self.distinct.unwrap_or(shape.vocab);
        let word =
            |word: u16| ((usize::from(word) % distinct + usize::from(self.first)) % shape.vocab) as u32;
        let label = |label: u16| (usize::from(label) % shape.classes) as u32;
        let mut batch = Sentences::new();
        for raw in self.sentences.iter().chain(self.sentences.iter().take(usize::from(self.again))) {
            let (words, labels): (Vec<u32>, Vec<u32>) =
                raw.iter().map(|(w, l)| (word(*w), label(*l))).unzip();
            batch
                .push(&words, &labels)
                .expect("a sentence with as many labels as words, of which there are some");
        }
        batch
    }
}

/// Sentences of any words, of one word over and over, or of two in turns.
fn raw(sizes: Sizes) -> impl Strategy<Value = Raw> {
    let ids = any::<(u16, u16)>;
    let sentences = match sizes {
        Sizes::Small => {
            prop_oneof![2 => vec(vec(ids(), 1..=6), 1..=1), 1 => vec(vec(ids(), 1..=6), 1..=4)].boxed()
        }
        Sizes::Full => prop_oneof![
            6 => vec(vec(ids(), 1..=24), 1..=1),
            4 => vec(vec(ids(), 1..=24), 1..=4),
            1 => vec(vec(ids(), 25..=300), 1..=1),
            1 => vec(vec(ids(), 1..=4), 5..=70),
        ]
        .boxed(),
    };
    let distinct = prop_oneof![4 => Just(None), 1 => Just(Some(1)), 1 => Just(Some(2))];
    (sentences, distinct, any::<u16>(), proptest::bool::weighted(0.2))
        .prop_map(|(sentences, distinct, first, again)| Raw { sentences, distinct, first, again })
}

/// Networks with batches of sentences.
pub fn problems(sizes: Sizes, networks: Networks) -> impl Strategy<Value = Problem> {
    let all = std::array::from_fn::<_, 8, _>(|_| fills().boxed());
    // The tutorial's own fills, any fills, or any fills with huge scores.
    let fills = prop_oneof![
        4 => Just(([Fill::Small; 8], false)),
        5 => all.clone().prop_map(|fills| (fills, false)),
        1 => all.prop_map(|fills| (fills, true)),
    ];
    // One network in four has a CRF.
    let crf = proptest::bool::weighted(if networks.crf { 0.25 } else { 0.0 });
    (raw(sizes), shapes(sizes, networks), fills, any::<u64>().no_shrink(), crf).prop_map(
        move |(raw, (mut shape, last), (fills, huge), seed, crf)| {
            if crf && shape.feedback == Feedback::Hidden {
                shape.head = Head::Crf;
            }
            let shape = fitting(shape, last, sizes, raw.words());
            let problem = Problem { shape, fills, seed, batch: raw.batch(&shape) };
            if huge { problem.fill(Name::B, Fill::Huge) } else { problem }
        },
    )
}

/// Layers of these cells with packs of sequences.
pub fn sequenced(sizes: Sizes, cells: Vec<Cell>) -> impl Strategy<Value = Sequenced> {
    let lengths = match sizes {
        Sizes::Small => prop_oneof![1 => vec(1..=5usize, 1..=1), 2 => vec(1..=5usize, 1..=4)].boxed(),
        Sizes::Full => prop_oneof![
            2 => vec(1..=20usize, 1..=1),
            4 => vec(1..=20usize, 1..=4),
            2 => (1..=6usize, 3..=40usize).prop_map(|(steps, sequences)| vec![steps; sequences]),
            1 => vec(1..=6usize, 5..=70),
            1 => vec(25..=300usize, 1..=1),
        ]
        .boxed(),
    };
    let fills = prop_oneof![
        2 => Just([Fill::Small; 8]),
        3 => std::array::from_fn::<_, 8, _>(|_| fills().boxed()),
    ];
    let most = if sizes == Sizes::Small { 17 } else { 257 };
    let ends = any::<(bool, bool)>();
    (size(most), size(most), select(cells), lengths, ends, fills, any::<u64>().no_shrink()).prop_map(
        move |(input, hidden, cell, lengths, ends, [a, b, c, d, e, data @ ..], seed)| {
            let mut shape = LayerShape { input, hidden, cell };
            let steps: usize = lengths.iter().sum();
            let most = if sizes == Sizes::Small { 3_000 } else { WORK };
            while shape.parameters() * steps > most && shape.parameters() > 20 {
                shape.input = shape.input.div_ceil(2);
                shape.hidden = shape.hidden.div_ceil(2);
            }
            Sequenced { shape, lengths, ends, fills: [a, b, c, d, e], data, seed }
        },
    )
}
