//! The two number types of the kernels and their vectors.

use elman::Float;
use std::any::TypeId;

use fearless_simd::{Fallback, Simd, SimdFloat, SimdFloatElement, f32x16, f64x8, prelude::*};

use crate::exact::{Factors, chains_f32, chains_f64, on_the_baseline};
use crate::isa::ONLY_EXACT;
use crate::kept::{Free, Kept};

/// `f32` or `f64`: a number type that the kernels compute in. It cannot be implemented elsewhere.
///
/// The vectors have 64 bytes on every instruction set (several registers where those are narrower), so that
/// a sum over lanes has the same order, and thus the same bits, everywhere.
pub trait Num: Float + private::Vectors {}
impl Num for f32 {}
impl Num for f64 {}

/// Whether the vectors are those of [`Isa::Exact`](crate::Isa::Exact): its token is that of no vector instructions, where
/// it is not the only one.
#[inline(always)]
pub(crate) fn is_exact<S: Simd>() -> bool {
    ONLY_EXACT || TypeId::of::<S>() == TypeId::of::<Fallback>()
}

mod private {
    use super::*;

    #[allow(unnameable_types, reason = "seals Num")]
    pub trait Vectors: SimdFloatElement + Default {
        /// Numbers in a vector.
        const LANES: usize;
        /// The buffers of this type that are free.
        fn free(kept: &Kept) -> &Free<Self>;
        /// A vector.
        type V<S: Simd>: SimdFloat<S, Element = Self>;

        /// `a·b + c` for each lane: rounded once, but for [`Isa::Portable`](crate::Isa::Portable), which rounds twice.
        fn fma<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;

        /// A vector of chains of [`Isa::Exact`](crate::Isa::Exact): see [`Factors`].
        fn chains<const EACH: bool>(factors: Factors<'_, Self>, c: &mut [Self]);

        /// e to the power of each lane, infinity above the largest, 0 below the smallest, NaN for NaN. The largest
        /// error that was measured is 0.98 units in the last place, in f32 and in f64; tests/kernels/functions.rs asserts 1.
        fn exp_each<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;

        /// `1 / (1 + exp(-x))` for each lane, NaN for NaN. The largest error that was measured is 1.43 units in the last
        /// place, without fused multiply-add 1.75; the test asserts 2.
        fn sigmoid_each<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;

        /// The hyperbolic tangent of each lane, NaN for NaN. The largest error that was measured is 2.40 units in the
        /// last place in f32 and 2.20 in f64; the test asserts 2.5. (-0 gives 0.)
        fn tanh_each<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;

        /// The natural logarithm of each lane that is a positive normal number, NaN for NaN. The largest error that was
        /// measured is 0.79 units in the last place; the test asserts 1.
        fn ln_each<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;

        /// The halves of two vectors added, lane by lane in turn: `[a0+a8, b0+b8, a1+a9, b1+b9, ...]`. Applied
        /// to vectors in pairs until one is left, it gives each vector's sum of lanes in a lane of its own,
        /// added as a balanced tree, in which order [`Vectors::fold`] adds too.
        fn add_halves<S: Simd>(a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;

        /// The sum of the lanes of one vector.
        fn fold<S: Simd>(v: Self::V<S>) -> Self;

        /// The largest lane; NaN lanes may be passed over.
        fn largest<S: Simd>(v: Self::V<S>) -> Self;

        /// `C += A · B` through matrixmultiply, all with (row stride, column stride).
        ///
        /// # Safety
        /// As `matrixmultiply::sgemm`: every element that the sizes and strides name must be inside its
        /// allocation, and C must not overlap A or B.
        #[allow(clippy::too_many_arguments)]
        unsafe fn gemm(
            dims: [usize; 3],
            a: *const Self,
            a_strides: [isize; 2],
            b: *const Self,
            b_strides: [isize; 2],
            c: *mut Self,
            c_strides: [isize; 2],
        );
    }
}

macro_rules! impl_vectors {
    ($t:ident, $free:ident, $v:ident, $lanes:expr, $chains:ident, $gemm:path, $mantissa:expr, exp: {
        log2_e: $log2_e:expr, ln2_high: $ln2_high:expr, ln2_low: $ln2_low:expr,
        lowest: $lowest:expr, highest: $highest:expr, polynomial: $polynomial:expr
    }, ln: { bias: $bias:expr, terms: $terms:expr }) => {
        const _: () = {
            /// Adding 1.5·2^mantissa rounds to an integer and leaves it in the low bits.
            const MAGIC: $t = 1.5 * (1u64 << $mantissa) as $t;

            /// `a·b + c` for each lane, of [`Isa::Exact`](crate::Isa::Exact) by whichever instructions.
            #[inline(always)]
            fn fma<S: Simd, const EXACT: bool>(_: S, a: $v<S>, b: $v<S>, c: $v<S>) -> $v<S> {
                if !EXACT {
                    return a.mul_add(b, c);
                }
                let (mut c, a, b) = (c, a.as_slice(), b.as_slice());
                $chains::<true>(Factors { depth: 1, a, a_step: 0, b, b_step: 0 }, c.as_mut_slice());
                c
            }

            /// `x = n·ln 2 + r`, |r| <= ln 2 / 2: n, n + MAGIC, r.
            #[inline(always)]
            fn reduce<S: Simd, const EXACT: bool>(simd: S, x: $v<S>) -> ($v<S>, $v<S>, $v<S>) {
                let shifted = fma::<S, EXACT>(simd, x, $v::splat(simd, $log2_e), $v::splat(simd, MAGIC));
                let n = shifted - $v::splat(simd, MAGIC);
                let r = fma::<S, EXACT>(simd, n, $v::splat(simd, -$ln2_high), x);
                let r = fma::<S, EXACT>(simd, n, $v::splat(simd, -$ln2_low), r);
                (n, shifted, r)
            }

            /// `exp(r) - 1` as `r + r²·p(r)`, for |r| <= ln 2 / 2.
            #[inline(always)]
            fn expm1_of_reduced<S: Simd, const EXACT: bool>(simd: S, r: $v<S>) -> $v<S> {
                let coefficients = $polynomial;
                let mut p = $v::splat(simd, coefficients[0]);
                let mut i = 1;
                while i < coefficients.len() {
                    p = fma::<S, EXACT>(simd, p, r, $v::splat(simd, coefficients[i]));
                    i += 1;
                }
                fma::<S, EXACT>(simd, r * r, p, r)
            }

            /// `2^n` from n + MAGIC, for an n whose power is a normal number.
            #[inline(always)]
            fn power_of_2<S: Simd>(simd: S, magic_n: $v<S>) -> $v<S> {
                let bits_of_one = <$v<S> as SimdFloat<S>>::Bits::splat(simd, (1.0 as $t).to_bits());
                $v::from_bits((magic_n.to_bits() << $mantissa) + bits_of_one)
            }

            #[inline(always)]
            fn exp<S: Simd, const EXACT: bool>(simd: S, x: $v<S>) -> $v<S> {
                let clamped = x.max($v::splat(simd, $lowest)).min($v::splat(simd, $highest));
                let (n, _, r) = reduce::<S, EXACT>(simd, clamped);
                // exp(r) = 1 + (r + r²·p), the last addition exact but for its rounding.
                let p = expm1_of_reduced::<S, EXACT>(simd, r) + $v::splat(simd, 1.0);
                // 2^n in two factors, each a normal number, so that the result may be subnormal or infinite.
                let magic = $v::splat(simd, MAGIC);
                let half = n * 0.5 + magic; // (The product is exact.)
                let n1 = half - magic;
                let other = (n - n1) + magic;
                let result = p * power_of_2(simd, half) * power_of_2(simd, other);
                x.simd_eq(x).select(result, x)
            }

            #[inline(always)]
            fn sigmoid<S: Simd, const EXACT: bool>(simd: S, x: $v<S>) -> $v<S> {
                // With z = exp(-|x|): 1/(1+z) for x >= 0, z/(1+z) below, where 1/(1+exp(-x)) would overflow.
                let one = $v::splat(simd, 1.0);
                let z = exp::<S, EXACT>(simd, -x.abs());
                let negative = x.simd_lt($v::splat(simd, 0.0));
                let (numerator, denominator) = (negative.select(z, one), one + z);
                let q = numerator / denominator;
                // What the rounding of 1 + z and of the quotient left (2.3 units in the last place without).
                let left = z - (denominator - one);
                let residual = fma::<S, EXACT>(simd, q, -denominator, numerator);
                let reciprocal = negative.select(one - q, q);
                fma::<S, EXACT>(simd, fma::<S, EXACT>(simd, q, -left, residual), reciprocal, q)
            }

            #[inline(always)]
            fn tanh<S: Simd, const EXACT: bool>(simd: S, x: $v<S>) -> $v<S> {
                // With e = exp(2|x|) - 1: e / (e + 2), which loses no digits where x is small. From 22 on it is 1.
                let two = $v::splat(simd, 2.0);
                let y = (x.abs() * two).min($v::splat(simd, 44.0));
                let (_, magic_n, r) = reduce::<S, EXACT>(simd, y);
                // exp(y) - 1 = 2^n·(exp(r) - 1) + (2^n - 1).
                let power = power_of_2(simd, magic_n);
                let e = fma::<S, EXACT>(
                    simd,
                    power,
                    expm1_of_reduced::<S, EXACT>(simd, r),
                    power - $v::splat(simd, 1.0),
                );
                let positive = e / (e + two);
                let result = x.simd_lt($v::splat(simd, 0.0)).select(-positive, positive);
                x.simd_eq(x).select(result, x)
            }

            #[inline(always)]
            fn ln<S: Simd, const EXACT: bool>(simd: S, x: $v<S>) -> $v<S> {
                let bits = |value: $t| <$v<S> as SimdFloat<S>>::Bits::splat(simd, value.to_bits());
                let one = $v::splat(simd, 1.0);
                // x = m·2^n with m from the root of 1/2 to the root of 2, so that f = m - 1 is exact.
                let lowest = bits(std::$t::consts::FRAC_1_SQRT_2);
                let shifted = x.to_bits() + (bits(1.0) - lowest);
                let biased = $v::from_bits((shifted >> $mantissa) + bits(MAGIC));
                let n = biased - $v::splat(simd, MAGIC + $bias);
                let mantissa = shifted & <$v<S> as SimdFloat<S>>::Bits::splat(simd, (1 << $mantissa) - 1);
                let f = $v::from_bits(mantissa + lowest) - one;
                // ln(1 + f) = 2·atanh(s) with s = f / (2 + f): 2s + s·z·(2/3 + 2/5·z + ...) with z = s². As 2s = f - s·f,
                // and s·f = f²/2 - s·f²/2, it is f - (f²/2 - s·(f²/2 + z·(...))): all but f is small.
                let s = f / (f + $v::splat(simd, 2.0));
                let z = s * s;
                let mut p = $v::splat(simd, 2.0 / (2 * $terms + 1) as $t);
                let mut k = $terms - 1;
                while k > 0 {
                    p = fma::<S, EXACT>(simd, p, z, $v::splat(simd, 2.0 / (2 * k + 1) as $t));
                    k -= 1;
                }
                let half = f * $v::splat(simd, 0.5) * f;
                let small = fma::<S, EXACT>(
                    simd,
                    s,
                    fma::<S, EXACT>(simd, z, p, half),
                    n * $v::splat(simd, $ln2_low),
                );
                let result = fma::<S, EXACT>(simd, n, $v::splat(simd, $ln2_high), f - (half - small));
                x.simd_eq(x).select(result, x)
            }

            const EXP: u8 = 0;
            const SIGMOID: u8 = 1;
            const TANH: u8 = 2;
            const LN: u8 = 3;

            /// One of the functions for [`Isa::Exact`](crate::Isa::Exact), compiled once.
            #[inline(never)]
            fn apart<const FUNCTION: u8>(x: &[$t]) -> [$t; $lanes] {
                #[inline(always)]
                fn here<S: Simd, const FUNCTION: u8>(simd: S, x: &[$t]) -> [$t; $lanes] {
                    let x = $v::from_slice(simd, x);
                    let result = match FUNCTION {
                        EXP => exp::<S, true>(simd, x),
                        SIGMOID => sigmoid::<S, true>(simd, x),
                        LN => ln::<S, true>(simd, x),
                        _ => tanh::<S, true>(simd, x),
                    };
                    result.to_array()
                }
        on_the_baseline!(simd => here::<_, FUNCTION>(simd, x))
            }

            impl private::Vectors for $t {
                const LANES: usize = $lanes;
                type V<S: Simd> = $v<S>;

                fn free(kept: &Kept) -> &Free<Self> {
                    kept.$free()
                }

                #[inline(always)]
                fn fma<S: Simd>(simd: S, a: $v<S>, b: $v<S>, c: $v<S>) -> $v<S> {
                    if is_exact::<S>() {
                        fma::<S, true>(simd, a, b, c)
                    } else {
                        fma::<S, false>(simd, a, b, c)
                    }
                }

                fn chains<const EACH: bool>(factors: Factors<'_, $t>, c: &mut [$t]) {
                    $chains::<EACH>(factors, c);
                }

                #[inline(always)]
                fn exp_each<S: Simd>(simd: S, x: $v<S>) -> $v<S> {
                    if is_exact::<S>() {
                        $v::from_slice(simd, &apart::<EXP>(x.as_slice()))
                    } else {
                        exp::<S, false>(simd, x)
                    }
                }

                #[inline(always)]
                fn sigmoid_each<S: Simd>(simd: S, x: $v<S>) -> $v<S> {
                    if is_exact::<S>() {
                        $v::from_slice(simd, &apart::<SIGMOID>(x.as_slice()))
                    } else {
                        sigmoid::<S, false>(simd, x)
                    }
                }

                #[inline(always)]
                fn tanh_each<S: Simd>(simd: S, x: $v<S>) -> $v<S> {
                    if is_exact::<S>() {
                        $v::from_slice(simd, &apart::<TANH>(x.as_slice()))
                    } else {
                        tanh::<S, false>(simd, x)
                    }
                }

                #[inline(always)]
                fn ln_each<S: Simd>(simd: S, x: $v<S>) -> $v<S> {
                    if is_exact::<S>() {
                        $v::from_slice(simd, &apart::<LN>(x.as_slice()))
                    } else {
                        ln::<S, false>(simd, x)
                    }
                }

                #[inline(always)]
                fn add_halves<S: Simd>(a: $v<S>, b: $v<S>) -> $v<S> {
                    if const { <S::f32s as SimdBase<S>>::LEN == 16 } {
                        return a.zip_low(b) + a.zip_high(b);
                    }
                    // The halves are registers of their own here: add first, shuffle half as much.
                    let ((a_low, a_high), (b_low, b_high)) = (a.split(), b.split());
                    let (a, b) = (a_low + a_high, b_low + b_high);
                    a.zip_low(b).combine(a.zip_high(b))
                }

                #[inline(always)]
                fn fold<S: Simd>(v: $v<S>) -> $t {
                    let mut v = v.to_array();
                    let mut n = $lanes / 2;
                    while n > 0 {
                        let mut i = 0;
                        while i < n {
                            v[i] += v[i + n];
                            i += 1;
                        }
                        n /= 2;
                    }
                    v[0]
                }

                #[inline(always)]
                fn largest<S: Simd>(v: $v<S>) -> $t {
                    v.reduce_max()
                }

                unsafe fn gemm(
                    [m, k, n]: [usize; 3],
                    a: *const $t,
                    [rsa, csa]: [isize; 2],
                    b: *const $t,
                    [rsb, csb]: [isize; 2],
                    c: *mut $t,
                    [rsc, csc]: [isize; 2],
                ) {
                    // SAFETY: the caller's promise is that of this function.
                    unsafe { $gemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 1.0, c, rsc, csc) }
                }
            }
        };
    };
}

impl_vectors!(f32, of_f32, f32x16, 16, chains_f32, matrixmultiply::sgemm, 23, exp: {
    log2_e: std::f32::consts::LOG2_E,
    // ln 2 in two parts, the first with zeros at its end so that n·ln2_high is exact (Cephes).
    ln2_high: 0.693_359_4, ln2_low: -2.121_944_4e-4,
    // exp(-104) is below half the smallest subnormal, exp(89) above the largest number.
    lowest: -104.0, highest: 89.0,
    // Cephes' expf: (exp(r) - 1 - r) / r² on |r| <= ln 2 / 2.
    polynomial: [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1f32]
}, ln: { bias: 127.0, terms: 5 });
impl_vectors!(f64, of_f64, f64x8, 8, chains_f64, matrixmultiply::dgemm, 52, exp: {
    log2_e: std::f64::consts::LOG2_E,
    ln2_high: 6.93145751953125e-1, ln2_low: 1.428_606_820_309_417_2e-6,
    lowest: -746.0, highest: 710.0,
    // Taylor: the first term left out is below 2^-57 at |r| = ln 2 / 2.
    polynomial: [
        1.0 / 6_227_020_800.0, 1.0 / 479_001_600.0, 1.0 / 39_916_800.0, 1.0 / 3_628_800.0, 1.0 / 362_880.0,
        1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5f64
    ]
}, ln: { bias: 1023.0, terms: 10 });
