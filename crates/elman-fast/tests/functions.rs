//! exp and sigmoid against the f64 functions of the standard library, in units in the last place.

use elman::ndarray::Array2;
use elman_fast::Isa;
use elman_fast::raw::{Bench, Kernel};

/// exp and sigmoid in f64, whose own error is far below an f32's last place.
fn exact(kernel: Kernel, x: f64) -> f64 {
    match kernel {
        Kernel::Exp => x.exp(),
        _ if x < 0.0 => x.exp() / (1.0 + x.exp()),
        _ => 1.0 / (1.0 + (-x).exp()),
    }
}

/// The distance from `exact` in units in the last place of an f32 there.
fn ulps(found: f32, exact: f64) -> f64 {
    if exact > f64::from(f32::MAX) {
        // Rounds to infinity from half a unit above the largest number on.
        return if found == f32::INFINITY || found == f32::MAX { 0.0 } else { f64::INFINITY };
    }
    let rounded = exact as f32;
    let unit = if rounded < f32::MIN_POSITIVE {
        f64::from(f32::from_bits(1))
    } else {
        f64::from(rounded) - f64::from(f32::from_bits(rounded.to_bits() - 1))
    };
    // Just above a power of two the unit below is half of that above.
    let unit =
        if rounded.to_bits() & 0x7f_ffff == 0 && rounded >= f32::MIN_POSITIVE { 2.0 * unit } else { unit };
    (f64::from(found) - exact).abs() / unit
}

/// The largest error over the floats with these bits.
fn worst(isa: Isa, kernel: Kernel, bits: impl Iterator<Item = u32>) -> (f64, f32) {
    let inputs: Vec<f32> = bits.map(f32::from_bits).collect();
    let array = Array2::from_shape_vec((1, inputs.len()), inputs).unwrap();
    let one = Array2::zeros((1, 1));
    let mut bench = Bench::new(isa, one.view(), one.view(), array.view()).unwrap();
    bench.run(kernel);
    let mut worst = (0.0, 0.0);
    for (i, x) in array.iter().enumerate() {
        let found = bench.c(0, i);
        if x.is_nan() {
            assert!(found.is_nan(), "{isa} {kernel:?} of NaN is {found}");
            continue;
        }
        let error = ulps(found, exact(kernel, f64::from(*x)));
        if error > worst.0 {
            worst = (error, *x);
        }
    }
    worst
}

fn special_values<T: elman_fast::Num>(infinity: T, nan: T) {
    for isa in Isa::available() {
        let inputs = Array2::from_shape_vec((1, 4), vec![infinity, -infinity, nan, T::zero()]).unwrap();
        let one = Array2::zeros((1, 1));
        for (kernel, expected) in
            [(Kernel::Exp, [f64::INFINITY, 0.0, f64::NAN, 1.0]), (Kernel::Sigmoid, [1.0, 0.0, f64::NAN, 0.5])]
        {
            let mut bench = Bench::new(isa, one.view(), one.view(), inputs.view()).unwrap();
            bench.run(kernel);
            for (i, expected) in expected.into_iter().enumerate() {
                let found = bench.c(0, i).to_f64();
                assert!(
                    found == expected || found.is_nan() && expected.is_nan(),
                    "{isa} {kernel:?} {i}: {found}"
                );
            }
        }
    }
}

#[test]
fn infinities_and_nan() {
    special_values::<f32>(f32::INFINITY, f32::NAN);
    special_values::<f64>(f64::INFINITY, f64::NAN);
}

#[test]
fn a_sample_of_the_floats_is_within_two_units() {
    for isa in Isa::available() {
        for kernel in [Kernel::Exp, Kernel::Sigmoid] {
            let (error, x) = worst(isa, kernel, (0..1 << 32).step_by(4097).map(|b: u64| b as u32));
            println!("{isa} {kernel:?}: {error:.3} units at {x:e}");
            assert!(error <= 2.0, "{isa} {kernel:?}({x:e}) is {error} units off");
        }
    }
}

/// All floats, on one instruction set of those that give the same bits, and on the portable one; minutes. `cargo test --release -p elman-fast --test functions -- --ignored --nocapture`
#[test]
#[ignore = "all 2^32 floats: minutes; run by hand"]
fn every_float_is_within_two_units() {
    use rayon::prelude::*;
    for isa in [Isa::best(), Isa::Portable].into_iter().filter(|isa| Isa::available().contains(isa)) {
        for kernel in [Kernel::Exp, Kernel::Sigmoid] {
            let (error, x) = (0u32..1 << 12)
                .into_par_iter()
                .map(|part| worst(isa, kernel, (0..1 << 20).map(|low| part << 20 | low)))
                .reduce(|| (0.0, 0.0), |a, b| if a.0 >= b.0 { a } else { b });
            println!("{isa} {kernel:?}: {error:.3} units at {x:e}");
            assert!(error <= 2.0, "{isa} {kernel:?}({x:e}) is {error} units off");
        }
    }
}

#[test]
fn doubles_are_within_two_units() {
    for isa in Isa::available() {
        for kernel in [Kernel::Exp, Kernel::Sigmoid] {
            let inputs: Vec<f64> = (-7000..=7000).map(|i| f64::from(i) * 0.1 + 1e-3).collect();
            let array = Array2::from_shape_vec((1, inputs.len()), inputs).unwrap();
            let one = Array2::zeros((1, 1));
            let mut bench = Bench::new(isa, one.view(), one.view(), array.view()).unwrap();
            bench.run(kernel);
            for (i, x) in array.iter().enumerate() {
                let (found, expected) = (bench.c(0, i), exact(kernel, *x));
                // The standard library's own error, and that of the quotient, are another unit.
                let bound = 3.0 * f64::EPSILON * expected + f64::from_bits(2);
                assert!(
                    (found - expected).abs() <= bound,
                    "{isa} {kernel:?}({x}) = {found:e}, not {expected:e}"
                );
            }
        }
    }
}
