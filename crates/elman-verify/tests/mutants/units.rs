//! The units of the cells, each written once with the faults that it can have.

use elman::{Activation, Cell, Float};

use super::mutation::Mutation;
use super::subject::{Local, sigmoid};

/// The number of faults; which of them a cell has is below.
pub(crate) const FAULTS: usize = 24;

/// The next state of a unit with its derivatives, from the parts `x` and `fed` of each gate.
pub(crate) fn unit<T: Float>(mutation: Mutation, cell: Cell, x: &[T], fed: &[T], before: T) -> Local<T> {
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
        return Local { h, by_x: vec![slope], by_fed: vec![slope], by_before: zero };
    }
    let r = if is(13) { one } else { sigmoid(x[0] + fed[0]) };
    let z = sigmoid(x[1] + fed[1]);
    let inside = if is(14) { x[2] + fed[2] } else { x[2] + r * fed[2] };
    let n = if is(15) { sigmoid(inside) } else { inside.tanh() };
    let h = if is(16) { z * n + (one - z) * before } else { (one - z) * n + z * before };
    let by_n = (one - z) * if is(17) { one } else { one - n * n };
    let by_z = (before - n) * if is(18) { z } else { z * (one - z) };
    let by_r = by_n * (if is(19) { n } else { fed[2] }) * r * (one - r);
    let mut local = Local {
        h,
        by_x: vec![by_r, by_z, by_n],
        by_fed: vec![by_r, by_z, if is(20) { by_n } else { by_n * r }],
        by_before: if is(21) { zero } else { z },
    };
    if is(22) {
        local.by_x.swap(0, 1);
    }
    if is(23) {
        local.by_fed[0] = zero;
    }
    local
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
