//! Chains of multiply-adds that round once, by instructions that every CPU of the target has: what
//! [`Isa::Exact`](crate::Isa::Exact) computes with. They are compiled once and called for a vector of sums, since inlined
//! everywhere they would take minutes to compile.

use fearless_simd::{Simd, f32x4, f64x2, prelude::*, u32x4, u64x2};

/// `c[i] = fma(a[k·step + i·EACH], b[k·b_step + i], c[i])` for k ascending from 0 to `depth`, i below the number of
/// lanes, and EACH 1 or 0: a vector of factors in each step, or one number for all lanes.
#[derive(Clone, Copy)]
#[allow(unnameable_types, reason = "seals Num")]
pub struct Factors<'a, T> {
    pub(crate) depth: usize,
    pub(crate) a: &'a [T],
    pub(crate) a_step: usize,
    pub(crate) b: &'a [T],
    pub(crate) b_step: usize,
}

/// Runs a function on the instructions that every CPU of the target has.
macro_rules! on_the_baseline {
    ($simd:ident => $run:expr) => {{
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let Some($simd) = fearless_simd::Level::baseline().as_sse2() {
            return $simd.vectorize(
                #[inline(always)]
                || $run,
            );
        }
        fearless_simd::dispatch!(fearless_simd::Level::baseline(), $simd => $run)
    }};
}
pub(crate) use on_the_baseline;

/// Chains in f32.
#[inline(never)]
pub(crate) fn chains_f32<const EACH: bool>(factors: Factors<'_, f32>, c: &mut [f32]) {
    let c = c.try_into().expect("a vector of sums");
    on_the_baseline!(simd => chains_f32_here::<_, EACH>(simd, factors, c))
}

/// Chains in f64.
#[inline(never)]
pub(crate) fn chains_f64<const EACH: bool>(factors: Factors<'_, f64>, c: &mut [f64]) {
    let c = c.try_into().expect("a vector of sums");
    on_the_baseline!(simd => chains_f64_here::<_, EACH>(simd, factors, c))
}

/// In f64: the product as a sum of two numbers by Dekker's algorithm, the sum of the larger one and c as two numbers by
/// Knuth's, and the three that are left by Graillat's and Muller's (<https://doi.org/10.1007/s00211-025-01487-2>). The last
/// one needs a correction where the sum `v` of the smaller numbers is 2ⁿ or 3·2ⁿ, and none must be too small or too large
/// for these algorithms; chains with such a step are computed again. So are those that begin at -0, whose sign they lose.
///
/// The tests are of sign bits, which are collected: the masks of the SIMD crate cost a call each on SSE2.
#[inline(always)]
fn chains_f64_here<S: Simd, const EACH: bool>(simd: S, factors: Factors<'_, f64>, c: &mut [f64; 8]) {
    let Factors { depth, a, a_step, b, b_step } = factors;
    let u64s = |x: u64| u64x2::splat(simd, x);
    let (without_sign, zero, lowest, highest) =
        (u64s(u64::MAX >> 1), u64s(0), u64s(623 << 52), u64s(1423 << 52));
    // The sign bit is set where |x| is not 0 and not in 2^-400 to 2^400.
    let beyond = |x: f64x2<S>| {
        let x = x.to_bits() & without_sign;
        (x - lowest) & (zero - x) | (highest - x)
    };
    let (split, upper) = (u64s(1 << 26), u64s(!((1 << 27) - 1)));
    let halves = |x: f64x2<S>| {
        let high = f64x2::from_bits((x.to_bits() + split) & upper);
        (high, x - high)
    };
    let two = |x: &[f64], i: usize| f64x2::from_slice(simd, &x[2 * i..][..2]);
    // A sum that begins at infinity, as those of padding do, stays there.
    let finite = c.map(|c| if c.is_infinite() { 0.0 } else { c });
    let mut sums: [f64x2<S>; 4] = std::array::from_fn(
        #[inline(always)]
        |i| two(&finite, i),
    );
    let mut again = zero;
    for sum in sums {
        // 1 less than the encoding of -0 is that of a positive number.
        again |= beyond(sum) | (sum.to_bits() & !(sum.to_bits() - u64s(1)));
    }
    for k in 0..depth {
        let b = &b[k * b_step..][..8];
        let a = if EACH { &a[k * a_step..][..8] } else { &[a[k * a_step]; 8] };
        for i in 0..4 {
            let (a, b, c) = (two(a, i), two(b, i), sums[i]);
            let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
            let product = a * b;
            let product_left =
                a_low * b_low + (a_low * b_high + (a_high * b_low + (a_high * b_high - product)));
            let sum = product + c;
            let c_there = sum - product;
            let sum_left = (product - (sum - c_there)) + (c - c_there);
            let v = product_left + sum_left;
            sums[i] = sum + v;
            let v = v.to_bits();
            let special = ((v & u64s((1 << 51) - 1)) - u64s(1)) & (zero - (v & without_sign));
            again |= beyond(a) | beyond(b) | special;
        }
    }
    if (again >> 63).to_array() != [0; 2] {
        for i in 0..8 {
            c[i] = (0..depth)
                .fold(c[i], |c, k| a[k * a_step + if EACH { i } else { 0 }].mul_add(b[k * b_step + i], c));
        }
        return;
    }
    let mut results = finite;
    for i in 0..4 {
        sums[i].store_slice(&mut results[2 * i..][..2]);
    }
    for (c, result) in c.iter_mut().zip(results) {
        *c = if c.is_infinite() { *c } else { result };
    }
}

/// Eight f32 as f64, exact.
#[inline(always)]
fn eight<S: Simd>(simd: S, x: &[f32], encodings: &mut u32x4<S>) -> [f64x2<S>; 4] {
    let (x, y) = (f32x4::from_slice(simd, &x[..4]), f32x4::from_slice(simd, &x[4..8]));
    *encodings |= x.to_bits() | y.to_bits();
    let ((x0, x1), (y0, y1)) = (x.widen(), y.widen());
    [x0, x1, y0, y1]
}

/// In f32: the sums are kept in f64, where the product is exact, and rounded to f32 in each step by adding half of f32's
/// last bit to the encoding and cutting off the bits behind it. That is wrong only where the sum in f64 is halfway
/// between two f32; chains with such a step are computed again. So are those that could exceed the largest f32.
///
/// The sums are scaled so that f32 and f64 have the same biased exponents. So subnormal numbers of f32 are subnormal in
/// f64, and the bits to be cut off are the same ones. A product that is too small for f64 then is rounded; as this and the
/// addition after it are monotone, the sum is on its side of halfway still, or is halfway and computed again.
#[inline(always)]
fn chains_f32_here<S: Simd, const EACH: bool>(simd: S, factors_of: Factors<'_, f32>, c: &mut [f32; 16]) {
    let scale: f64 = const { f64::from_bits((1023 - (1023 - 127)) << 52) };
    let unscale: f64 = const { f64::from_bits((1023 + (1023 - 127)) << 52) };
    let Factors { depth, a, a_step, b, b_step } = factors_of;
    let half = u64x2::splat(simd, 1 << 28);
    let behind = u64x2::splat(simd, (1 << 29) - 1);
    let one = u64x2::splat(simd, 1);
    let mut encodings = u32x4::splat(simd, 0);
    // Its sign bit is set once nothing was cut off.
    let mut halfway = u64x2::splat(simd, 0);
    let mut results = *c;
    // Eight lanes at a time, whose sums stay in registers; they have names, since a build for size unrolls no loop.
    for lane in [0, 8] {
        let [s0, s1, s2, s3] = eight(simd, &c[lane..][..8], &mut encodings);
        let (mut s0, mut s1, mut s2, mut s3) = (s0 * scale, s1 * scale, s2 * scale, s3 * scale);
        for k in 0..depth {
            let [b0, b1, b2, b3] = eight(simd, &b[k * b_step + lane..][..8], &mut encodings);
            let [a0, a1, a2, a3] = if EACH {
                eight(simd, &a[k * a_step + lane..][..8], &mut encodings)
            } else {
                let a = a[k * a_step];
                encodings |= u32x4::splat(simd, a.to_bits());
                [f64x2::splat(simd, a.into()); 4]
            };
            macro_rules! step {
                ($($sum:ident $a:ident $b:ident),*) => {$(
                    let sum = ($a * scale * $b + $sum).to_bits() + half;
                    let cut = sum & behind;
                    halfway |= cut - one;
                    $sum = f64x2::from_bits(sum - cut);
                )*};
            }
            step!(s0 a0 b0, s1 a1 b1, s2 a2 b2, s3 a3 b3);
        }
        (s0 * unscale).narrow(s1 * unscale).store_slice(&mut results[lane..][..4]);
        (s2 * unscale).narrow(s3 * unscale).store_slice(&mut results[lane + 4..][..4]);
    }
    // Without numbers of 2 or more no sum comes near the largest number.
    let two_or_more = encodings.to_array().iter().any(|x| x & 2f32.to_bits() != 0);
    let halfway = (halfway >> 63).to_array() != [0; 2];
    if halfway || two_or_more && may_overflow::<EACH>(factors_of, c) {
        return again::<S, EACH>(simd, factors_of, c);
    }
    *c = results;
}

/// Whether a sum may exceed the largest number, or a number is none.
fn may_overflow<const EACH: bool>(factors: Factors<'_, f32>, c: &[f32; 16]) -> bool {
    let Factors { depth, a, a_step, b, b_step } = factors;
    // NaN is larger than all.
    let largest = |x: &[f32]| x.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
    let of = |x: &[f32], step: usize, width: usize| {
        let largest = (0..depth).map(|k| largest(&x[k * step..][..width])).max();
        f64::from(f32::from_bits(largest.unwrap_or(0)))
    };
    let products = of(a, a_step, if EACH { 16 } else { 1 }) * of(b, b_step, 16) * depth as f64;
    // A sum that begins at infinity, as those of padding do, stays there, whatever is computed.
    let finite = c.map(|c| if c.is_finite() { c } else { 0.0 });
    let bound = products + f64::from(f32::from_bits(largest(&finite)));
    bound.is_nan() || bound >= f64::from(f32::MAX) / 2.0
}

/// With the halfway case settled in each step.
#[inline(never)]
#[cold]
fn again<S: Simd, const EACH: bool>(simd: S, factors: Factors<'_, f32>, c: &mut [f32; 16]) {
    let Factors { depth, a, a_step, b, b_step } = factors;
    for i in 0..4 {
        let mut sum = f32x4::from_slice(simd, &c[4 * i..][..4]);
        for k in 0..depth {
            let a = if EACH { &a[k * a_step + 4 * i..][..4] } else { &[a[k * a_step]; 4] };
            let b = f32x4::from_slice(simd, &b[k * b_step + 4 * i..][..4]);
            sum = f32x4::from_slice(simd, a).mul_add_precise(b, sum);
        }
        sum.store_slice(&mut c[4 * i..][..4]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chains of a few numbers, from which each kind of step that is computed again can arise.
    macro_rules! chains_are_those_of_single_steps {
        ($name:ident, $chains:ident, $t:ident, $lanes:literal) => {
            #[test]
            fn $name() {
                const KINDS: usize = 6;
                let mut state = 1u64;
                let mut random = |below: usize| {
                    state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                    (state >> 33) as usize % below
                };
                let (mut endless, mut halfway) = (0, 0);
                for case in 0..4000 {
                    let mut number = || -> $t {
                        let any = random(1 << 24) as $t / (1 << 23) as $t - 1.0;
                        match case % KINDS {
                            0 => any,
                            1 => [any, 0.0, -0.0, 1.0][random(4)],
                            // Few bits: sums that are halfway between two numbers.
                            2 => [any, 1.0, 3.0, $t::EPSILON / 2.0, $t::EPSILON][random(5)],
                            // Beyond the largest number, and back.
                            3 => [any, $t::MAX, -$t::MAX, 2.0, 1e5][random(5)],
                            4 => {
                                [any, $t::MIN_POSITIVE, -1.5 * $t::MIN_POSITIVE, 1e-6, $t::EPSILON][random(5)]
                            }
                            _ => [any, 1.0, 5.0][random(3)],
                        }
                    };
                    let a: Vec<$t> = (0..9 * $lanes).map(|_| number()).collect();
                    let b: Vec<$t> = (0..9 * $lanes).map(|_| number()).collect();
                    let mut c: [$t; $lanes] = std::array::from_fn(|_| number());
                    if case % KINDS == 5 {
                        c[1] = $t::NEG_INFINITY;
                    }
                    let depth = random(9);
                    for each in [false, true] {
                        let (step, lane) = if each { ($lanes, 1) } else { (2, 0) };
                        let factors = Factors { depth, a: &a, a_step: step, b: &b, b_step: $lanes };
                        let mut found = c;
                        if each {
                            $chains::<true>(factors, &mut found)
                        } else {
                            $chains::<false>(factors, &mut found)
                        }
                        for i in 0..$lanes {
                            let step =
                                |sum: $t, k: usize| a[k * step + i * lane].mul_add(b[k * $lanes + i], sum);
                            let expected = (0..depth).fold(c[i], step);
                            let same = found[i].to_bits() == expected.to_bits()
                                || found[i].is_nan() && expected.is_nan();
                            assert!(
                                same,
                                "case {case}, {each}, lane {i}: {:e}, expected {expected:e}",
                                found[i]
                            );
                            endless += usize::from(!expected.is_finite());
                            halfway +=
                                usize::from(depth > 0 && a[i * lane] == 1.0 && b[i] == $t::EPSILON / 2.0);
                        }
                    }
                }
                assert!(endless > 1000 && halfway > 100, "{endless} {halfway}");
            }
        };
    }
    chains_are_those_of_single_steps!(chains_in_f32_are_those_of_single_steps, chains_f32, f32, 16);
    chains_are_those_of_single_steps!(chains_in_f64_are_those_of_single_steps, chains_f64, f64, 8);
}
