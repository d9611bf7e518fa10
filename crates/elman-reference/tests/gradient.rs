//! The hand-written gradient against dual numbers and central differences, for every cell and every tensor.

mod common;

use approx::{abs_diff_eq, assert_abs_diff_eq};
use common::{networks, numbers, params, sequences};
use elman::ndarray::{Array2, Axis, Dimension, s};
use elman::{Cell, LayerParams, LayerShape, Layout, Network, Params, Recurrence, Sentences, Shape};
use elman_reference::Reference;
use num_dual::Dual64;

const SHAPE: Shape = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 3, ..Shape::ELMAN };

/// Repeated words, a sentence shorter than the window, and one of one word.
fn batch() -> Sentences {
    common::sentences(&[(&[1, 4, 1, 1, 0, 2], &[0, 2, 1, 1, 0, 2]), (&[3, 3], &[1, 0]), (&[4], &[2])])
}

fn gradient(params: &Params<f64>) -> (f64, Params<f64>) {
    common::gradient(Reference::new(), params, batch().batch())
}

/// Compares each entry of each tensor with the derivative of the loss by the entry at this place of the buffer.
fn assert_gradient<S: Layout>(gradient: &Params<f64, S>, allowed: f64, derivative: impl Fn(usize) -> f64) {
    let mut place = 0;
    for (name, tensor) in gradient.tensors() {
        for (index, by_hand) in tensor.indexed_iter() {
            let expected = derivative(place);
            assert!(
                abs_diff_eq!(*by_hand, expected, epsilon = allowed),
                "{:?}: {name}{:?} = {by_hand}, expected {expected}",
                gradient.shape(),
                index.slice()
            );
            place += 1;
        }
    }
    assert_eq!(place, gradient.as_slice().len());
}

#[test]
fn the_gradient_is_the_derivative_by_dual_numbers() {
    for (shape, seed) in networks(SHAPE).into_iter().flat_map(|shape| [0, 1, 2].map(|seed| (shape, seed))) {
        let params = params(shape, seed);
        let (loss, grad) = gradient(&params);
        let dual = params.map(Dual64::from);
        assert_gradient(&grad, 1e-12, |place| {
            let mut dual = dual.clone();
            dual.as_mut_slice()[place].eps = 1.0;
            let mut unused = dual.clone();
            let dual_loss = Reference::new().gradient(&dual, batch().batch(), &mut unused).unwrap();
            assert_abs_diff_eq!(dual_loss.re, loss, epsilon = 1e-14);
            dual_loss.eps
        });
    }
}

#[test]
fn the_gradient_is_the_derivative_by_central_differences() {
    // The error of a central difference is of the order step²; that of its rounding, eps / step.
    let step = 1e-5;
    for shape in networks(SHAPE) {
        let params = params(shape, 7);
        assert_gradient(&gradient(&params).1, 1e-9, |place| {
            let loss = |shift| {
                let mut params = params.clone();
                params.as_mut_slice()[place] += shift;
                gradient(&params).0
            };
            (loss(step) - loss(-step)) / (2.0 * step)
        });
    }
}

/// `sum(dh ∘ h) + sum(dlast ∘ last)` and its derivative by every input, every initial state and every entry of the
/// layer.
#[test]
fn the_gradient_of_the_recurrence_is_the_derivative_by_dual_numbers() {
    let (lengths, dh) = ([4, 1, 2], numbers(7, 4, 2));
    for (cell, from_h0) in Cell::ALL.into_iter().flat_map(|cell| [(cell, true), (cell, false)]) {
        let layer = params(LayerShape { input: 3, hidden: 4, cell }, 1);
        let x = numbers(7, 3, 0);
        // Of an LSTM, h and c side by side.
        let states = 4 * cell.states();
        let (dlast, mut initial) = (numbers(3, states, 5), numbers(3, states, 1));
        if from_h0 {
            initial.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.layer().initial()));
        }
        let xs = sequences(&x, &lengths, (!from_h0).then_some(&initial));
        let trace = Reference::new().vjp(layer.layer(), &xs).unwrap();
        let states = Reference::new().forward(layer.layer(), &xs).unwrap();
        assert_eq!((trace.h(), trace.last()), (states.h.view(), states.last.view()));
        assert_eq!(states.last.slice(s![.., ..4]), states.h.select(Axis(0), &[3, 4, 6]));
        let found = trace.backward(dh.view(), Some(dlast.view())).unwrap();
        let mut again = found.clone();
        again.layer.as_mut_slice().fill(f64::NAN);
        trace.backward_into(dh.view(), Some(dlast.view()), &mut again).unwrap();
        assert_eq!(found, again, "a second call, into an old gradient, gives the same");

        let derivative =
            |layer: &LayerParams<Dual64>, x: &Array2<Dual64>, initial: Option<&Array2<Dual64>>| {
                let xs = sequences(x, &lengths, initial);
                let states = Reference::new().forward(layer.layer(), &xs).unwrap();
                let sum = |h: &Array2<Dual64>, d: &Array2<f64>| -> f64 {
                    h.iter().zip(d).map(|(h, d)| h.eps * d).sum()
                };
                sum(&states.h, &dh) + sum(&states.last, &dlast)
            };
        let (dual_layer, dual_x) = (layer.map(Dual64::from), x.mapv(Dual64::from));
        let dual_initial = initial.mapv(Dual64::from);
        assert_gradient(&found.layer, 1e-12, |place| {
            let mut layer = dual_layer.clone();
            layer.as_mut_slice()[place].eps = 1.0;
            derivative(&layer, &dual_x, (!from_h0).then_some(&dual_initial))
        });
        let seeded = |values: &Array2<Dual64>, place| {
            let mut values = values.clone();
            values[place].eps = 1.0;
            values
        };
        let by_xs = Array2::from_shape_fn(x.raw_dim(), |place| {
            derivative(&dual_layer, &seeded(&dual_x, place), Some(&dual_initial))
        });
        assert_abs_diff_eq!(found.xs, by_xs, epsilon = 1e-12);
        let by_initial = Array2::from_shape_fn(initial.raw_dim(), |place| {
            derivative(&dual_layer, &dual_x, Some(&seeded(&dual_initial, place)))
        });
        assert_abs_diff_eq!(found.initial, by_initial, epsilon = 1e-12);
    }
}
