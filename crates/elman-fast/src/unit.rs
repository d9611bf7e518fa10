//! The cells: the arithmetic of a hidden unit, over vectors of units.

use elman::Cell;
use fearless_simd::{Simd, prelude::*};

use crate::num::Num;

/// A vector of hidden units of a cell whose pre-activations are `BLOCKS` vectors, and which has `STATES` states, the first
/// of which is `h`.
///
/// The blocks of a step are first the sums `bias + x·wx + fed_back·wh` of the gates. Where a cell needs the two products
/// of a gate apart, there is a block for either: see [`blocks`].
#[allow(clippy::type_complexity, reason = "the blocks and the states are what the formulas have")]
pub(crate) trait Unit<const BLOCKS: usize, const STATES: usize>: Copy {
    /// From the blocks and the states before: the blocks that [`Unit::backward`] needs, and the next states.
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        a: [T::V<S>; BLOCKS],
        before: [T::V<S>; STATES],
    ) -> ([T::V<S>; BLOCKS], [T::V<S>; STATES]);

    /// From those blocks, the states before and after the step and the gradients of the states after it: the gradients
    /// of the blocks, and of the states before as far as they do not go through the blocks.
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        a: [T::V<S>; BLOCKS],
        before: [T::V<S>; STATES],
        after: [T::V<S>; STATES],
        d: [T::V<S>; STATES],
    ) -> ([T::V<S>; BLOCKS], [T::V<S>; STATES]);
}

/// The number of blocks of a cell. The products with wx go into the first `gates` blocks, those with wh into the last
/// `gates` blocks; blocks that both go into have their sum.
pub(crate) fn blocks(cell: Cell) -> usize {
    match cell {
        Cell::Elman(_) => 1,
        // A GRU: n of the input, r, z, n of the state. An LSTM: i, f, g, o.
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
        Cell::Lstm => &[Part { gate: 0, gates: 4, block: 0 }],
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
        dh * T::fma(simd, h, -h, T::V::<S>::splat(simd, T::one()))
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
impl<F: Function> Unit<1, 1> for F {
    #[inline(always)]
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        a: [T::V<S>; 1],
        _: [T::V<S>; 1],
    ) -> ([T::V<S>; 1], [T::V<S>; 1]) {
        (a, [self.value::<S, T>(simd, a[0])])
    }

    #[inline(always)]
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        _: [T::V<S>; 1],
        _: [T::V<S>; 1],
        [h]: [T::V<S>; 1],
        [dh]: [T::V<S>; 1],
    ) -> ([T::V<S>; 1], [T::V<S>; 1]) {
        ([self.slope::<S, T>(simd, h, dh)], [T::V::<S>::splat(simd, T::zero())])
    }
}

/// The gated recurrent unit, of the blocks n of the input, r, z and n of the state:
/// `n = tanh(nx + r ∘ nh)`, `h = n + z ∘ (before - n)`.
#[derive(Clone, Copy)]
pub(crate) struct Gru;

impl Unit<4, 1> for Gru {
    #[inline(always)]
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        [nx, r, z, nh]: [T::V<S>; 4],
        [before]: [T::V<S>; 1],
    ) -> ([T::V<S>; 4], [T::V<S>; 1]) {
        let (r, z) = (T::sigmoid_each(simd, r), T::sigmoid_each(simd, z));
        let n = T::tanh_each(simd, T::fma(simd, r, nh, nx));
        ([n, r, z, nh], [T::fma(simd, z, before - n, n)])
    }

    #[inline(always)]
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        [n, r, z, nh]: [T::V<S>; 4],
        [before]: [T::V<S>; 1],
        _: [T::V<S>; 1],
        [dh]: [T::V<S>; 1],
    ) -> ([T::V<S>; 4], [T::V<S>; 1]) {
        let one = T::V::<S>::splat(simd, T::one());
        let dn = Tanh.slope::<S, T>(simd, n, dh * (one - z));
        let dz = Sigmoid.slope::<S, T>(simd, z, dh * (before - n));
        let dr = Sigmoid.slope::<S, T>(simd, r, dn * nh);
        ([dn, dr, dz, dn * r], [dh * z])
    }
}

/// Long short-term memory, of the blocks i, f, g, o: `c = f ∘ before + i ∘ g`, `h = o ∘ tanh(c)`.
#[derive(Clone, Copy)]
pub(crate) struct Lstm;

impl Unit<4, 2> for Lstm {
    #[inline(always)]
    fn forward<S: Simd, T: Num>(
        self,
        simd: S,
        [i, f, g, o]: [T::V<S>; 4],
        [_, before]: [T::V<S>; 2],
    ) -> ([T::V<S>; 4], [T::V<S>; 2]) {
        // One by one: the closure of `map` would be compiled without the instruction set.
        let (i, f) = (T::sigmoid_each(simd, i), T::sigmoid_each(simd, f));
        let (g, o) = (T::tanh_each(simd, g), T::sigmoid_each(simd, o));
        let c = T::fma(simd, f, before, i * g);
        ([i, f, g, o], [o * T::tanh_each(simd, c), c])
    }

    #[inline(always)]
    fn backward<S: Simd, T: Num>(
        self,
        simd: S,
        [i, f, g, o]: [T::V<S>; 4],
        [_, before]: [T::V<S>; 2],
        [_, c]: [T::V<S>; 2],
        [dh, dc]: [T::V<S>; 2],
    ) -> ([T::V<S>; 4], [T::V<S>; 2]) {
        // Computed again: to keep it would cost more reading and writing.
        let tanh_c = T::tanh_each(simd, c);
        let dc = dc + Tanh.slope::<S, T>(simd, tanh_c, dh * o);
        let di = Sigmoid.slope::<S, T>(simd, i, dc * g);
        let df = Sigmoid.slope::<S, T>(simd, f, dc * before);
        let dg = Tanh.slope::<S, T>(simd, g, dc * i);
        let d_o = Sigmoid.slope::<S, T>(simd, o, dh * tanh_c);
        ([di, df, dg, d_o], [T::V::<S>::splat(simd, T::zero()), dc * f])
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
        match $cell {
            elman::Cell::Elman(activation) => $crate::unit::with_function!(activation, $unit => $body),
            elman::Cell::Lstm => {
                let $unit = $crate::unit::Lstm;
                $body
            }
            _ => {
                let $unit = $crate::unit::Gru;
                $body
            }
        }
    };
}
pub(crate) use with_unit;

/// Whether there are kernels for the cell.
pub(crate) fn check(cell: Cell) -> Result<(), elman::Error> {
    if Cell::ALL.contains(&cell) {
        return Ok(());
    }
    Err(elman::Error::unsupported("cell of elman-fast", "one that it has kernels for", cell))
}

/// The units of one row: from the pre-activations, in blocks as wide as each of the states, and the states before.
#[inline(always)]
pub(crate) fn forward_row<S: Simd, T: Num, const BLOCKS: usize, const STATES: usize>(
    simd: S,
    unit: impl Unit<BLOCKS, STATES>,
    a: &mut [T],
    before: &[T],
    states: &mut [T],
) {
    let n = states.len() / STATES;
    let a = &mut a[..BLOCKS * n];
    for j in (0..n).step_by(T::LANES) {
        let blocks = std::array::from_fn(
            #[inline(always)]
            |block| T::V::<S>::from_slice(simd, &a[block * n + j..][..T::LANES]),
        );
        // A cell of one block does not read the state before, which is another value in a Jordan network, and has
        // nothing to leave.
        if BLOCKS == 1 {
            let (_, next) = unit.forward::<S, T>(simd, blocks, [T::V::<S>::splat(simd, T::zero()); STATES]);
            next[0].store_slice(&mut states[j..][..T::LANES]);
            continue;
        }
        let before = std::array::from_fn(
            #[inline(always)]
            |state| T::V::<S>::from_slice(simd, &before[state * n + j..][..T::LANES]),
        );
        let (blocks, next) = unit.forward::<S, T>(simd, blocks, before);
        for (block, value) in blocks.into_iter().enumerate() {
            value.store_slice(&mut a[block * n + j..][..T::LANES]);
        }
        for (state, value) in next.into_iter().enumerate() {
            value.store_slice(&mut states[state * n + j..][..T::LANES]);
        }
    }
}

/// The units of one row backwards: the gradients of the blocks, written over them. The gradient of the states is
/// `carried`, and for `h` also `dh`; over `carried` is written the part that reaches the states before without the blocks.
#[inline(always)]
pub(crate) fn backward_row<S: Simd, T: Num, const BLOCKS: usize, const STATES: usize>(
    simd: S,
    unit: impl Unit<BLOCKS, STATES>,
    a: &mut [T],
    before: &[T],
    after: &[T],
    dh: &[T],
    carried: &mut [T],
) {
    let n = carried.len() / STATES;
    let (a, after, dh) = (&mut a[..BLOCKS * n], &after[..STATES * n], &dh[..n]);
    // A cell of one block does not read the state before, which is another value in a Jordan network.
    let before = if BLOCKS == 1 { after } else { &before[..STATES * n] };
    for j in (0..n).step_by(T::LANES) {
        let blocks = std::array::from_fn(
            #[inline(always)]
            |block| T::V::<S>::from_slice(simd, &a[block * n + j..][..T::LANES]),
        );
        let at = |x: &[T]| -> [T::V<S>; STATES] {
            std::array::from_fn(
                #[inline(always)]
                |state| T::V::<S>::from_slice(simd, &x[state * n + j..][..T::LANES]),
            )
        };
        let mut d = at(carried);
        d[0] = T::V::<S>::from_slice(simd, &dh[j..][..T::LANES]) + d[0];
        let (blocks, direct) = unit.backward::<S, T>(simd, blocks, at(before), at(after), d);
        for (block, value) in blocks.into_iter().enumerate() {
            value.store_slice(&mut a[block * n + j..][..T::LANES]);
        }
        for (state, value) in direct.into_iter().enumerate() {
            value.store_slice(&mut carried[state * n + j..][..T::LANES]);
        }
    }
}
