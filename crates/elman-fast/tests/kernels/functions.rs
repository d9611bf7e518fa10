//! exp, sigmoid and tanh against more exact ones, in units in the last place.

use elman::ndarray::Array2;
use elman_fast::raw::{Bench, Kernel};
use elman_fast::{Isa, Num};

/// The functions, and the largest error that src/num.rs states for each in f32 and in f64, in units in the last place.
const FUNCTIONS: [(Kernel, f64, f64); 3] =
    [(Kernel::Exp, 1.0, 1.0), (Kernel::Sigmoid, 2.0, 2.0), (Kernel::Tanh, 2.5, 2.5)];
/// That of the logarithm, of positive normal numbers.
const LN: f64 = 1.0;

/// An unevaluated sum of two f64, which has some 100 bits.
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    fn sum(a: f64, b: f64) -> Double {
        let sum = a + b;
        let of_b = sum - a;
        Double(sum, (a - (sum - of_b)) + (b - of_b))
    }

    fn plus(self, other: Double) -> Double {
        let Double(sum, rest) = Double::sum(self.0, other.0);
        Double::sum(sum, rest + (self.1 + other.1))
    }

    fn times(self, other: Double) -> Double {
        let product = self.0 * other.0;
        let rest = self.0.mul_add(other.0, -product);
        Double::sum(product, rest + (self.0 * other.1 + self.1 * other.0))
    }

    fn over(self, other: Double) -> Double {
        let quotient = self.0 / other.0;
        let rest = self.plus(other.times(Double(-quotient, 0.0)));
        Double::sum(quotient, rest.0 / other.0)
    }

    /// Exact, if no part leaves the normal numbers.
    fn scaled(self, exponent: i32) -> Double {
        let (a, b) = (2f64.powi(exponent / 2), 2f64.powi(exponent - exponent / 2));
        Double(self.0 * a * b, self.1 * a * b)
    }
}

const ONE: Double = Double(1.0, 0.0);

/// `exp(x)` as `m · 2^n`.
fn exp(x: f64) -> (Double, i32) {
    let ln_2 = Double(std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);
    // Beyond, the result is 0 or infinite in every number type.
    let x = x.clamp(-800.0, 800.0);
    let n = (x / ln_2.0).round();
    let r = Double(x, 0.0).plus(ln_2.times(Double(-n, 0.0))).scaled(-8);
    let taylor = |sum: Double, k: i32| ONE.plus(sum.times(r).over(Double(f64::from(k), 0.0)));
    let power = (1..=12).rev().fold(ONE, taylor);
    ((0..8).fold(power, |power, _| power.times(power)), n as i32)
}

/// A function of a finite number, as `m · 2^n`.
fn exact(kernel: Kernel, x: f64) -> (Double, i32) {
    match kernel {
        Kernel::Exp => exp(x),
        Kernel::Sigmoid => {
            let (m, n) = exp(-x.abs());
            let denominator = ONE.plus(m.scaled(n));
            if x < 0.0 { (m.over(denominator), n) } else { (ONE.over(denominator), 0) }
        }
        // x - x³/3: the next term is below 2^-80 of x.
        _ if x.abs() < 1e-6 => {
            let cube = Double(x, 0.0).times(Double(x, 0.0)).times(Double(-x / 3.0, 0.0));
            (Double(x, 0.0).plus(cube), 0)
        }
        _ => {
            let (m, n) = exp(2.0 * x.abs().min(30.0));
            let e = m.scaled(n);
            let tanh = e.plus(Double(-1.0, 0.0)).over(e.plus(ONE));
            (Double(tanh.0.copysign(x), tanh.1 * x.signum()), 0)
        }
    }
}

/// The distance from the exact value in units in the last place of T there.
fn ulps<T: Num>(found: f64, (m, n): (Double, i32)) -> f64 {
    if m.0 == 0.0 {
        return if found == 0.0 { 0.0 } else { f64::INFINITY };
    }
    let digits = -T::EPSILON.log2() as i32;
    let (lowest, highest) = (T::MIN_POSITIVE.log2() as i32, 1 - T::MIN_POSITIVE.log2() as i32);
    let exponent = m.0.abs().log2().floor() as i32 + n;
    if found.is_infinite() {
        // Infinity is the next number after the largest; from half a unit before it on, numbers are rounded to it.
        let largest = m.0.abs() / 2f64.powi(highest + 1 - n);
        return if found > 0.0 && largest >= 1.0 - T::EPSILON { 0.0 } else { f64::INFINITY };
    }
    let off = (Double(found, 0.0).scaled(-n).0 - m.0) - m.1;
    Double(off.abs(), 0.0).scaled(digits + n - exponent.max(lowest)).0
}

/// Applies a function to many numbers.
fn apply<T: Num>(isa: Isa, kernel: Kernel, inputs: &[T]) -> Vec<T> {
    let array = Array2::from_shape_vec((1, inputs.len()), inputs.to_vec()).unwrap();
    let one = Array2::zeros((1, 1));
    let mut bench = Bench::new(isa, one.view(), one.view(), array.view()).unwrap();
    bench.run(kernel);
    (0..inputs.len()).map(|i| bench.c(0, i)).collect()
}

/// The largest error over some numbers, and where it is.
fn worst<T: Num>(isa: Isa, kernel: Kernel, inputs: &[T], exact: impl Fn(f64) -> (Double, i32)) -> (f64, T) {
    let mut worst = (0.0, T::zero());
    for (x, found) in inputs.iter().zip(apply(isa, kernel, inputs)) {
        if !x.to_f64().is_finite() {
            continue;
        }
        let error = ulps::<T>(found.to_f64(), exact(x.to_f64()));
        if error.is_nan() || error > worst.0 {
            worst = (error, *x);
        }
    }
    worst
}

/// For an f32 the standard library's f64 functions are exact enough, and faster.
fn exact_for_f32(kernel: Kernel, x: f64) -> (Double, i32) {
    let value = match kernel {
        Kernel::Exp => x.exp(),
        Kernel::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
        Kernel::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        _ => x.tanh(),
    };
    (Double(value, 0.0), 0)
}

/// The places where something changes, and their neighbours: half of ln 2 and its multiples, where the exponent of the
/// reduction does; the ends of the ranges; the ends of the normal and of the subnormal numbers.
fn neighbours_of_limits<T: Num>() -> Vec<T> {
    let halves = (1..40).step_by(2).map(|i| f64::from(i) * std::f64::consts::LN_2 / 2.0);
    let ends = [1.0, 9.0, 9.02, 18.7, 19.1, 22.0, 44.0, 87.3, 88.7, 89.0, 103.9, 104.0, 708.4, 709.7, 710.0];
    let ends = ends.into_iter().chain([745.1, 746.0, 1e-30, T::MIN_POSITIVE]);
    let near =
        halves.chain(ends).flat_map(|x| (-200..=200).map(move |i| x * (1.0 + f64::from(i) * T::EPSILON)));
    let all = near.chain((0..200).map(|i| T::MIN_POSITIVE * T::EPSILON * f64::from(i)));
    all.flat_map(|x| [T::from_f64(x), T::from_f64(-x)]).collect()
}

fn assert_within<T: Num>(kind: &str, inputs: &[T], exact: impl Fn(Kernel, f64) -> (Double, i32)) {
    for isa in Isa::available() {
        for (kernel, in_f32, in_f64) in FUNCTIONS {
            let (error, x) = worst(isa, kernel, inputs, |x| exact(kernel, x));
            println!("{kind}: {isa} {kernel:?}: {error:.3} units at {x:e}", x = x.to_f64());
            let bound = if T::NAME == "f32" { in_f32 } else { in_f64 };
            assert!(error <= bound, "{kind}: {isa} {kernel:?}({x}) is {error} units off");
        }
    }
}

#[test]
fn floats_are_within_the_stated_bound() {
    let sample: Vec<f32> = (0..1u64 << 32).step_by(4097).map(|bits| f32::from_bits(bits as u32)).collect();
    assert_within("f32", &sample, exact_for_f32);
    assert_within("f32 near limits", &neighbours_of_limits::<f32>(), exact);
}

#[test]
fn doubles_are_within_the_stated_bound() {
    let sample: Vec<f64> = (0..1 << 16).map(|i| f64::from_bits((i << 48) | (i * 0x9e37_79b9))).collect();
    assert_within("f64", &sample, exact);
    let middle: Vec<f64> = (-15_000..=15_000).map(|i| f64::from(i) * 0.05 + 1e-3).collect();
    assert_within("f64 in the middle", &middle, exact);
    let small: Vec<f64> = (-20_000..=20_000).map(|i| f64::from(i) * 1.1e-4 + 1e-7).collect();
    assert_within("f64, small", &small, exact);
    assert_within("f64 near limits", &neighbours_of_limits::<f64>(), exact);
}

/// `ln(x)`, from a step of Newton's method for `e^y = x`; near 1, where the digits of x - 1 decide, from the series.
fn ln(x: f64) -> (Double, i32) {
    let f = Double(x - 1.0, 0.0);
    if f.0.abs() < 1e-10 {
        let square = f.times(f);
        let cube = square.times(f).times(Double(1.0 / 3.0, 0.0));
        return (f.plus(square.scaled(-1).times(Double(-1.0, 0.0))).plus(cube), 0);
    }
    let y = x.ln();
    let (m, n) = exp(-y);
    // y + (x·e^-y - 1), and half of the square of the step.
    let step = Double(x, 0.0).scaled(n / 2).times(m).scaled(n - n / 2).plus(Double(-1.0, 0.0));
    (Double(y, 0.0).plus(step).plus(step.times(step).scaled(-1).times(Double(-1.0, 0.0))), 0)
}

#[test]
fn logarithms_are_within_the_stated_bound() {
    fn check<T: Num>(kind: &str, inputs: &[f64], exact: impl Fn(f64) -> (Double, i32)) {
        let inputs: Vec<T> = inputs.iter().map(|x| T::from_f64(*x)).collect();
        for isa in Isa::available() {
            let (error, x) = worst(isa, Kernel::Ln, &inputs, &exact);
            println!("{kind}: {isa} Ln: {error:.3} units at {x:e}", x = x.to_f64());
            assert!(error <= LN, "{kind}: {isa} ln({x}) is {error} units off");
        }
    }
    // Sums of exponentials, from 1 on; the places where the exponent changes; all magnitudes.
    let sums: Vec<f64> = (0..200_000).map(|i| 1.0 + f64::from(i) * 1.7e-4).collect();
    let roots = (-30..30).map(|n| std::f64::consts::SQRT_2 * 2f64.powi(n));
    let near = |epsilon: f64| {
        let ends = roots.clone().chain([1.0, 2.0, 0.5]);
        ends.flat_map(|x| (-300..=300).map(move |i| x * (1.0 + f64::from(i) * epsilon))).collect::<Vec<_>>()
    };
    let all: Vec<f64> =
        (-125..=127).flat_map(|n| (0..64).map(move |i| 2f64.powi(n) * (1.0 + f64::from(i) / 64.1))).collect();
    for inputs in [&sums, &all, &near(f64::from(f32::EPSILON))] {
        check::<f32>("f32", inputs, |x| (Double(x.ln(), 0.0), 0));
    }
    for inputs in [&sums, &all, &near(f64::EPSILON)] {
        check::<f64>("f64", inputs, ln);
    }
    for isa in Isa::available() {
        assert!(apply::<f32>(isa, Kernel::Ln, &[f32::NAN])[0].is_nan());
        assert_eq!(apply::<f64>(isa, Kernel::Ln, &[1.0])[0], 0.0);
    }
}

fn special_values<T: Num>() {
    let [infinity, nan] = [f64::INFINITY, f64::NAN].map(T::from_f64);
    let inputs = [T::zero(), -T::zero(), infinity, -infinity, nan];
    for isa in Isa::available() {
        for (kernel, expected) in [
            (Kernel::Exp, [1.0, 1.0, f64::INFINITY, 0.0, f64::NAN]),
            (Kernel::Sigmoid, [0.5, 0.5, 1.0, 0.0, f64::NAN]),
            (Kernel::Tanh, [0.0, 0.0, 1.0, -1.0, f64::NAN]),
        ] {
            let found: Vec<f64> = apply(isa, kernel, &inputs).into_iter().map(T::to_f64).collect();
            let is_nan = [found[4].is_nan(), expected[4].is_nan()];
            assert_eq!((&found[..4], is_nan), (&expected[..4], [true; 2]), "{isa} {} {kernel:?}", T::NAME);
        }
    }
}

#[test]
fn zeros_infinities_and_nan() {
    special_values::<f32>();
    special_values::<f64>();
}

/// All floats, on one instruction set of those that give the same bits, and on the portable one; minutes.
/// `cargo test --release -p elman-fast --test kernels -- --ignored --nocapture`
#[test]
#[ignore = "all 2^32 floats: minutes; run by hand"]
fn every_float_is_within_the_stated_bound() {
    use rayon::prelude::*;
    for isa in [Isa::best(), Isa::Portable].into_iter().filter(|isa| Isa::available().contains(isa)) {
        for (kernel, bound, _) in FUNCTIONS {
            let of_part = |part: u32| {
                let inputs: Vec<f32> = (0..1 << 20).map(|low| f32::from_bits(part << 20 | low)).collect();
                worst(isa, kernel, &inputs, |x| exact_for_f32(kernel, x))
            };
            let larger = |a: (f64, f32), b: (f64, f32)| if a.0 >= b.0 { a } else { b };
            let (error, x) = (0u32..1 << 12).into_par_iter().map(of_part).reduce(|| (0.0, 0.0), larger);
            println!("{isa} {kernel:?}: {error:.3} units at {x:e}");
            assert!(error <= bound, "{isa} {kernel:?}({x:e}) is {error} units off");
        }
    }
}
