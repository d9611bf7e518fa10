//! A number that knows how far rounding may have moved it, for whatever order its sums are taken in.
//!
//! [`Rounded<T>`] is an [`elman::Real`], so that the reference itself runs on it: whatever cell the reference has, its
//! rounding is known without a further derivation. A number is its value in `f64`, as the reference computes it, and 16
//! *deviations*: the errors that 16 runs in the number type `T` would have made, each with roundings of its own (Monte
//! Carlo arithmetic; Parker, *Monte Carlo arithmetic*, 1997). With `u = T::EPSILON / 2`, a rounding adds about
//! `+u·a` to some of them and `-u·a` to the others, where `a` is
//!
//! | operation | `a` | because |
//! |---|---|---|
//! | product | `abs(value) / sqrt(3)` | an error anywhere in `[-u, u]` has this standard deviation |
//! | quotient, square root, e^x, ln, tanh | `abs(value)` | a function may be wrong by some units in the last place |
//! | sum | below | |
//!
//! and carries the deviations of its operands along: through products exactly, through functions by their slope, or
//! where a deviation is large by the function itself.
//!
//! # Sums, in any order
//! The error of a sum of `n` terms depends on its order: each of its `n - 1` additions rounds the partial sum so far.
//! In a random order the square of a partial sum is, on average over its places, at most
//! `m² = (sum² + sum of terms²) / 2`, and so the error has at most the variance
//!
//! ```text
//! v(n) = (n - 1) · u² m² / 3        m² = (top² + sum of terms²) / 2
//! ```
//!
//! Here `top`, the largest partial sum that the reference met, takes the place of the sum, so that terms which come in
//! groups of one sign are paid for. Pairwise sums, sums in lanes or blocks, with fused multiply-add or compensated, have
//! fewer roundings or smaller partial sums. A number that is a sum therefore remembers `n`, `top` and the sum of squares;
//! an addition adds to the variance what `v` has grown by. So a large term is paid for `n` times wherever it stands: a
//! bias may come first or last. (Higham and Mary, *A new approach to probabilistic rounding error analysis*, 2019, for
//! the square root of `n`.) An addition of a term errs by no more than the term.
//!
//! # Equal terms
//! Rounding is not random: the last digits of a term decide its direction, so that a term that comes again and again is
//! rounded alike each time, and the errors add up as `n` rather than its square root. So the signs are no random numbers
//! either, but a hash of the term, rounded to a quarter of the last place of the sum. Terms that a machine would round
//! alike get the same signs; and the same problem has the same tolerance on every machine. Of the error of a function, one
//! part is alike for all arguments that are near each other (its signs are a hash of the first eight binary digits of the
//! value), and one part is not.
//!
//! # Kinks
//! Rounding may move the argument of a ReLU over its kink, and then its slope is another one, which no small deviation
//! shows. While a [`Kinks`] lives, a comparison with 0 that rounding could have decided otherwise is counted, and
//! decided at will: in two of its four modes in either way.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Rem, RemAssign, Sub, SubAssign};

use elman::{Float, Real};
use num_traits::{Num, One, Zero};
use wide::f32x8;

/// The number of deviations.
const LANES: usize = 16;

type Deviations = [f32x8; LANES / 8];

/// How many standard deviations are allowed. With 16 deviations the quotient of an error and its estimated spread has
/// Student's distribution of 16 degrees of freedom; and a rounding is on average 0.74 of what is assumed, as few numbers
/// are just above a power of two.
pub(crate) const SPREAD: f64 = 11.0;

/// The value, and what rounding may have done to it.
#[derive(Clone, Copy)]
pub(crate) struct Rounded<T> {
    value: f64,
    /// How many terms were added up to this number; 1 for one that is no sum, 0 for 0.
    terms: f64,
    /// The largest partial sum.
    top: f64,
    /// The sum of the squares of the terms.
    squares: f64,
    /// In units of u.
    deviations: Deviations,
    number: PhantomData<T>,
}

/// Half of the distance from 1 to the next number of `T`. The expected result is computed in `f64` and rounds too; where
/// a function or its argument is the same in both, the errors are no strangers to each other, so they add.
fn unit<T: Float>() -> f64 {
    (T::EPSILON + f64::EPSILON) / 2.0
}

/// Where results stop to count: in `f32` below the smallest normal number, where results lose digits or become zero on
/// some machines; in `f64` where the deviations would.
pub(crate) fn floor<T: Float>() -> f64 {
    T::MIN_POSITIVE.max(1e-45)
}

/// A vector of deviations of one rounding is a row of sizes, from 0.5 to 1.5, times a row of signs. Sizes differ so
/// that two roundings never cancel in all runs.
static ROWS: [[[f32; 8]; 256]; 2] = {
    let mut rows = [[[1.0; 8]; 256]; 2];
    let mut i = 0;
    while i < 256 * 8 {
        let hash = hash(i as u64);
        // Divided by the root of their mean square.
        rows[0][i / 8][i % 8] = (0.5 + (hash >> 40) as f32 / (1 << 24) as f32) / 1.040_833;
        rows[1][i / 8][i % 8] = if hash & 1 == 1 { 1.0 } else { -1.0 };
        i += 1;
    }
    rows
};

/// The finalizer of SplitMix64.
const fn hash(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// `deviations` with a rounding of this size added to each, as the key has it.
#[inline(always)]
fn add_signed([a, b]: Deviations, amplitude: f64, key: u64) -> Deviations {
    let hash = hash(key);
    let amplitude = f32x8::splat(amplitude as f32);
    let row = |kind: usize, byte: u32| f32x8::from(ROWS[kind][(hash >> (8 * byte)) as usize % 256]);
    [a + amplitude * (row(0, 0) * row(1, 1)), b + amplitude * (row(0, 2) * row(1, 3))]
}

/// `f` of each deviation.
fn each(deviations: Deviations, f: impl Fn(f32) -> f32) -> Deviations {
    deviations.map(|part| f32x8::from(part.to_array().map(&f)))
}

impl<T: Float> Rounded<T> {
    /// A number without any error.
    pub(crate) fn exact(value: f64) -> Self {
        Self::new(value, Deviations::default())
    }

    fn new(value: f64, deviations: Deviations) -> Self {
        let terms = if value == 0.0 { 0.0 } else { 1.0 };
        let (top, squares) = (value.abs(), value * value);
        Rounded { value, terms, top, squares, deviations, number: PhantomData }
    }

    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// How far a sound result may be from the value.
    pub(crate) fn allowed(self) -> f64 {
        SPREAD * self.spread()
    }

    /// The standard deviation of the error.
    fn spread(self) -> f64 {
        let squares: f64 =
            self.deviations.iter().flat_map(|e| e.to_array()).map(|e| f64::from(e).powi(2)).sum();
        if squares.is_nan() {
            return f64::INFINITY;
        }
        // The roundings of its own sum are known; the deviations may make less of them by chance.
        unit::<T>() * (squares / LANES as f64).max(self.variance()).sqrt()
    }

    /// The same value, which may be off by as much more.
    pub(crate) fn off_by(self, more: f64) -> Self {
        let amplitude = more / (SPREAD * unit::<T>());
        self.round(amplitude)
    }

    /// One rounding more, of this standard deviation in units of u. Its direction depends on the value, up to its last
    /// place in `T`.
    fn round(mut self, amplitude: f64) -> Self {
        let digits = if T::EPSILON > f64::EPSILON { 27 } else { 0 };
        self.deviations = add_signed(self.deviations, amplitude, self.value.to_bits() >> digits);
        self
    }

    /// What may be lost of a value near the floor, in units of u.
    fn lost(value: f64) -> f64 {
        let near = value != 0.0 && value.abs() < floor::<T>() / unit::<T>();
        if near { floor::<T>() / unit::<T>() } else { 0.0 }
    }

    /// The variance of the error of this sum, in units of u².
    fn variance(&self) -> f64 {
        (self.terms - 1.0).max(0.0) * (self.top * self.top + self.squares) / 6.0
    }

    fn function(self, f: impl Fn(f64) -> f64, slope: f64) -> Self {
        let value = f(self.value);
        // Runs of SPREAD times the unit: a bend within what is allowed counts.
        let unit = SPREAD * unit::<T>();
        let most =
            self.deviations.iter().flat_map(|e| e.to_array()).fold(0.0, |most: f32, e| most.max(e.abs()));
        let deviations = if f64::from(most) * unit < 1e-3 * self.value.abs().min(1.0) {
            each(self.deviations, |e| e * slope as f32)
        } else {
            each(self.deviations, |e| ((f(self.value + unit * f64::from(e)) - value) / unit) as f32)
        };
        let amplitude = value.abs() + Self::lost(value);
        let mut number = Self::new(value, deviations).round(amplitude);
        // The part that near arguments have in common: its signs depend on the first digits alone.
        number.deviations = add_signed(number.deviations, amplitude, value.to_bits() >> 44);
        number
    }
}

impl<T: Float> Add for Rounded<T> {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.deviations, other.deviations);
        let deviations = [a + c, b + d];
        for (one, zero) in [(self, other), (other, self)] {
            if zero.terms == 0.0 {
                return Rounded { deviations, ..one };
            }
        }
        let value = self.value + other.value;
        let mut sum = Rounded {
            value,
            terms: self.terms + other.terms,
            top: self.top.max(other.top).max(value.abs()),
            squares: self.squares + other.squares,
            deviations,
            number: PhantomData,
        };
        let grown = (sum.variance() - self.variance() - other.variance()).max(0.0);
        let most = (self.terms * self.top).min(other.terms * other.top) / unit::<T>();
        let term = if self.value.abs() < other.value.abs() { self.value } else { other.value };
        let power_of_two = f64::from_bits(sum.top.to_bits() & f64::INFINITY.to_bits());
        // Rounded to a quarter of a last place by adding a number whose own last place is that.
        let large = power_of_two * (unit::<T>() / 2.0) * 1.5 * (1u64 << 52) as f64;
        sum.deviations = add_signed(deviations, grown.sqrt().min(most), ((term + large) - large).to_bits());
        sum
    }
}

impl<T: Float> Mul for Rounded<T> {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        let [a, b] = [self.value, other.value].map(|value| f32x8::splat(value as f32));
        let unit = f32x8::splat((SPREAD * unit::<T>()) as f32);
        let deviations = std::array::from_fn(|i| {
            let (da, db) = (self.deviations[i], other.deviations[i]);
            da * (b + unit * db) + db * a
        });
        let value = self.value * other.value;
        Self::new(value, deviations).round(value.abs() / 3f64.sqrt() + Self::lost(value))
    }
}

impl<T: Float> Div for Rounded<T> {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let unit = SPREAD * unit::<T>();
        let quotient = |da: f32, db: f32| {
            let (da, db) = (f64::from(da), f64::from(db));
            ((da - value * db) / (other.value + unit * db)) as f32
        };
        let deviations = std::array::from_fn(|i| {
            let (a, b) = (self.deviations[i].to_array(), other.deviations[i].to_array());
            f32x8::from(std::array::from_fn::<f32, 8, _>(|lane| quotient(a[lane], b[lane])))
        });
        Self::new(value, deviations).round(value.abs() + Self::lost(value))
    }
}

impl<T: Float> Neg for Rounded<T> {
    type Output = Self;

    fn neg(self) -> Self {
        Rounded { value: -self.value, deviations: self.deviations.map(|e| -e), ..self }
    }
}

impl<T: Float> Sub for Rounded<T> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<T: Float> Rem for Rounded<T> {
    type Output = Self;

    /// No equation has one.
    fn rem(self, other: Self) -> Self {
        Self::exact(self.value % other.value)
    }
}

macro_rules! assign {
    ($($trait:ident $method:ident $operator:tt)*) => {$(
        impl<T: Float> $trait for Rounded<T> {
            fn $method(&mut self, other: Self) {
                *self = *self $operator other;
            }
        }
    )*};
}
assign!(AddAssign add_assign + SubAssign sub_assign - MulAssign mul_assign * DivAssign div_assign / RemAssign rem_assign %);

impl<T: Float> Zero for Rounded<T> {
    fn zero() -> Self {
        Self::exact(0.0)
    }
    fn is_zero(&self) -> bool {
        self.value == 0.0
    }
}

impl<T: Float> One for Rounded<T> {
    fn one() -> Self {
        Self::exact(1.0)
    }
}

impl<T: Float> Num for Rounded<T> {
    type FromStrRadixErr = <f64 as Num>::FromStrRadixErr;
    fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
        f64::from_str_radix(text, radix).map(Self::exact)
    }
}

impl<T: Float> PartialEq for Rounded<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Float> PartialOrd for Rounded<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let by_value = self.value.partial_cmp(&other.value)?;
        let otherwise = if by_value.is_gt() { Ordering::Less } else { Ordering::Greater };
        Some(if other.terms == 0.0 && in_doubt(self) { otherwise } else { by_value })
    }
}

impl<T: Float> fmt::Debug for Rounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ± {:.1e}", self.value, self.allowed())
    }
}

impl<T: Float> fmt::Display for Rounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T: Float> Real for Rounded<T> {
    fn exp(self) -> Self {
        self.function(f64::exp, self.value.exp())
    }
    fn ln(self) -> Self {
        self.function(f64::ln, 1.0 / self.value)
    }
    fn sqrt(self) -> Self {
        self.function(f64::sqrt, 0.5 / self.value.sqrt())
    }
    fn tanh(self) -> Self {
        let value = self.value.tanh();
        self.function(f64::tanh, 1.0 - value * value)
    }
    fn from_f64(value: f64) -> Self {
        Self::exact(value)
    }
    fn to_f64(self) -> f64 {
        self.value
    }
}

thread_local! {
    /// The mode of the kinks of this thread, if they count, and how many there were.
    static KINKS: Cell<(Option<u32>, usize)> = const { Cell::new((None, 0)) };
}

/// While this lives, comparisons with 0 that rounding could decide otherwise are counted; in mode 0 they are decided as
/// the values say, in each of the modes 1 to 4 half of them otherwise.
pub(crate) struct Kinks;

impl Kinks {
    pub(crate) const MODES: std::ops::RangeInclusive<u32> = 1..=4;

    pub(crate) fn new(mode: u32) -> Self {
        KINKS.set((Some(mode), 0));
        Kinks
    }

    /// How many comparisons were in doubt.
    pub(crate) fn count(&self) -> usize {
        KINKS.get().1
    }
}

impl Drop for Kinks {
    fn drop(&mut self) {
        KINKS.set((None, 0));
    }
}

/// Whether a comparison with 0 is decided otherwise than the value says. That depends on the value alone: the state
/// that a ReLU lets pass is found to be above 0 when the slope is asked for.
fn in_doubt<T: Float>(number: &Rounded<T>) -> bool {
    let (Some(mode), count) = KINKS.get() else { return false };
    if number.terms == 0.0 || number.value.abs() > 2.0 * number.allowed() {
        return false;
    }
    KINKS.set((Some(mode), count + 1));
    // Each of the six ways in which two of four modes decide otherwise.
    const WAYS: [u32; 6] = [0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100];
    let way = WAYS[hash(number.value.to_bits()) as usize % WAYS.len()];
    mode > 0 && (way >> (mode - 1)) & 1 == 1
}
