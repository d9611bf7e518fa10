//! The equations, against numbers that were not computed by this code.

mod common;

use common::{gradient, networks, one};
use elman::ndarray::{Array1, Axis, array, concatenate, s};
use elman::{Activation, Cell, Feedback, Head, Name, Network, Params, Real, Shape, context};
use elman_reference::Reference;
use num_dual::Dual64;

fn close(what: &str, found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{what} = {found}, expected {expected}");
}

/// One embedding, one hidden unit, two labels, with numbers whose exponentials are whole.
///
/// x = 1 for word 0 and 0 for word 1; wx = ln 3, wh = 7 ln 2, h0 = 1/7, bh = 0:
///
/// - z[0] = ln 3 + ln 2 = ln 6, so h[0] = 6/7;
/// - z[1] = 7 ln 2 · 6/7 = ln 64, so h[1] = 64/65.
///
/// w = (0, 7 ln 2), b = (0, -5 ln 2): s[0] = softmax(0, ln 2) = (1/3, 2/3).
fn by_hand() -> Params<f64> {
    let shape = Shape { vocab: 2, embed: 1, window: 1, hidden: 1, classes: 2, ..Shape::ELMAN };
    let ln2 = 2.0_f64.ln();
    let mut params = Params::zeros(shape).unwrap();
    params.emb_mut().assign(&array![[1.0], [0.0], [9.0]]);
    params.wx_mut().fill(3.0_f64.ln());
    params.wh_mut().fill(7.0 * ln2);
    params.w_mut().assign(&array![[0.0, 7.0 * ln2]]);
    params.b_mut().assign(&array![0.0, -5.0 * ln2]);
    params.h0_mut().fill(1.0 / 7.0);
    params
}

#[test]
fn two_words_by_hand() {
    let s = Reference::new().predict(&by_hand(), &[0, 1]).unwrap();
    // softmax(0, y)[1] = 1 / (1 + e^-y), with y = 7 ln 2 · 64/65 - 5 ln 2 = ln 2 · 123/65.
    let second = 1.0 / (1.0 + (-123.0 / 65.0_f64).exp2());
    for (what, found, expected) in [
        ("s[0][0]", s[[0, 0]], 1.0 / 3.0),
        ("s[0][1]", s[[0, 1]], 2.0 / 3.0),
        ("s[1][0]", s[[1, 0]], 1.0 - second),
        ("s[1][1]", s[[1, 1]], second),
    ] {
        close(what, found, expected, 1e-15);
    }
}

/// The gradient of `by_hand` with the one word 0 and label 0: loss = ln 3, ds = (-2/3, 2/3),
/// dh = 7 ln 2 · 2/3, dz = dh · 6/7 · 1/7 = 4/7 ln 2.
#[test]
fn the_gradient_of_one_word_by_hand() {
    let ln2 = 2.0_f64.ln();
    let dz = 4.0 / 7.0 * ln2;
    let (loss, grad) = gradient(Reference::new(), &by_hand(), one(&[0], &[0]).batch());
    close("loss", loss, 3.0_f64.ln(), 1e-15);
    for (name, found, expected) in [
        ("emb[0]", grad.emb()[[0, 0]], dz * 3.0_f64.ln()),
        ("emb[1]", grad.emb()[[1, 0]], 0.0),
        ("emb[padding]", grad.emb()[[2, 0]], 0.0),
        ("wx", grad.wx()[[0, 0]], dz),
        ("wh", grad.wh()[[0, 0]], dz / 7.0),
        ("w[0]", grad.w()[[0, 0]], -2.0 / 3.0 * 6.0 / 7.0),
        ("w[1]", grad.w()[[0, 1]], 2.0 / 3.0 * 6.0 / 7.0),
        ("bh", grad.bh()[0], dz),
        ("b[0]", grad.b()[0], -2.0 / 3.0),
        ("b[1]", grad.b()[1], 2.0 / 3.0),
        ("h0", grad.h0()[0], dz * 7.0 * ln2),
    ] {
        close(name, found, expected, 1e-15);
    }
}

/// The next state, and the probabilities of the labels, as the equations are written in `elman::Cell`. Of an LSTM, c
/// becomes the next one too.
fn step(
    params: &Params<f64>,
    x: &Array1<f64>,
    fed_back: &Array1<f64>,
    c: &mut Option<Array1<f64>>,
) -> (Array1<f64>, Array1<f64>) {
    let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
    let Shape { hidden, cell, .. } = params.shape();
    let gate = |g: usize| {
        let columns = s![.., g * hidden..(g + 1) * hidden];
        let by_x = x.dot(&params.wx().slice(columns)) + params.bh().slice(s![g * hidden..(g + 1) * hidden]);
        (by_x, fed_back.dot(&params.wh().slice(columns)))
    };
    let sum = |(by_x, by_h): (Array1<f64>, Array1<f64>)| by_x + by_h;
    let h = match cell {
        Cell::Elman(Activation::Sigmoid) => sum(gate(0)).mapv(sigmoid),
        Cell::Elman(Activation::Tanh) => sum(gate(0)).mapv(f64::tanh),
        Cell::Elman(Activation::Relu) => sum(gate(0)).mapv(|a| a.max(0.0)),
        Cell::Gru => {
            let (r, z) = (sum(gate(0)).mapv(sigmoid), sum(gate(1)).mapv(sigmoid));
            let (by_x, by_h) = gate(2);
            let n = (by_x + r * (by_h + params.bhn().unwrap())).mapv(f64::tanh);
            (1.0 - &z) * n + z * fed_back
        }
        Cell::Lstm => {
            let [i, f, o] = [0, 1, 3].map(|g| sum(gate(g)).mapv(sigmoid));
            let next = f * c.as_ref().unwrap() + i * sum(gate(2)).mapv(f64::tanh);
            o * c.insert(next).mapv(|c| c.tanh())
        }
        other => panic!("{other}: its equations are to be written here"),
    };
    let e = (h.dot(&params.w()) + params.b()).mapv(f64::exp);
    (h, &e / e.sum())
}

#[test]
fn every_network_is_its_equations() {
    let words = [1, 4, 1, 0];
    let networks = networks(Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 3, ..Shape::ELMAN });
    for shape in networks.into_iter().filter(|shape| shape.head == Head::Softmax) {
        let params = common::params(shape, 3);
        let (mut fed_back, mut c) = (params.h0().to_owned(), params.c0().map(|c0| c0.to_owned()));
        let found = Reference::new().predict(&params, &words).unwrap();
        for (t, found) in found.rows().into_iter().enumerate() {
            let around: Vec<_> =
                context(&words, t, &shape).map(|word| params.emb().row(word as usize).to_owned()).collect();
            let parts: Vec<_> = around.iter().map(|part| part.view()).collect();
            let (h, s) = step(&params, &concatenate(Axis(0), &parts).unwrap(), &fed_back, &mut c);
            for (j, (found, expected)) in found.iter().zip(&s).enumerate() {
                close(&format!("{}: s[{t}][{j}]", shape.name()), *found, *expected, 1e-15);
            }
            fed_back = if shape.feedback == Feedback::Hidden { h } else { s };
        }
    }
}

/// Outputs, loss and gradient for the words 2, 0, 2, 1 with labels 1, 2, 0, 1 are those that `numbers.py` found.
#[test]
fn every_network_has_the_numbers_of_another_program() {
    fn compare<T: Real>(params: &Params<f64>, allowed: f64) {
        let (params, network) = (params.map(T::from_f64), params.shape().name());
        let words = [2, 0, 2, 1];
        let mut grad = params.clone();
        let sentence = one(&words, &[1, 2, 0, 1]);
        let loss = Reference::new().gradient(&params, sentence.batch(), &mut grad).unwrap();
        let s = Reference::new().predict(&params, &words).unwrap();
        for (what, found) in [("s", s.as_slice().unwrap()), ("loss", &[loss]), ("gradient", grad.as_slice())]
        {
            let start = format!("{network} {what} ");
            let line = include_str!("numbers.txt").lines().find_map(|line| line.strip_prefix(&start));
            let expected: Vec<f64> = line.unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                close(&format!("{start}[{i}]"), found.to_f64(), expected, allowed);
            }
        }
    }
    for shape in networks(Shape { vocab: 3, embed: 2, window: 3, hidden: 2, classes: 3, ..Shape::ELMAN }) {
        let mut params = Params::zeros(shape).unwrap();
        for (k, entry) in params.as_mut_slice().iter_mut().enumerate() {
            *entry = (((7 * k) % 19) as f64 - 9.0) / 20.0;
        }
        compare::<f64>(&params, 1e-15);
        compare::<f32>(&params, 1e-6);
    }
}

/// Scores so far apart that the softmax of the label is 0 in any floating-point number: the loss is their difference,
/// not infinity, and the gradient stays finite. Dual numbers have the derivative of the loss there too.
#[test]
fn large_scores_and_states_do_not_overflow() {
    fn check<T: Real>(shape: Shape) {
        let mut params = Params::<T>::zeros(shape).unwrap();
        let numbers = |values: [f64; 3]| Array1::from_iter(values.map(T::from_f64));
        params.b_mut().assign(&numbers([-5000.0, 5000.0, 0.0]));
        let mut grad = params.clone();
        let loss = Reference::new().gradient(&params, one(&[0], &[0]).batch(), &mut grad).unwrap();
        assert_eq!(loss, T::from_f64(10_000.0));
        assert_eq!(grad.b(), numbers([-1.0, 1.0, 0.0]));
        let s = Reference::new().predict(&params, &[0]).unwrap();
        assert_eq!(s.row(0), numbers([0.0, 1.0, 0.0]));
        // Large scores that are equal: the logarithm keeps its digits.
        params.b_mut().fill(T::from_f64(1e8));
        let loss = Reference::new().gradient(&params, one(&[0], &[0]).batch(), &mut grad).unwrap();
        assert_eq!(loss, T::from_f64(3.0).ln());
        params.b_mut().assign(&numbers([-5000.0, 5000.0, 0.0]));
        // States that are at the limits of the activations to the last bit.
        for z in [-5000.0, 5000.0] {
            params.bh_mut().fill(T::from_f64(z));
            params.w_mut().fill(T::one());
            let loss = Reference::new().gradient(&params, one(&[0, 0], &[1, 1]).batch(), &mut grad).unwrap();
            assert_eq!(loss, T::zero(), "{} at {z}", shape.name());
            for (name, tensor) in grad.tensors() {
                assert!(tensor.iter().all(|g| g.to_f64().is_finite()), "{} at {z}: {name}", shape.name());
            }
        }
    }
    for shape in networks(Shape { vocab: 2, embed: 1, window: 1, hidden: 1, classes: 3, ..Shape::ELMAN }) {
        check::<f32>(shape);
        check::<f64>(shape);
        check::<Dual64>(shape);
        let mut params = common::params(shape, 1).map(Dual64::from);
        params.bh_mut().fill(Dual64::new(-5000.0, 1.0));
        let mut grad = params.clone();
        let loss = Reference::new().gradient(&params, one(&[0], &[0]).batch(), &mut grad).unwrap();
        assert_eq!(loss.eps, 0.0, "{}", shape.name());
    }
}

/// Its derivative at 0 is 0, for the hand-written gradient as for dual numbers.
#[test]
fn a_rectified_unit_at_zero_is_constant() {
    let cell = Cell::Elman(Activation::Relu);
    let shape = Shape { vocab: 1, embed: 1, window: 1, hidden: 1, classes: 2, cell, ..Shape::ELMAN };
    let mut params = Params::<Dual64>::zeros(shape).unwrap();
    params.w_mut().assign(&array![[1.0, 2.0]].mapv(Dual64::from));
    params.bh_mut().fill(Dual64::new(0.0, 1.0));
    let mut grad = params.clone();
    let loss = Reference::new().gradient(&params, one(&[0], &[0]).batch(), &mut grad).unwrap();
    assert_eq!((loss.eps, grad.bh()[0].re), (0.0, 0.0));
    params.bh_mut().fill(Dual64::from(f64::NAN));
    assert!(Reference::new().predict(&params, &[0]).unwrap().iter().all(|s| s.re.is_nan()));
}

/// Two words and two labels without weights: e^score is start · transition · end, in products of small numbers.
///
/// |  | labels 0 0 | 0 1 | 1 0 | 1 1 | Z |
/// |---|---|---|---|---|---|
/// | e^score | 1 · 1 · 1 | 1 · 2 · 5 | 3 · 4 · 1 | 3 · 1 · 5 | 38 |
#[test]
fn a_crf_of_two_words_by_hand() {
    let shape =
        Shape { vocab: 1, embed: 1, window: 1, hidden: 1, classes: 2, head: Head::Crf, ..Shape::ELMAN };
    let mut params = Params::zeros(shape).unwrap();
    params.matrix_mut(Name::Transitions).assign(&array![[1.0, 2.0], [4.0, 1.0]].mapv(f64::ln));
    params.vector_mut(Name::Start).unwrap().assign(&array![1.0, 3.0].mapv(f64::ln));
    params.vector_mut(Name::End).unwrap().assign(&array![1.0, 5.0].mapv(f64::ln));
    let sentence = one(&[0, 0], &[0, 1]);
    let (loss, grad) = gradient(Reference::new(), &params, sentence.batch());
    close("loss", loss, 3.8f64.ln() / 2.0, 1e-15);
    let s = Reference::new().predict(&params, &[0, 0]).unwrap();
    let crf = grad.crf().unwrap();
    let pairs = array![[1.0, 10.0 - 38.0], [12.0, 15.0]] / 76.0;
    for (what, found, expected) in [
        ("s", s, array![[11.0, 27.0], [13.0, 25.0]] / 38.0),
        ("transitions", crf.transitions.to_owned(), pairs),
        ("start", crf.start.to_owned().insert_axis(Axis(0)), array![[11.0 - 38.0, 27.0]] / 76.0),
        ("end", crf.end.to_owned().insert_axis(Axis(0)), array![[13.0, 25.0 - 38.0]] / 76.0),
    ] {
        for (found, expected) in found.iter().zip(&expected) {
            close(what, *found, *expected, 1e-15);
        }
    }
    let labels = |params: &Params<f64>, words: &[u32]| {
        let mut labels = vec![9; words.len()];
        Reference::new().tagger(params).unwrap().label(words, &mut labels).unwrap();
        labels
    };
    // 15/38, the greatest share.
    assert_eq!(labels(&params, &[0, 0]), [1, 1]);
    // Of (0, 1) and (1, 0), which are alike, the one whose last label is the first.
    params.matrix_mut(Name::Transitions).assign(&array![[0.0, 1.0], [1.0, 0.0]]);
    params.vector_mut(Name::Start).unwrap().fill(0.0);
    params.vector_mut(Name::End).unwrap().fill(0.0);
    assert_eq!(labels(&params, &[0, 0]), [1, 0]);
    assert_eq!(labels(&params, &[0, 0, 0]), [0, 1, 0]);
}

/// Where its own tensors are zero, a CRF is the softmax: in outputs, loss, gradient and labels.
#[test]
fn a_crf_of_zeros_is_the_softmax() {
    for cell in Cell::ALL {
        let softmax = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 3, cell, ..Shape::ELMAN };
        let expected = common::params(softmax, 3);
        let mut params = Params::zeros(Shape { head: Head::Crf, ..softmax }).unwrap();
        params.as_mut_slice()[..softmax.parameters()].copy_from_slice(expected.as_slice());
        let sentence = one(&[1, 4, 1, 0], &[0, 2, 2, 1]);
        let [(loss, grad), (expected_loss, expected_grad)] =
            [&params, &expected].map(|params| gradient(Reference::new(), params, sentence.batch()));
        close("loss", loss, expected_loss, 1e-15);
        for (found, expected) in grad.as_slice().iter().zip(expected_grad.as_slice()) {
            close("gradient", *found, *expected, 1e-15);
        }
        let [found, expected] = [&params, &expected].map(|params| {
            let mut tagger = Reference::new().tagger(params).unwrap();
            let mut labels = [9; 4];
            tagger.label(&[1, 4, 1, 0], &mut labels).unwrap();
            (tagger.scores(&[1, 4, 1, 0]).unwrap().to_owned(), labels)
        });
        assert_eq!(found.1, expected.1);
        found.0.iter().zip(&expected.0).for_each(|(found, expected)| close("s", *found, *expected, 1e-15));
    }
}

/// Of all sequences of labels, one by one.
#[test]
fn the_labels_of_a_crf_are_the_most_probable_sequence() {
    let words = [1, 4, 1, 0];
    for (cell, seed) in Cell::ALL.into_iter().zip(2..) {
        let sizes = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 3, ..Shape::ELMAN };
        let params = common::params(Shape { cell, head: Head::Crf, ..sizes }, seed).map(|v| 2.0 * v);
        let (crf, mut tagger) = (params.crf().unwrap(), Reference::new().tagger(&params).unwrap());
        let y = tagger.emissions(&words).unwrap().to_owned();
        let score = |labels: [usize; 4]| {
            let between: f64 = labels.windows(2).map(|pair| crf.transitions[[pair[0], pair[1]]]).sum();
            let of_words: f64 = labels.iter().enumerate().map(|(t, label)| y[[t, *label]]).sum();
            crf.start[labels[0]] + between + of_words + crf.end[labels[3]]
        };
        let all = (0..81).map(|number| [27, 9, 3, 1].map(|place| number / place % 3));
        let best = all.max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
        let mut labels = [9; 4];
        tagger.label(&words, &mut labels).unwrap();
        assert_eq!(labels.map(|label| label as usize), best, "{cell}");
    }
}
