//! The cells: the arithmetic of one hidden unit, and its derivative.

use elman::{Activation, Real};

/// One hidden unit of a cell with `GATES` gates and `STATES` states, of which the first is `h`.
///
/// `zx` is the input's part of each gate, with its bias; `zh` the part of the value that is fed back, with its own
/// bias where a cell has one; `before` are the unit's states before the step.
pub(crate) trait Unit<const GATES: usize, const STATES: usize> {
    /// The unit's next states.
    fn forward<T: Real>(&self, zx: [T; GATES], zh: [T; GATES], before: [T; STATES]) -> [T; STATES];

    /// From the gradients `d` of the next states to those of zx, zh and `before`.
    fn backward<T: Real>(
        &self,
        zx: [T; GATES],
        zh: [T; GATES],
        before: [T; STATES],
        d: [T; STATES],
    ) -> ([T; GATES], [T; GATES], [T; STATES]);
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
impl Unit<1, 1> for Activation {
    fn forward<T: Real>(&self, [zx]: [T; 1], [zh]: [T; 1], _: [T; 1]) -> [T; 1] {
        let a = zx + zh;
        [match self {
            Activation::Tanh => a.tanh(),
            Activation::Relu if a <= T::zero() => T::zero(),
            Activation::Relu => a,
            _ => sigmoid(a),
        }]
    }

    fn backward<T: Real>(
        &self,
        zx: [T; 1],
        zh: [T; 1],
        before: [T; 1],
        [dh]: [T; 1],
    ) -> ([T; 1], [T; 1], [T; 1]) {
        let [h] = self.forward(zx, zh, before);
        let slope = match self {
            Activation::Tanh => T::one() - h * h,
            Activation::Relu if h > T::zero() => T::one(),
            Activation::Relu => T::zero(),
            _ => h * (T::one() - h),
        };
        ([dh * slope], [dh * slope], [T::zero()])
    }
}

/// The gated recurrent unit; the equations are in [`elman::Cell`].
pub(crate) struct Gru;

impl Unit<3, 1> for Gru {
    fn forward<T: Real>(&self, [rx, zx, nx]: [T; 3], [rh, zh, nh]: [T; 3], [before]: [T; 1]) -> [T; 1] {
        let r = sigmoid(rx + rh);
        let z = sigmoid(zx + zh);
        let n = (nx + r * nh).tanh();
        [(T::one() - z) * n + z * before]
    }

    fn backward<T: Real>(
        &self,
        [rx, zx, nx]: [T; 3],
        [rh, zh, nh]: [T; 3],
        [before]: [T; 1],
        [dh]: [T; 1],
    ) -> ([T; 3], [T; 3], [T; 1]) {
        let r = sigmoid(rx + rh);
        let z = sigmoid(zx + zh);
        let n = (nx + r * nh).tanh();
        let dn = dh * (T::one() - z) * (T::one() - n * n);
        let dz = dh * (before - n) * z * (T::one() - z);
        let dr = dn * nh * r * (T::one() - r);
        ([dr, dz, dn], [dr, dz, dn * r], [dh * z])
    }
}

/// Long short-term memory; the equations are in [`elman::Cell`].
pub(crate) struct Lstm;

impl Lstm {
    /// The gates i, f, g and o.
    fn gates<T: Real>(x: [T; 4], h: [T; 4]) -> [T; 4] {
        let [i, f, g, o] = std::array::from_fn(|gate| x[gate] + h[gate]);
        [sigmoid(i), sigmoid(f), g.tanh(), sigmoid(o)]
    }
}

impl Unit<4, 2> for Lstm {
    fn forward<T: Real>(&self, x: [T; 4], h: [T; 4], [_, c]: [T; 2]) -> [T; 2] {
        let [i, f, g, o] = Lstm::gates(x, h);
        let c = f * c + i * g;
        [o * c.tanh(), c]
    }

    fn backward<T: Real>(
        &self,
        x: [T; 4],
        h: [T; 4],
        [_, before]: [T; 2],
        [dh, dc]: [T; 2],
    ) -> ([T; 4], [T; 4], [T; 2]) {
        let [i, f, g, o] = Lstm::gates(x, h);
        let tanh_c = (f * before + i * g).tanh();
        let dc = dc + dh * o * (T::one() - tanh_c * tanh_c);
        let di = dc * g * i * (T::one() - i);
        let df = dc * before * f * (T::one() - f);
        let dg = dc * i * (T::one() - g * g);
        let d_o = dh * tanh_c * o * (T::one() - o);
        ([di, df, dg, d_o], [di, df, dg, d_o], [T::zero(), dc * f])
    }
}
