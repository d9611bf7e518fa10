//! The cells: the arithmetic of a hidden unit, over vectors of units.

use elman::{Activation, Cell};
use fearless_simd::{Simd, prelude::*};

use crate::num::Num;

/// A vector of hidden units of a cell whose pre-activations are `BLOCKS` vectors.
///
/// The blocks of a step are first the sums `bias + x·wx + fed_back·wh` of the gates. Where a cell needs the two products
/// of a gate apart, there is a block for either: see [`blocks`].
pub(crate) trait Unit<const BLOCKS: usize>: Copy {
    /// From the blocks and the state before: the blocks that [`Unit::backward`] needs, and the next state.
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        a: [T::V<S>; BLOCKS],
        before: T::V<S>,
    ) -> ([T::V<S>; BLOCKS], T::V<S>);

    /// From those blocks, the states before and after the step and the gradient of the state after it: the gradients
    /// of the blocks, and of the state before as far as it does not go through the blocks.
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        a: [T::V<S>; BLOCKS],
        before: T::V<S>,
        h: T::V<S>,
        dh: T::V<S>,
    ) -> ([T::V<S>; BLOCKS], T::V<S>);
}

/// The number of blocks of a cell. The products with wx go into the first `gates` blocks, those with wh into the last
/// `gates` blocks; blocks that both go into have their sum.
pub(crate) fn blocks(cell: Cell) -> usize {
    match cell {
        Cell::Elman(_) => 1,
        // n of the input, r, z, n of the state
        _ => 4,
    }
}

/// A range of gates of wx, and the first of the blocks that their products go into.
pub(crate) struct Part {
    pub(crate) gate: usize,
    pub(crate) gates: usize,
    pub(crate) block: usize,
}

/// Where the products with wx go.
pub(crate) fn parts(cell: Cell) -> &'static [Part] {
    match cell {
        Cell::Elman(_) => &[Part { gate: 0, gates: 1, block: 0 }],
        _ => &[Part { gate: 2, gates: 1, block: 0 }, Part { gate: 0, gates: 2, block: 1 }],
    }
}

/// An activation as a function and its slope.
pub(crate) trait Function: Copy {
    fn value<S: Simd, T: Num>(self, simd: S, a: T::V<S>) -> T::V<S>;
    /// `dh` times the derivative, from the value `h`.
    fn slope<S: Simd, T: Num>(self, simd: S, h: T::V<S>, dh: T::V<S>) -> T::V<S>;
}

#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Tanh;
#[derive(Clone, Copy)]
pub(crate) struct Relu;
/// For products that a cell of several gates goes on with.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Function for Sigmoid {
    #[inline(always)]
    fn value<S: Simd, T: Num>(self, simd: S, a: T::V<S>) -> T::V<S> {
        T::sigmoid_each(simd, a)
    }

    #[inline(always)]
    fn slope<S: Simd, T: Num>(self, simd: S, h: T::V<S>, dh: T::V<S>) -> T::V<S> {
        dh * h * (T::V::<S>::splat(simd, T::one()) - h)
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn value<S: Simd, T: Num>(self, simd: S, a: T::V<S>) -> T::V<S> {
        T::tanh_each(simd, a)
    }

    #[inline(always)]
    fn slope<S: Simd, T: Num>(self, simd: S, h: T::V<S>, dh: T::V<S>) -> T::V<S> {
        dh * h.mul_add(-h, T::V::<S>::splat(simd, T::one()))
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd, T: Num>(self, simd: S, a: T::V<S>) -> T::V<S> {
        // NaN stays NaN.
        let zero = T::V::<S>::splat(simd, T::zero());
        a.simd_lt(zero).select(zero, a)
    }

    #[inline(always)]
    fn slope<S: Simd, T: Num>(self, simd: S, h: T::V<S>, dh: T::V<S>) -> T::V<S> {
        let zero = T::V::<S>::splat(simd, T::zero());
        h.simd_gt(zero).select(dh, zero)
    }
}

impl Function for Identity {
    #[inline(always)]
    fn value<S: Simd, T: Num>(self, _: S, a: T::V<S>) -> T::V<S> {
        a
    }

    #[inline(always)]
    fn slope<S: Simd, T: Num>(self, _: S, _: T::V<S>, dh: T::V<S>) -> T::V<S> {
        dh
    }
}

/// Elman's: `h = f(a)`.
impl<F: Function> Unit<1> for F {
    #[inline(always)]
    fn forward<S: Simd, T: Num>(self, simd: S, a: [T::V<S>; 1], _: T::V<S>) -> ([T::V<S>; 1], T::V<S>) {
        (a, self.value::<S, T>(simd, a[0]))
    }

    #[inline(always)]
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        _: [T::V<S>; 1],
        _: T::V<S>,
        h: T::V<S>,
        dh: T::V<S>,
    ) -> ([T::V<S>; 1], T::V<S>) {
        ([self.slope::<S, T>(simd, h, dh)], T::V::<S>::splat(simd, T::zero()))
    }
}

/// The gated recurrent unit, of the blocks n of the input, r, z and n of the state:
/// `n = tanh(nx + r ∘ nh)`, `h = n + z ∘ (before - n)`.
#[derive(Clone, Copy)]
pub(crate) struct Gru;

impl Unit<4> for Gru {
    #[inline(always)]
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        [nx, r, z, nh]: [T::V<S>; 4],
        before: T::V<S>,
    ) -> ([T::V<S>; 4], T::V<S>) {
        let (r, z) = (T::sigmoid_each(simd, r), T::sigmoid_each(simd, z));
        let n = T::tanh_each(simd, r.mul_add(nh, nx));
        ([n, r, z, nh], z.mul_add(before - n, n))
    }

    #[inline(always)]
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        [n, r, z, nh]: [T::V<S>; 4],
        before: T::V<S>,
        _: T::V<S>,
        dh: T::V<S>,
    ) -> ([T::V<S>; 4], T::V<S>) {
        let one = T::V::<S>::splat(simd, T::one());
        let dn = Tanh.slope::<S, T>(simd, n, dh * (one - z));
        let dz = Sigmoid.slope::<S, T>(simd, z, dh * (before - n));
        let dr = Sigmoid.slope::<S, T>(simd, r, dn * nh);
        ([dn, dr, dz, dn * r], dh * z)
    }
}

/// Compiles an expression for an activation.
macro_rules! with_function {
    ($activation:expr, $f:ident => $body:expr) => {
        match $activation {
            elman::Activation::Tanh => {
                let $f = $crate::unit::Tanh;
                $body
            }
            elman::Activation::Relu => {
                let $f = $crate::unit::Relu;
                $body
            }
            _ => {
                let $f = $crate::unit::Sigmoid;
                $body
            }
        }
    };
}
pub(crate) use with_function;

/// Compiles an expression for the unit of a cell.
macro_rules! with_unit {
    ($cell:expr, $unit:ident => $body:expr) => {
        match $cell.activation() {
            Some(activation) => $crate::unit::with_function!(activation, $unit => $body),
            None => {
                let $unit = $crate::unit::Gru;
                $body
            }
        }
    };
}
pub(crate) use with_unit;

/// Whether there are kernels for the cell.
pub(crate) fn check(cell: Cell) -> Result<(), elman::Error> {
    match cell {
        Cell::Elman(Activation::Sigmoid | Activation::Tanh | Activation::Relu) | Cell::Gru => Ok(()),
        other => Err(elman::Error::unsupported("cell of elman-fast", "one that it has kernels for", other)),
    }
}

/// The units of one row: from the pre-activations, in blocks of as many numbers as `h` has, and the state before.
#[inline(always)]
pub(crate) fn forward_row<S: Simd, T: Num, const BLOCKS: usize>(
    simd: S,
    unit: impl Unit<BLOCKS>,
    a: &mut [T],
    before: &[T],
    h: &mut [T],
) {
    let n = h.len();
    let a = &mut a[..BLOCKS * n];
    for j in (0..n).step_by(T::LANES) {
        let blocks = std::array::from_fn(
            #[inline(always)]
            |block| T::V::<S>::from_slice(simd, &a[block * n + j..][..T::LANES]),
        );
        // A cell of one block does not read the state before, which is another value in a Jordan network, and has
        // nothing to leave.
        if BLOCKS == 1 {
            let (_, next) = unit.forward::<S, T>(simd, blocks, T::V::<S>::splat(simd, T::zero()));
            next.store_slice(&mut h[j..][..T::LANES]);
            continue;
        }
        let before = T::V::<S>::from_slice(simd, &before[j..][..T::LANES]);
        let (blocks, next) = unit.forward::<S, T>(simd, blocks, before);
        for (block, value) in blocks.into_iter().enumerate() {
            value.store_slice(&mut a[block * n + j..][..T::LANES]);
        }
        next.store_slice(&mut h[j..][..T::LANES]);
    }
}

/// The units of one row backwards: the gradients of the blocks, written over them. The gradient of the state is
/// `dh + carried`; over `carried` is written the part that reaches the state before without the blocks.
#[inline(always)]
pub(crate) fn backward_row<S: Simd, T: Num, const BLOCKS: usize>(
    simd: S,
    unit: impl Unit<BLOCKS>,
    a: &mut [T],
    before: &[T],
    h: &[T],
    dh: &[T],
    carried: &mut [T],
) {
    let n = carried.len();
    let (a, h, dh) = (&mut a[..BLOCKS * n], &h[..n], &dh[..n]);
    // A cell of one block does not read the state before, which is another value in a Jordan network.
    let before = if BLOCKS == 1 { h } else { &before[..n] };
    for j in (0..n).step_by(T::LANES) {
        let blocks = std::array::from_fn(
            #[inline(always)]
            |block| T::V::<S>::from_slice(simd, &a[block * n + j..][..T::LANES]),
        );
        let at = |x: &[T]| T::V::<S>::from_slice(simd, &x[j..][..T::LANES]);
        let dh = at(dh) + at(carried);
        let (blocks, direct) = unit.backward::<S, T>(simd, blocks, at(before), at(h), dh);
        for (block, value) in blocks.into_iter().enumerate() {
            value.store_slice(&mut a[block * n + j..][..T::LANES]);
        }
        direct.store_slice(&mut carried[j..][..T::LANES]);
    }
}
