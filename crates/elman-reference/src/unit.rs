//! The cells: the arithmetic of one hidden unit, and its derivative.

use elman::{Activation, Real};

/// One hidden unit of a cell with `GATES` gates.
///
/// `zx` is the input's part of each gate, with its bias; `zh` the part of the value that is fed back, with its own
/// bias where a cell has one; `before` is the unit's state before the step.
pub(crate) trait Unit<const GATES: usize> {
    /// The unit's next state.
    fn forward<T: Real>(&self, zx: [T; GATES], zh: [T; GATES], before: T) -> T;

    /// From the gradient `dh` of the next state to those of zx, zh and `before`.
    fn backward<T: Real>(
        &self,
        zx: [T; GATES],
        zh: [T; GATES],
        before: T,
        dh: T,
    ) -> ([T; GATES], [T; GATES], T);
}

/// `1 / (1 + e^-a)`; for negative `a` as `e^a / (1 + e^a)`, which cannot overflow.
fn sigmoid<T: Real>(a: T) -> T {
    if a < T::zero() {
        let e = a.exp();
        e / (T::one() + e)
    } else {
        T::one() / (T::one() + (-a).exp())
    }
}

/// Elman's: `h = f(zx + zh)`.
impl Unit<1> for Activation {
    fn forward<T: Real>(&self, [zx]: [T; 1], [zh]: [T; 1], _: T) -> T {
        let a = zx + zh;
        match self {
            Activation::Tanh => a.tanh(),
            Activation::Relu if a <= T::zero() => T::zero(),
            Activation::Relu => a,
            _ => sigmoid(a),
        }
    }

    fn backward<T: Real>(&self, zx: [T; 1], zh: [T; 1], before: T, dh: T) -> ([T; 1], [T; 1], T) {
        let h = self.forward(zx, zh, before);
        let slope = match self {
            Activation::Tanh => T::one() - h * h,
            Activation::Relu if h > T::zero() => T::one(),
            Activation::Relu => T::zero(),
            _ => h * (T::one() - h),
        };
        ([dh * slope], [dh * slope], T::zero())
    }
}

/// The gated recurrent unit; the equations are in [`elman::Cell`].
pub(crate) struct Gru;

impl Unit<3> for Gru {
    fn forward<T: Real>(&self, [rx, zx, nx]: [T; 3], [rh, zh, nh]: [T; 3], before: T) -> T {
        let r = sigmoid(rx + rh);
        let z = sigmoid(zx + zh);
        let n = (nx + r * nh).tanh();
        (T::one() - z) * n + z * before
    }

    fn backward<T: Real>(
        &self,
        [rx, zx, nx]: [T; 3],
        [rh, zh, nh]: [T; 3],
        before: T,
        dh: T,
    ) -> ([T; 3], [T; 3], T) {
        let r = sigmoid(rx + rh);
        let z = sigmoid(zx + zh);
        let n = (nx + r * nh).tanh();
        let dn = dh * (T::one() - z) * (T::one() - n * n);
        let dz = dh * (before - n) * z * (T::one() - z);
        let dr = dn * nh * r * (T::one() - r);
        ([dr, dz, dn], [dr, dz, dn * r], dh * z)
    }
}
