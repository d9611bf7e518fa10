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
//! the square root of `n`.) An addition of a term errs by no more than the term, with all that the term itself may be
//! off by.
//!
//! # Zero and underflow
//! Only a zero without deviations is exact, and adds nothing. Another zero is a term like any other: where a gate is
//! saturated, the reference's slope may be 0 and a sound implementation's a few last places of 1. A product, a quotient
//! or an `e^x` below the smallest normal number is rounded to a multiple of the smallest subnormal number, perhaps to 0:
//! half of that number is added to its error. No more is, so that an implementation that makes zeros of subnormal
//! numbers is refused.
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
use wide::f64x8;

/// The number of deviations.
const LANES: usize = 16;

type Deviations = [f64x8; LANES / 8];

/// How many standard deviations are allowed. With 16 deviations the quotient of an error and its estimated spread has
/// Student's distribution of 16 degrees of freedom; and a rounding is on average 0.74 of what is assumed, as few numbers
/// are just above a power of two.
pub(crate) const SPREAD: f64 = 11.0;

/// The value, and what rounding may have done to it.
#[derive(Clone, Copy)]
pub(crate) struct Rounded<T> {
    value: f64,
    /// How many terms were added up to this number; 1 for one that is no sum, 0 for a zero that is exact.
    terms: f64,
    /// The largest partial sum.
    top: f64,
    /// The sum of the squares of the terms, in units of `top²`, which need not be a number.
    squares: f64,
    /// The variance of the error of this sum, in units of `(u · top)²`.
    variance: f64,
    /// In units of u.
    deviations: Deviations,
    /// That all deviations are 0 is known: most factors are weights or inputs.
    is_exact: bool,
    number: PhantomData<T>,
}

/// The precision of an arithmetic: of a number type, or of an [`Arithmetic`] on numbers of a wider type.
pub(crate) trait Precision: Copy + Send + Sync + 'static {
    /// The distance from 1 to the next larger number.
    const EPSILON: f64;
    /// The smallest positive normal number.
    const MIN_POSITIVE: f64;
    /// Whether the numbers that are given are rounded before they are used.
    const CONVERTS: bool = true;
}

impl<T: Float> Precision for T {
    const EPSILON: f64 = <T as Float>::EPSILON;
    const MIN_POSITIVE: f64 = <T as Float>::MIN_POSITIVE;
    const CONVERTS: bool = false;
}

/// An arithmetic narrower than that of the numbers a kernel is given: the `f32` units of a GPU, for example, that round
/// what they multiply. It may be that of every operation or of some. Its unit roundoff `u` takes the place of that of
/// `f32` everywhere, and the inputs, weights and gradients that are given count as rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// `u = 2^-11`: TensorFloat-32, ten digits after the point and the range of `f32`.
    Tf32,
    /// `u = 2^-8`: bfloat16, seven digits after the point and the range of `f32`.
    Bf16,
    /// `u = 2^-11`: IEEE half precision, ten digits after the point; below 2^-14 digits are lost one by one.
    F16,
}

impl Arithmetic {
    /// Every arithmetic.
    pub const ALL: [Arithmetic; 3] = [Arithmetic::Tf32, Arithmetic::Bf16, Arithmetic::F16];

    /// `tf32`, `bf16` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Arithmetic::Tf32 => "tf32",
            Arithmetic::Bf16 => "bf16",
            Arithmetic::F16 => "f16",
        }
    }

    /// The unit roundoff: how far a rounding moves a number at most, relative to the number.
    pub fn unit_roundoff(self) -> f64 {
        let epsilon = match self {
            Arithmetic::Tf32 => Tf32::EPSILON,
            Arithmetic::Bf16 => Bf16::EPSILON,
            Arithmetic::F16 => F16::EPSILON,
        };
        epsilon / 2.0
    }
}

impl std::str::FromStr for Arithmetic {
    type Err = elman::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let names = Arithmetic::ALL.map(Arithmetic::name);
        let found = Arithmetic::ALL.into_iter().find(|arithmetic| arithmetic.name() == name);
        found.ok_or_else(|| elman::Error::unsupported("arithmetic", names.join(", "), name))
    }
}

/// Ten binary digits after the point, with the range of `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Tf32;
/// Seven binary digits after the point, with the range of `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;
/// Ten binary digits after the point; results below 2^-14 lose digits one by one.
#[derive(Clone, Copy)]
pub(crate) struct F16;

impl Precision for Tf32 {
    const EPSILON: f64 = 1.0 / 1024.0;
    const MIN_POSITIVE: f64 = f32::MIN_POSITIVE as f64;
}

impl Precision for Bf16 {
    const EPSILON: f64 = 1.0 / 128.0;
    const MIN_POSITIVE: f64 = f32::MIN_POSITIVE as f64;
}

impl Precision for F16 {
    const EPSILON: f64 = 1.0 / 1024.0;
    const MIN_POSITIVE: f64 = 1.0 / (1u64 << 14) as f64;
}

/// Half of the distance from 1 to the next number of `T`. The expected result is computed in `f64` and rounds too; where
/// a function or its argument is the same in both, the errors are no strangers to each other, so they add.
fn unit<T: Precision>() -> f64 {
    (T::EPSILON + f64::EPSILON) / 2.0
}

/// The smallest subnormal number.
pub(crate) fn smallest<T: Precision>() -> f64 {
    T::MIN_POSITIVE * T::EPSILON
}

/// A vector of deviations of one rounding is a row of sizes, from 0.5 to 1.5, times a row of signs. Sizes differ so
/// that two roundings never cancel in all runs.
static ROWS: [[[f64; 8]; 256]; 2] = {
    let mut rows = [[[1.0; 8]; 256]; 2];
    let mut i = 0;
    while i < 256 * 8 {
        let hash = hash(i as u64);
        // Divided by the root of their mean square.
        rows[0][i / 8][i % 8] = (0.5 + (hash >> 40) as f64 / (1 << 24) as f64) / 1.040_833;
        rows[1][i / 8][i % 8] = if hash & 1 == 1 { 1.0 } else { -1.0 };
        i += 1;
    }
    rows
};

/// The finalizer of SplitMix64.
#[inline(always)]
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
    let amplitude = f64x8::splat(amplitude);
    let row = |kind: usize, byte: u32| f64x8::from(ROWS[kind][(hash >> (8 * byte)) as usize % 256]);
    [a + amplitude * (row(0, 0) * row(1, 1)), b + amplitude * (row(0, 2) * row(1, 3))]
}

/// The deviations with one rounding more, of this standard deviation in units of u. Its direction depends on the value,
/// up to its last place in `T`.
#[inline(always)]
fn rounding<T: Precision>(deviations: Deviations, amplitude: f64, value: f64) -> Deviations {
    let places = (T::EPSILON.to_bits() >> 52) - (f64::EPSILON.to_bits() >> 52);
    add_signed(deviations, amplitude, value.to_bits() >> places.saturating_sub(2))
}

/// `f` of each deviation.
fn each(deviations: Deviations, f: impl Fn(f64) -> f64) -> Deviations {
    deviations.map(|part| f64x8::from(part.to_array().map(&f)))
}

/// The largest deviation; infinite if one is no number.
fn most([a, b]: Deviations) -> f64 {
    let larger = |most: f64, e: f64| if e.abs() <= most { most } else { e.abs() };
    let most = a.to_array().into_iter().chain(b.to_array()).fold(0.0, larger);
    if most.is_nan() { f64::INFINITY } else { most }
}

/// The root of the mean square of the deviations. The squares themselves might be too small for numbers.
fn spread(deviations: Deviations) -> f64 {
    let most = most(deviations);
    if most == 0.0 || most.is_infinite() {
        return most;
    }
    let squares = deviations.map(|part| (part / most) * (part / most));
    most * ((squares[0] + squares[1]).reduce_add() / LANES as f64).sqrt()
}

impl<T: Precision> Rounded<T> {
    /// A number that is given: without any error, but for its conversion where the arithmetic is narrower.
    pub(crate) fn given(value: f64) -> Self {
        match T::CONVERTS {
            true => Self::result(value, Deviations::default(), value.abs() / 3f64.sqrt(), false),
            false => Self::exact(value),
        }
    }

    /// A number without any error.
    #[inline(always)]
    pub(crate) fn exact(value: f64) -> Self {
        Rounded { is_exact: true, ..Self::new(value, Deviations::default()) }
    }

    #[inline(always)]
    fn new(value: f64, deviations: Deviations) -> Self {
        let exact_zero = value == 0.0 && deviations == Deviations::default();
        let terms = if exact_zero { 0.0 } else { 1.0 };
        Rounded {
            value,
            terms,
            top: value.abs(),
            squares: terms,
            variance: 0.0,
            deviations,
            is_exact: false,
            number: PhantomData,
        }
    }

    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// How far a sound result may be from the value: some standard deviations of its error.
    pub(crate) fn allowed(self) -> f64 {
        // The roundings of its own sum are known; the deviations may make less of them by chance. In units of u first:
        // the last of them may be too small for a number.
        let spread = spread(self.deviations).max(self.top * self.variance.sqrt());
        unit::<T>() * (SPREAD * spread)
    }

    /// Whether it is 0 in any order and with any rounding.
    #[inline(always)]
    pub(crate) fn is_exact_zero(self) -> bool {
        self.terms == 0.0
    }

    /// The same value, which may be off by as much more.
    pub(crate) fn off_by(self, more: f64) -> Self {
        let amplitude = more / (SPREAD * unit::<T>());
        let deviations = rounding::<T>(self.deviations, amplitude, self.value);
        Rounded { deviations, is_exact: false, ..self }
    }

    /// A result of this value, not of a sum, with one rounding that has the standard deviation `amplitude`, in units of
    /// u, and if it underflows one of half the smallest subnormal number. `vanished` says whether a 0 is an underflow.
    #[inline(always)]
    fn result(value: f64, deviations: Deviations, amplitude: f64, vanished: bool) -> Self {
        Self::result_of(value, value, deviations, amplitude, vanished)
    }

    /// The same, where the direction of the rounding depends on another number: a function's argument. Where a function
    /// is saturated, its values are alike for arguments that are not, and each may err by a last place or not.
    #[inline(always)]
    fn result_of(key: f64, value: f64, deviations: Deviations, amplitude: f64, vanished: bool) -> Self {
        let underflows = value.abs() < T::MIN_POSITIVE && (value != 0.0 || vanished);
        let lost = if underflows { T::MIN_POSITIVE / 2.0 * (T::EPSILON / unit::<T>()) } else { 0.0 };
        Self::new(value, rounding::<T>(deviations, amplitude + lost, key))
    }

    /// The amplitude of an addition's rounding: no more than the smaller term, with all that it may be off by; and the
    /// term that decides the direction.
    #[cold]
    #[inline(never)]
    fn limited(&self, other: &Self, amplitude: f64) -> (f64, f64) {
        let size = |number: &Self| number.terms * number.top / unit::<T>();
        let (term, large) = if size(self) < size(other) { (self, other) } else { (other, self) };
        let amplitude = if amplitude > size(term) {
            amplitude.min(size(term) + SPREAD * most(term.deviations))
        } else {
            amplitude
        };
        (amplitude, if term.value.abs() < large.value.abs() { term.value } else { large.value })
    }

    fn function(self, f: impl Fn(f64) -> f64, slope: f64) -> Self {
        let value = f(self.value);
        // Runs of SPREAD times the unit: a bend within what is allowed counts.
        let unit = SPREAD * unit::<T>();
        let deviations = if most(self.deviations) * unit < 1e-3 * self.value.abs().min(1.0) {
            self.deviations.map(|e| e * slope)
        } else {
            each(self.deviations, |e| (f(self.value + unit * e) - value) / unit)
        };
        // Only e^x is 0 where it is flat.
        let mut number = Self::result_of(self.value, value, deviations, value.abs(), slope == 0.0);
        // The part that near arguments have in common: its signs depend on the first digits alone.
        number.deviations = add_signed(number.deviations, value.abs(), value.to_bits() >> 44);
        number
    }
}

impl<T: Precision> Add for Rounded<T> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        for (one, zero) in [(self, other), (other, self)] {
            if zero.is_exact_zero() {
                return one;
            }
        }
        let ([a, b], [c, d]) = (self.deviations, other.deviations);
        let deviations = [a + c, b + d];
        let value = self.value + other.value;
        let top = self.top.max(other.top).max(value.abs());
        let share = |part: f64| match top {
            0.0 => 0.0,
            _ if part == top && top < f64::INFINITY => 1.0,
            _ => (part / top).powi(2),
        };
        let shares = [share(self.top), share(other.top)];
        let terms = self.terms + other.terms;
        let squares = self.squares * shares[0] + other.squares * shares[1];
        let variance = (terms - 1.0) * (1.0 + squares) / 6.0;
        let grown = variance - self.variance * shares[0] - other.variance * shares[1];
        let mut amplitude = top * grown.max(0.0).sqrt();
        let [size, other_size] = [self.terms * self.top, other.terms * other.top];
        let [key, other_key] = [self.value.abs(), other.value.abs()];
        let mut term = if key < other_key { self.value } else { other.value };
        // Seldom: a term that its own sum's rounding is larger than, or two terms of one size.
        if !(1.001 * unit::<T>() * amplitude < size.min(other_size) && key != other_key) {
            (amplitude, term) = self.limited(&other, amplitude);
        }
        let power_of_two = f64::from_bits(top.to_bits() & f64::INFINITY.to_bits());
        // Rounded to a quarter of a last place by adding a number whose own last place is that.
        let large = power_of_two * (unit::<T>() / 2.0) * 1.5 * (1u64 << 52) as f64;
        let deviations = add_signed(deviations, amplitude, ((term + large) - large).to_bits());
        Rounded { value, terms, top, squares, variance, deviations, is_exact: false, number: PhantomData }
    }
}

impl<T: Precision> Mul for Rounded<T> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let unit = SPREAD * unit::<T>();
        let ([a, b], [c, d]) = (self.deviations, other.deviations);
        let value = self.value * other.value;
        let deviations = match value.is_finite() {
            true if other.is_exact => [a * other.value, b * other.value],
            true if self.is_exact => [c * self.value, d * self.value],
            _ => [(a, c), (b, d)].map(|(da, db)| da * (db * unit + other.value) + db * self.value),
        };
        let vanished = !self.is_exact_zero() && !other.is_exact_zero();
        Self::result(value, deviations, value.abs() / 3f64.sqrt(), vanished)
    }
}

impl<T: Precision> Div for Rounded<T> {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let unit = SPREAD * unit::<T>();
        let deviations = std::array::from_fn(|i| {
            let (da, db) = (self.deviations[i], other.deviations[i]);
            (da - db * value) / (db * unit + other.value)
        });
        Self::result(value, deviations, value.abs(), !self.is_exact_zero())
    }
}

impl<T: Precision> Neg for Rounded<T> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Rounded { value: -self.value, deviations: self.deviations.map(|e| -e), ..self }
    }
}

impl<T: Precision> Sub for Rounded<T> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<T: Precision> Rem for Rounded<T> {
    type Output = Self;

    /// No equation has one.
    fn rem(self, other: Self) -> Self {
        Self::exact(self.value % other.value)
    }
}

macro_rules! assign {
    ($($trait:ident $method:ident $operator:tt)*) => {$(
        impl<T: Precision> $trait for Rounded<T> {
            #[inline(always)]
            fn $method(&mut self, other: Self) {
                *self = *self $operator other;
            }
        }
    )*};
}
assign!(AddAssign add_assign + SubAssign sub_assign - MulAssign mul_assign * DivAssign div_assign / RemAssign rem_assign %);

impl<T: Precision> Zero for Rounded<T> {
    fn zero() -> Self {
        Self::exact(0.0)
    }
    fn is_zero(&self) -> bool {
        self.is_exact_zero()
    }
}

impl<T: Precision> One for Rounded<T> {
    fn one() -> Self {
        Self::exact(1.0)
    }
}

impl<T: Precision> Num for Rounded<T> {
    type FromStrRadixErr = <f64 as Num>::FromStrRadixErr;
    fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
        f64::from_str_radix(text, radix).map(Self::exact)
    }
}

impl<T: Precision> PartialEq for Rounded<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Precision> PartialOrd for Rounded<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let by_value = self.value.partial_cmp(&other.value)?;
        let otherwise = if by_value.is_gt() { Ordering::Less } else { Ordering::Greater };
        Some(if other.is_exact_zero() && in_doubt(self) { otherwise } else { by_value })
    }
}

impl<T: Precision> fmt::Debug for Rounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ± {:.1e}", self.value, self.allowed())
    }
}

impl<T: Precision> fmt::Display for Rounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T: Precision> Real for Rounded<T> {
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
fn in_doubt<T: Precision>(number: &Rounded<T>) -> bool {
    let (Some(mode), count) = KINKS.get() else { return false };
    if number.is_exact_zero() || number.value.abs() > 2.0 * number.allowed() {
        return false;
    }
    KINKS.set((Some(mode), count + 1));
    // Each of the six ways in which two of four modes decide otherwise.
    const WAYS: [u32; 6] = [0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100];
    let way = WAYS[hash(number.value.to_bits()) as usize % WAYS.len()];
    mode > 0 && (way >> (mode - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product<T: Precision>(a: f64, b: f64) -> f64 {
        (Rounded::<T>::exact(a) * Rounded::exact(b)).allowed()
    }

    /// Several halves of the smallest subnormal number, and far less than the smallest normal one, which a flush to zero
    /// would lose.
    #[test]
    fn an_underflow_may_be_off_by_subnormal_numbers_alone() {
        fn check<T: Precision>(found: f64) {
            let allowed = smallest::<T>()..100.0 * smallest::<T>();
            assert!(allowed.contains(&found), "{}: {found:e}", std::any::type_name::<T>());
        }
        let small = [f64::MIN_POSITIVE, f64::from(f32::MIN_POSITIVE)];
        check::<f64>(product::<f64>(small[0] / 8.0, 0.3));
        check::<f64>(product::<f64>(1e-200, 1e-200));
        check::<f64>(Rounded::<f64>::exact(-800.0).exp().allowed());
        check::<f64>((Rounded::<f64>::exact(1e-200) / Rounded::exact(1e200)).allowed());
        check::<f32>(product::<f32>(small[1] / 8.0, 0.3));
        check::<f32>(product::<f32>(1e-30, 1e-30));
        check::<f32>(Rounded::<f32>::exact(-100.0).exp().allowed());
        let none = [product::<f64>(0.0, 1e-200), product::<f32>(1e-30, 0.0)];
        assert_eq!(none, [0.0; 2]);
        assert_eq!(Rounded::<f64>::exact(0.0).tanh().allowed(), 0.0);
    }

    /// In f64 the reference's slope of tanh is 0 at 30; another tanh may be a last place below 1.
    #[test]
    fn a_zero_by_saturation_is_a_term_like_any_other() {
        let h = Rounded::<f64>::exact(30.0).tanh();
        let slope = Rounded::exact(1.0) - h * h;
        assert!(slope.value() == 0.0 && (1e-15..1e-14).contains(&slope.allowed()), "{slope}");
        let updated = Rounded::exact(0.1) - Rounded::exact(0.5) * slope;
        assert!(updated.value() == 0.1 && updated.allowed() > f64::EPSILON, "{updated}");
        let exact = Rounded::<f64>::exact(0.1) - Rounded::exact(0.5) * Rounded::exact(0.0);
        assert_eq!(exact.allowed(), 0.0);
    }

    #[test]
    fn sums_of_small_numbers_round_as_those_of_large_ones() {
        let sum = |scale: f64| {
            let terms = (1..30).map(|i| Rounded::<f64>::exact(scale / f64::from(i)));
            terms.fold(Rounded::exact(0.0), |sum, term| sum + term).allowed() / scale
        };
        let [one, small] = [sum(1.0), sum(2f64.powi(-700))];
        // The signs of the deviations are others.
        assert!(one > 0.0 && (0.5..2.0).contains(&(small / one)), "{one} {small}");
    }
}
