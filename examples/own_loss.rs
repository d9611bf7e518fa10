//! Inputs and a loss of one's own, through the recurrence and its vector-Jacobian product.
//!
//! Elman's first experiment (*Finding Structure in Time*, Cognitive Science, 1990): a stream of bits in which every
//! third is the exclusive or of the two before it. The network sees one bit at a time and predicts the next one. Two
//! of three cannot be known; the third can, by a network that remembers two bits and counts to three.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use elman::ndarray::{Array1, Array2};
use elman::{Cell, Error, LayerParams, LayerShape, Recurrence, RecurrenceGradient, Sequences};
use elman_fast::Fast;

const HIDDEN: usize = 16;
const STEPS: usize = 1200;
/// Bits in each of the streams of one step: any lengths, packed one after the other.
const LENGTHS: [usize; 12] = [9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42];

/// The network: Elman's recurrence, and a readout that is ours: `p[t] = sigmoid(h[t]·v + c)`.
struct Predictor {
    layer: LayerParams<f64>,
    /// `[hidden]`
    v: Array1<f64>,
    c: f64,
}

impl Predictor {
    fn new(random: &mut Random) -> Result<Self, Error> {
        let mut uniform = |scale: f64| scale * (2.0 * random.unit() - 1.0);
        // Another cell is another word here: Cell::Gru, for example.
        let mut layer = LayerParams::zeros(LayerShape { input: 1, hidden: HIDDEN, cell: Cell::default() })?;
        layer.wx_mut().mapv_inplace(|_| uniform(1.0));
        layer.wh_mut().mapv_inplace(|_| uniform(0.5));
        Ok(Predictor { layer, v: Array1::from_shape_simple_fn(HIDDEN, || uniform(0.5)), c: 0.0 })
    }

    /// Every parameter, in the order of [`Gradient::values`].
    fn values_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.layer.as_mut_slice().iter_mut().chain(&mut self.v).chain([&mut self.c])
    }
}

/// The gradient of the loss by all of [`Predictor`].
#[derive(Default)]
struct Gradient {
    /// What the trace gives; kept between steps, so that its memory is taken once.
    recurrence: RecurrenceGradient<f64>,
    v: Array1<f64>,
    c: f64,
}

impl Gradient {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.recurrence.layer.as_slice().iter().chain(&self.v).chain([&self.c]).copied()
    }
}

/// Streams of bits: `seen` are the inputs, `[rows, 1]`, and `next` what each is to be followed by.
struct Streams {
    seen: Array2<f64>,
    next: Vec<f64>,
    lengths: Vec<usize>,
}

impl Streams {
    fn new(random: &mut Random) -> Self {
        let (mut seen, mut next, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for length in LENGTHS {
            let mut bits: Vec<bool> = Vec::with_capacity(length);
            for i in 0..length {
                bits.push(if i % 3 == 2 { bits[i - 1] ^ bits[i - 2] } else { random.unit() < 0.5 });
            }
            let bits: Vec<f64> = bits.into_iter().map(|bit| f64::from(u8::from(bit))).collect();
            seen.extend(&bits[..length - 1]);
            next.extend(&bits[1..]);
            lengths.push(length - 1);
        }
        Streams { seen: Array2::from_shape_fn((seen.len(), 1), |(row, _)| seen[row]), next, lengths }
    }
}

/// The loss of one step, in bits: the mean over all rows of `-log2` of the probability given to what came. Returns it
/// for the first, second and third bits of each three, and writes the gradient of the mean over all.
fn loss(
    recurrence: &impl Recurrence<f64>,
    predictor: &Predictor,
    streams: &Streams,
    gradient: &mut Gradient,
) -> Result<[f64; 3], Error> {
    let xs = Sequences::new(streams.seen.view(), &streams.lengths)?;
    let trace = recurrence.vjp(predictor.layer.layer(), &xs)?;
    let h = trace.h();

    let mut dh = Array2::zeros(h.raw_dim());
    (gradient.v, gradient.c) = (Array1::zeros(HIDDEN), 0.0);
    let (mut sums, mut counts) = ([0.0; 3], [0.0; 3]);
    let mean = 1.0 / (streams.next.len() as f64 * std::f64::consts::LN_2);
    for range in xs.ranges() {
        for (i, row) in range.enumerate() {
            let (h, next) = (h.row(row), streams.next[row]);
            let p = 1.0 / (1.0 + (-(h.dot(&predictor.v) + predictor.c)).exp());
            let right = if next == 1.0 { p } else { 1.0 - p };
            sums[(i + 1) % 3] -= right.max(f64::MIN_POSITIVE).log2();
            counts[(i + 1) % 3] += 1.0;
            // The derivative of -ln of a sigmoid by its argument.
            let dz = (p - next) * mean;
            gradient.v.scaled_add(dz, &h);
            gradient.c += dz;
            dh.row_mut(row).scaled_add(dz, &predictor.v);
        }
    }
    trace.backward_into(dh.view(), None, &mut gradient.recurrence)?;
    Ok([0, 1, 2].map(|k| sums[k] / counts[k]))
}

/// Adam (Kingma and Ba, 2015), over all parameters in a row.
#[derive(Default)]
struct Adam {
    moments: Vec<(f64, f64)>,
    steps: i32,
}

impl Adam {
    fn step(&mut self, predictor: &mut Predictor, gradient: &Gradient, learning_rate: f64) {
        const DECAY: (f64, f64) = (0.9, 0.999);
        self.steps += 1;
        let unbiased = (1.0 - DECAY.0.powi(self.steps), 1.0 - DECAY.1.powi(self.steps));
        self.moments.resize(gradient.values().count(), (0.0, 0.0));
        for ((value, g), (m, v)) in predictor.values_mut().zip(gradient.values()).zip(&mut self.moments) {
            *m += (1.0 - DECAY.0) * (g - *m);
            *v += (1.0 - DECAY.1) * (g * g - *v);
            *value -= learning_rate * (*m / unbiased.0) / ((*v / unbiased.1).sqrt() + 1e-8);
        }
    }
}

/// SplitMix64: the same streams everywhere.
struct Random(u64);

impl Random {
    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Trains, and returns the loss of streams that were not trained on.
fn train(out: &mut impl Write) -> Result<[f64; 3], Box<dyn std::error::Error>> {
    let fast = Fast::new();
    let mut random = Random(1990);
    let mut predictor = Predictor::new(&mut random)?;
    let (mut adam, mut gradient) = (Adam::default(), Gradient::default());
    writeln!(out, "bits it takes to say     the first   the second   the third of each three")?;
    for step in 0..=STEPS {
        // New streams at every step: nothing can be learned by heart.
        let [first, second, third] = loss(&fast, &predictor, &Streams::new(&mut random), &mut gradient)?;
        if step % 300 == 0 {
            writeln!(out, "after {step:4} steps {first:17.2} {second:12.2} {third:11.2}")?;
        }
        adam.step(&mut predictor, &gradient, 0.01);
    }
    Ok(loss(&fast, &predictor, &Streams::new(&mut random), &mut gradient)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    train(&mut io::stdout()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_can_be_known_and_prints_what_the_book_shows() {
        let mut printed = Vec::new();
        let [first, second, third] = train(&mut printed).unwrap();
        assert!(first > 0.9 && second > 0.9 && third < 0.1, "{first} {second} {third}");
        elman_examples::assert_shown(
            include_str!("../docs/downstream.md"),
            "cargo run -p elman-examples --example own_loss",
            &String::from_utf8(printed).unwrap(),
        );
    }

    /// The loss is ours, so its gradient must be proven here: against differences, by every parameter.
    #[test]
    fn the_gradient_is_the_derivative_of_the_loss() {
        let mut random = Random(7);
        let mut predictor = Predictor::new(&mut random).unwrap();
        let streams = Streams::new(&mut random);
        let reference = elman_reference::Reference::new();
        let mut gradient = Gradient::default();
        loss(&reference, &predictor, &streams, &mut gradient).unwrap();
        let expected: Vec<f64> = gradient.values().collect();
        let mean = |predictor: &Predictor| {
            // The kinds do not come equally often: two of the first, three of the others in nine bits, for example.
            let kinds = streams.lengths.iter().flat_map(|length| (1..=*length).map(|i| i % 3));
            let mut counts = [0.0; 3];
            kinds.for_each(|kind| counts[kind] += 1.0);
            let each = loss(&reference, predictor, &streams, &mut Gradient::default()).unwrap();
            let sum: f64 = each.iter().zip(counts).map(|(loss, count)| loss * count).sum();
            sum / streams.next.len() as f64
        };
        let step = 1e-5;
        for (i, expected) in expected.into_iter().enumerate() {
            let mut at = |by: f64| {
                *predictor.values_mut().nth(i).unwrap() += by;
                let loss = mean(&predictor);
                *predictor.values_mut().nth(i).unwrap() -= by;
                loss
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            assert!((found - expected).abs() < 1e-9, "parameter {i}: {found} is not {expected}");
        }
    }
}
