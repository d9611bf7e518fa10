//! The units of the cells, each written once with the faults that it can have.

use elman::{Activation, Cell, Float};

use super::mutation::Mutation;
use super::subject::{Local, STATES, sigmoid};

/// The number of faults; which of them a cell has is below.
pub(crate) const FAULTS: usize = 38;

/// The next states of a unit with their derivatives, from the parts `x` and `fed` of each gate.
pub(crate) fn unit<T: Float>(
    mutation: Mutation,
    cell: Cell,
    x: &[T],
    fed: &[T],
    states: [T; STATES],
) -> Local<T> {
    let before = states[0];
    let fault = if let Mutation::Unit(fault) = mutation { Some(fault) } else { None };
    let (one, zero) = (T::one(), T::zero());
    let is = |number| fault == Some(number);
    let real = T::from_f64;
    if let Cell::Elman(activation) = cell {
        let mut a = x[0] + fed[0];
        if is(0) {
            a *= real(0.999);
        }
        if is(1) {
            a = if a > real(6.0) { real(20.0) } else { a };
        }
        let (mut h, mut slope) = match activation {
            Activation::Sigmoid if is(2) => (a.tanh(), one - a.tanh() * a.tanh()),
            Activation::Sigmoid if is(3) => (a.exp() / (one + a.exp()), sigmoid(a) * (one - sigmoid(a))),
            Activation::Sigmoid => (sigmoid(a), sigmoid(a) * (one - sigmoid(a))),
            Activation::Tanh if is(4) => (a.tanh(), one - a.tanh()),
            Activation::Tanh if is(5) => (a - a * a * a / real(3.0), one - a.tanh() * a.tanh()),
            Activation::Tanh if is(6) => (a.max(-one, one), one - a.tanh() * a.tanh()),
            Activation::Tanh => (a.tanh(), one - a.tanh() * a.tanh()),
            Activation::Relu if is(7) => {
                (if a < zero { a * real(0.01) } else { a }, if a > zero { one } else { zero })
            }
            Activation::Relu if is(8) => (if a < zero { zero } else { a }, if a < zero { zero } else { one }),
            Activation::Relu if is(9) => (if a < zero { zero } else { a }, one),
            Activation::Relu if is(10) => (if a < zero { zero } else { a }, if a > one { zero } else { one }),
            _ => (if a < zero { zero } else { a }, if a > zero { one } else { zero }),
        };
        if is(11) {
            h *= real(1.0001);
        }
        if is(12) {
            slope = one;
        }
        return Local::of_h(h, &[slope], &[slope], zero);
    }
    if cell == Cell::Lstm {
        return lstm(fault, x, fed, states[1]);
    }
    let r = if is(13) { one } else { sigmoid(x[0] + fed[0]) };
    let z = sigmoid(x[1] + fed[1]);
    let inside = if is(14) { x[2] + fed[2] } else { x[2] + r * fed[2] };
    let n = if is(15) { sigmoid(inside) } else { inside.tanh() };
    let h = if is(16) { z * n + (one - z) * before } else { (one - z) * n + z * before };
    let by_n = (one - z) * if is(17) { one } else { one - n * n };
    let by_z = (before - n) * if is(18) { z } else { z * (one - z) };
    let by_r = by_n * (if is(19) { n } else { fed[2] }) * r * (one - r);
    let mut by_x = [by_r, by_z, by_n];
    if is(22) {
        by_x.swap(0, 1);
    }
    let by_fed = [if is(23) { zero } else { by_r }, by_z, if is(20) { by_n } else { by_n * r }];
    Local::of_h(h, &by_x, &by_fed, if is(21) { zero } else { z })
}

/// The faults of an LSTM are the numbers from 24 on.
fn lstm<T: Float>(fault: Option<usize>, x: &[T], fed: &[T], before: T) -> Local<T> {
    let (one, zero) = (T::one(), T::zero());
    let is = |number| fault == Some(number);
    let mut a: [T; 4] = std::array::from_fn(|gate| x[gate] + fed[gate]);
    match fault {
        Some(24) => a.swap(2, 3), // i, f, o, g: TensorFlow's old order, and ONNX's but for f
        Some(25) => a.swap(0, 1), // f, i, g, o
        Some(26) => a[1] += one,  // the forget gate's bias of 1 from elsewhere
        Some(27) => a[3] += before, // a peephole
        _ => {}
    }
    let [i, f, o] = [a[0], a[1], a[3]].map(sigmoid);
    let g = if is(28) { sigmoid(a[2]) } else { a[2].tanh() };
    let f_of_c = if is(29) { one - i } else { f }; // coupled gates
    let c = f_of_c * before + i * g;
    let tanh_c = if is(30) { c } else { c.tanh() };
    let by_c = if is(31) { o } else { o * (one - tanh_c * tanh_c) };
    let by_c = if is(32) { zero } else { by_c };
    let of_c = [
        g * i * (one - i),
        (if is(33) { c } else { before }) * f * (one - f),
        i * if is(34) { one } else { one - g * g },
        zero,
    ];
    let mut of_h = of_c.map(|slope| by_c * slope);
    of_h[3] = (if is(35) { c } else { tanh_c }) * o * (one - o);
    let by_before = if is(36) { zero } else { f };
    let through_h = if is(37) { zero } else { by_c * f };
    Local {
        states: [o * tanh_c, c],
        by_x: [of_h, of_c],
        by_fed: [of_h, of_c],
        by_before: [[zero, through_h], [zero, by_before]],
    }
}

trait Clip {
    fn max(self, low: Self, high: Self) -> Self;
}

impl<T: Float> Clip for T {
    fn max(self, low: T, high: T) -> T {
        if self < low {
            low
        } else if self > high {
            high
        } else {
            self
        }
    }
}
