//! The multiply-add of the instruction set `exact` against that of the hardware, or of the C library where the CPU has
//! none.

use elman_fast::raw::fma;
use elman_fast::{Isa, Num};

use crate::common::Random;

/// A number type with the parts of its encoding.
trait Encoded: Num {
    const MANTISSA: u32;
    const EXPONENTS: u64;
    fn of_bits(bits: u64) -> Self;
    fn correct(a: Self, b: Self, c: Self) -> Self;
    fn is_no_number(self) -> bool;

    /// A number of any sign, with this biased exponent (0: subnormal) and these bits behind the point.
    fn with(exponent: u64, fraction: u64, random: &mut Random) -> Self {
        let sign = (random.below(2) as u64) << (Self::MANTISSA + Self::EXPONENTS.ilog2() + 1);
        let fraction = fraction & ((1 << Self::MANTISSA) - 1);
        Self::of_bits(sign | exponent.min(Self::EXPONENTS) << Self::MANTISSA | fraction)
    }
}

macro_rules! encoded {
    ($t:ty, $bits:ty, $exponents:expr) => {
        impl Encoded for $t {
            const MANTISSA: u32 = <$t>::MANTISSA_DIGITS - 1;
            const EXPONENTS: u64 = $exponents;

            fn of_bits(bits: u64) -> Self {
                <$t>::from_bits(bits as $bits)
            }

            fn correct(a: Self, b: Self, c: Self) -> Self {
                a.mul_add(b, c)
            }

            fn is_no_number(self) -> bool {
                self.is_nan()
            }
        }
    };
}
encoded!(f32, u32, 0xff);
encoded!(f64, u64, 0x7ff);

/// Kinds of triples; `kind` chooses one.
fn triple<T: Encoded>(kind: usize, random: &mut Random) -> [T; 3] {
    let (half, bias) = (u64::from(T::MANTISSA), T::EXPONENTS / 2);
    let any = |random: &mut Random| random.next();
    let small = |random: &mut Random| random.below(64) as u64;
    // A number whose last bit is worth 2^-MANTISSA times its exponent's power: c, and a product of half that bit.
    let near_half = |exponent: u64, random: &mut Random| {
        let (c, n) = (T::with(exponent, any(random), random), small(random));
        // (1 + n·u)·(1 - n·u), or twice as far off: half of the last bit but for less than f64 can see of an f32.
        let m = n + random.below(3) as u64 / 2;
        let a = T::with(exponent.saturating_sub(half + 1), n, random);
        let b = T::with(bias - 1, ((1 << half) - 2 * m) & ((1 << half) - 1), random);
        let b = if m == 0 { T::with(bias, 0, random) } else { b };
        [a, b, c]
    };
    match kind % 8 {
        // Any bits at all: infinities and NaN are among them.
        0 => [any(random), any(random), any(random)].map(T::of_bits),
        // Sums of a network: all of about one size.
        1 => std::array::from_fn(|_| T::with(bias - small(random) % 8, any(random), random)),
        // Cancellation: c is the rounded product, negated or not.
        2 => {
            let [a, b] = [(); 2].map(|()| T::with(bias - small(random), any(random), random));
            [a, b, if random.below(4) > 0 { -(a * b) } else { a * b }]
        }
        // Halfway between two numbers, and next to it.
        3 => near_half(half + 2 + any(random) % (T::EXPONENTS - half - 3), random),
        // The same at the end of the normal numbers, beyond which is infinity.
        4 => near_half(T::EXPONENTS - 1 - any(random) % 2, random),
        // Subnormal results, and those next to the smallest normal one.
        5 => {
            let sum = bias + small(random) - (small(random) % bias.min(40)) - half;
            let first = 1 + any(random) % (sum.max(2) - 1);
            let second = (sum + 1 - first).min(T::EXPONENTS - 1);
            [
                T::with(first, any(random), random),
                T::with(second, any(random), random),
                T::with(any(random) % 3, any(random), random),
            ]
        }
        // Products of exactly half the smallest number, and less and more by little, on subnormal numbers.
        6 => {
            let (n, power) = (small(random), 1 + any(random) % (bias - half - 2));
            let a = T::with(power, n, random);
            let b = T::with(bias - power - half - 1, (1 << half) - 2 * n, random);
            [a, b, T::with(0, small(random), random)]
        }
        // Zeros and few bits: exact results, and signs of zero. Sums that begin at infinity, too.
        _ => std::array::from_fn(|i| match random.below(9) {
            0..3 => T::with(0, 0, random),
            3 if i == 2 => T::with(T::EXPONENTS, 0, random),
            _ => T::with(bias + small(random) % 4 - 2, small(random) << (half - 6), random),
        }),
    }
}

/// Compares so many triples; each kind is an eighth of them. Returns how many differ from a product and a sum that
/// round apart: the triples that can tell a fused multiply-add.
fn compare<T: Encoded>(isa: Isa, seed: u64, triples: usize) -> usize {
    let random = &mut Random::new(seed);
    let all: Vec<[T; 3]> = (0..triples).map(|i| triple(i, random)).collect();
    let column = |i: usize| all.iter().map(|triple| triple[i]).collect::<Vec<T>>();
    let (a, b, mut found) = (column(0), column(1), column(2));
    fma(isa, &a, &b, &mut found).unwrap();
    let mut telling = 0;
    for (triple, found) in all.iter().zip(&found) {
        let [a, b, c] = *triple;
        let expected = T::correct(a, b, c);
        let same = found.bits() == expected.bits() || (found.is_no_number() && expected.is_no_number());
        assert!(same, "{isa}: {a:e} · {b:e} + {c:e} = {found:e}, expected {expected:e}, seed {seed}");
        telling += usize::from(a * b + c != expected && !expected.is_no_number());
    }
    telling
}

#[test]
fn multiply_add_rounds_once_on_every_fused_instruction_set() {
    const TRIPLES: usize = 1 << 20;
    for isa in Isa::promised() {
        for seed in 0..3 {
            assert!(compare::<f32>(isa, seed, TRIPLES) > TRIPLES / 16, "too few telling triples of f32");
            assert!(compare::<f64>(isa, seed, TRIPLES) > TRIPLES / 16, "too few telling triples of f64");
        }
    }
}

/// A billion triples of each number type; minutes.
/// `cargo test --release -p elman-fast --test kernels a_billion -- --ignored --nocapture`
#[test]
#[ignore = "a billion triples: minutes; run by hand"]
fn a_billion_triples_round_once() {
    use rayon::prelude::*;
    let part = 1 << 18;
    let parts = 1_000_000_000u64.div_ceil(part as u64);
    let telling: usize = (0..parts)
        .into_par_iter()
        .map(|i| compare::<f32>(Isa::Exact, 1000 + i, part) + compare::<f64>(Isa::Exact, 1000 + i, part))
        .sum();
    println!(
        "{} triples of f32 and of f64, {telling} of which differ where product and sum round apart",
        parts * part as u64
    );
}
