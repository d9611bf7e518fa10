//! The products against a plain sum in f64.

use elman::ndarray::Array2;
use elman_fast::raw::{Bench, Kernel};
use elman_fast::{Isa, Num};

use crate::common::*;

/// `C + A·B` in f64, and the sum of the absolute values of the terms, for entry (row, col).
fn plain<T: Num>(
    kernel: Kernel,
    [a, b, c]: [&Array2<T>; 3],
    (row, col): (usize, usize),
    depth: usize,
) -> (f64, f64) {
    let mut sum = c[[row, col]].to_f64();
    let mut absolute = sum.abs();
    for k in 0..depth {
        let a = if kernel == Kernel::Transposed { a[[k, row]] } else { a[[row, k]] };
        let b = if kernel == Kernel::Dot { b[[col, k]] } else { b[[k, col]] };
        sum += a.to_f64() * b.to_f64();
        absolute += (a.to_f64() * b.to_f64()).abs();
    }
    (sum, absolute)
}

/// A sum of `depth` products and of the entry before, in any order, is off by at most `(depth + 1) · u` times the sum of
/// the absolute values of the terms, where u is the unit roundoff (Higham, *Accuracy and stability of numerical
/// algorithms*, section 3.1, to the first order); the plain sum in f64 by as much again.
fn products_are_sums<T: Num>() {
    let kernels =
        [Kernel::Product, Kernel::Panels, Kernel::Transposed, Kernel::Dot, Kernel::Step, Kernel::Gemm];
    for isa in Isa::available() {
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let [mut height, mut depth, mut cols] = [(); 3].map(|()| random.of(&SIZES));
            if seed < 2 {
                // More of B than a second-level cache holds: blocks of the depth, and a step that streams.
                [height, depth, cols] = [14, 601, 1000];
            }
            for kernel in kernels {
                let height = if kernel == Kernel::Step { 1 } else { height };
                let mut of = |height, width| rows::<T>(height, width, random);
                let a = if kernel == Kernel::Transposed { of(depth, height) } else { of(height, depth) };
                let b = if kernel == Kernel::Dot { of(cols, depth) } else { of(depth, cols) };
                let c = of(height, cols);
                let mut bench = Bench::new(isa, a.view(), b.view(), c.view()).unwrap();
                bench.run(kernel);
                if kernel == Kernel::Panels {
                    let mut rows = Bench::new(isa, a.view(), b.view(), c.view()).unwrap();
                    rows.run(Kernel::Product);
                    for (row, col) in (0..height).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                        let [panels, rows] = [&bench, &rows].map(|bench| bench.c(row, col).to_f64());
                        assert_eq!(panels.to_bits(), rows.to_bits(), "{isa} C[{row}, {col}], seed {seed}");
                    }
                }
                for (row, col) in (0..height).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                    let (mut expected, absolute) = plain(kernel, [&a, &b, &c], (row, col), depth);
                    let mut allowed: f64 = (depth + 1) as f64 * T::EPSILON * absolute;
                    if kernel == Kernel::Step {
                        // The sigmoid's slope is at most 1/4; its own error 2 units.
                        expected = 1.0 / (1.0 + (-expected).exp());
                        allowed = allowed / 4.0 + 2.0 * T::EPSILON;
                    }
                    let found = bench.c(row, col).to_f64();
                    assert!(
                        (found - expected).abs() <= allowed,
                        "{isa} {} {kernel:?} [{height}, {depth}]·[{depth}, {cols}]: C[{row}, {col}] = {found}, \
                         expected {expected}, allowed {allowed:e}, seed {seed}",
                        T::NAME
                    );
                }
            }
        }
    }
}

#[test]
fn every_product_is_a_plain_sum() {
    products_are_sums::<f32>();
    products_are_sums::<f64>();
}
