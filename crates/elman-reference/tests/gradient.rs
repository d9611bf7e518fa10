//! The hand-written gradient against dual numbers and central differences, for every parameter.

use approx::{abs_diff_eq, assert_abs_diff_eq};
use elman::ndarray::Array2;
use elman::{Cell, Feedback, Labelled, Network, Params, Recurrence, Sentence, Sequences, Shape};
use elman_reference::Reference;
use num_dual::Dual64;

const FEEDBACKS: [Feedback; 2] = [Feedback::Hidden, Feedback::Output];

/// Parameters with nothing at zero: the start of training would hide an error in a bias.
fn params(feedback: Feedback, seed: u64) -> Params<f64> {
    let shape = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 3, feedback };
    let mut params = Params::init(shape, seed).unwrap().map(|v: f64| 3.0 * v);
    for (i, v) in params.bh.iter_mut().chain(&mut params.b).chain(&mut params.h0).enumerate() {
        *v = 0.3 - 0.11 * i as f64;
    }
    params
}

/// Repeated words, a sentence shorter than the window, and one of one word.
fn batch() -> Vec<Labelled> {
    [(vec![1, 4, 1, 1, 0, 2], vec![0, 2, 1, 1, 0, 2]), (vec![3, 3], vec![1, 0]), (vec![4], vec![2])]
        .map(|(words, labels)| Labelled::new(Sentence::new(words).unwrap(), labels).unwrap())
        .to_vec()
}

/// A gradient to be overwritten: whoever reads it, or adds to it, returns NaN.
fn dirty(params: &Params<f64>) -> Params<f64> {
    params.map(|_| f64::NAN)
}

/// The loss with entry `index` of tensor `name` shifted by `shift`.
fn loss(params: &Params<f64>, name: usize, index: usize, shift: f64) -> f64 {
    let mut params = params.clone();
    *params.tensors_mut()[name].1.iter_mut().nth(index).unwrap() += shift;
    Reference::new().gradient(&params, &batch(), &mut dirty(&params)).unwrap()
}

#[test]
fn the_gradient_is_the_derivative_by_dual_numbers() {
    for (feedback, seed) in FEEDBACKS.into_iter().flat_map(|feedback| [0, 1, 2].map(|seed| (feedback, seed)))
    {
        let params = params(feedback, seed);
        let mut grad = dirty(&params);
        let value = Reference::new().gradient(&params, &batch(), &mut grad).unwrap();
        let dual = params.map(Dual64::from);
        let mut unused = dual.clone();
        for (tensor, (name, gradient)) in grad.tensors().into_iter().enumerate() {
            for (index, hand) in gradient.iter().enumerate() {
                let mut dual = dual.clone();
                dual.tensors_mut()[tensor].1.iter_mut().nth(index).unwrap().eps = 1.0;
                let loss = Reference::new().gradient(&dual, &batch(), &mut unused).unwrap();
                assert_abs_diff_eq!(loss.re, value, epsilon = 1e-14);
                assert!(
                    abs_diff_eq!(loss.eps, *hand, epsilon = 1e-12),
                    "{feedback}: {name}[{index}] = {hand}, by dual numbers {}, seed {seed}",
                    loss.eps
                );
            }
        }
    }
}

#[test]
fn the_gradient_is_the_derivative_by_central_differences() {
    // The error of a central difference is of the order step²; that of its rounding, eps / step.
    let step = 1e-5;
    for feedback in FEEDBACKS {
        let params = params(feedback, 7);
        let mut grad = dirty(&params);
        Reference::new().gradient(&params, &batch(), &mut grad).unwrap();
        for (tensor, (name, gradient)) in grad.tensors().into_iter().enumerate() {
            for (index, hand) in gradient.iter().enumerate() {
                let difference =
                    (loss(&params, tensor, index, step) - loss(&params, tensor, index, -step)) / (2.0 * step);
                assert!(
                    abs_diff_eq!(difference, *hand, epsilon = 1e-9),
                    "{feedback}: {name}[{index}] = {hand}, by central differences {difference}"
                );
            }
        }
    }
}

/// `sum(dh ∘ h)` and its derivative by every input and every parameter of the cell, by dual numbers.
#[test]
fn the_recurrence_alone_has_the_derivative_by_dual_numbers() {
    let (input, hidden, lengths) = (3, 4, [4, 1, 2]);
    let rows = lengths.iter().sum::<usize>();
    let value = |i: usize, j: usize| ((7 * i + 3 * j) % 11) as f64 / 11.0 - 0.4;
    let mut cell = Cell::<f64>::zeros(input, hidden);
    cell.wx = Array2::from_shape_fn((input, hidden), |(i, j)| value(i, j));
    cell.wh = Array2::from_shape_fn((hidden, hidden), |(i, j)| value(i + 1, 2 * j));
    cell.bh.iter_mut().zip(0..).for_each(|(v, j)| *v = value(j, 5));
    cell.h0.iter_mut().zip(0..).for_each(|(v, j)| *v = value(j, 8));
    let x = Array2::from_shape_fn((rows, input), |(i, j)| value(2 * i, j + 1));
    let dh = Array2::from_shape_fn((rows, hidden), |(i, j)| value(i + j, i));

    let xs = Sequences::new(x.view(), &lengths).unwrap();
    let trace = Reference::new().vjp(&cell, &xs).unwrap();
    assert_eq!(trace.h(), Reference::new().forward(&cell, &xs).unwrap());
    let gradient = trace.backward(dh.view()).unwrap();
    assert_eq!(gradient, trace.backward(dh.view()).unwrap(), "a second call gives the same");

    let dual_cell = Cell {
        wx: cell.wx.mapv(Dual64::from),
        wh: cell.wh.mapv(Dual64::from),
        bh: cell.bh.mapv(Dual64::from),
        h0: cell.h0.mapv(Dual64::from),
    };
    let derivative = |cell: &Cell<Dual64>, x: &Array2<Dual64>| {
        let h = Reference::new().forward(cell, &Sequences::new(x.view(), &lengths).unwrap()).unwrap();
        h.iter().zip(&dh).map(|(h, dh)| h.eps * dh).sum::<f64>()
    };
    let dual_x = x.mapv(Dual64::from);
    let check = |name: &str, index: usize, hand: f64, dual: f64| {
        assert!(
            abs_diff_eq!(hand, dual, epsilon = 1e-12),
            "{name}[{index}] = {hand}, by dual numbers {dual}"
        );
    };
    for (index, hand) in gradient.xs.iter().enumerate() {
        let mut x = dual_x.clone();
        x.iter_mut().nth(index).unwrap().eps = 1.0;
        check("xs", index, *hand, derivative(&dual_cell, &x));
    }
    type Entries = fn(&mut Cell<Dual64>) -> Vec<&mut Dual64>;
    let tensors: [(&str, Vec<f64>, Entries); 4] = [
        ("wx", gradient.cell.wx.iter().copied().collect(), |cell| cell.wx.iter_mut().collect()),
        ("wh", gradient.cell.wh.iter().copied().collect(), |cell| cell.wh.iter_mut().collect()),
        ("bh", gradient.cell.bh.to_vec(), |cell| cell.bh.iter_mut().collect()),
        ("h0", gradient.cell.h0.to_vec(), |cell| cell.h0.iter_mut().collect()),
    ];
    for (name, gradient, entries) in tensors {
        for (index, hand) in gradient.into_iter().enumerate() {
            let mut cell = dual_cell.clone();
            entries(&mut cell)[index].eps = 1.0;
            check(name, index, hand, derivative(&cell, &dual_x));
        }
    }
}
