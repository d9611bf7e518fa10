//! The kernels one by one, for benchmarks and tests. Not part of the interface.

use elman::Error;
use elman::ndarray::ArrayView2;
use fearless_simd::{Simd, prelude::*};

use crate::isa::{Cpu, Isa, Task};
use crate::kernel;
use crate::matrix::{Buffer, Matrix, Panels, buffer, grow};
use crate::num::Num;
use crate::unit::{Sigmoid, Tanh};

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `C += A · B`
    Product,
    /// `C += A · B` with a copy of B in panels, which is made with the operands
    Panels,
    /// `C += Aᵀ · B`
    Transposed,
    /// `C += A · Bᵀ`
    Dot,
    /// `C = sigmoid(C + A · B)` for one row
    Step,
    /// `C = sigmoid(C)`
    Sigmoid,
    /// `C = tanh(C)`
    Tanh,
    /// `C = exp(C)`
    Exp,
    /// `C = ln(C)`
    Ln,
    /// `C += A · B` through matrixmultiply
    Gemm,
}

/// A kernel with its operands in the layout that it demands.
pub struct Bench<T> {
    cpu: Cpu,
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
    /// B in panels.
    panels: Buffer<T>,
    /// The first row of C as it was made.
    z: Buffer<T>,
}

impl<T: Num> Bench<T> {
    /// Copies the operands.
    pub fn new(
        isa: Isa,
        a: ArrayView2<'_, T>,
        b: ArrayView2<'_, T>,
        c: ArrayView2<'_, T>,
    ) -> Result<Self, Error> {
        let [a, b, c] = [a, b, c].map(Matrix::from_array);
        let mut z = buffer();
        grow(&mut z, c.row(0).len()).copy_from_slice(c.row(0));
        let (view, mut panels) = (b.view(), buffer());
        Panels::of(view, grow(&mut panels, Panels::<T>::size(view.rows(), view.cols())));
        Ok(Bench { cpu: isa.detect()?, a, b, c, panels, z })
    }

    /// One entry of C.
    pub fn c(&self, row: usize, col: usize) -> T {
        self.c.row(row)[col]
    }

    /// Runs a kernel once.
    pub fn run(&mut self, kernel: Kernel) {
        self.cpu.run(Run(self, kernel));
    }
}

struct Run<'a, T>(&'a mut Bench<T>, Kernel);

impl<T: Num> Task for Run<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Bench { a, b, c, panels, z, .. } = self.0;
        let depth = a.cols();
        match self.1 {
            Kernel::Product => kernel::product(simd, a.view().cols_from(0, depth), b.view(), c.view_mut()),
            Kernel::Panels => {
                let b = b.view();
                let panels = Panels::new(panels, b.rows(), b.cols());
                kernel::product_panels(simd, a.view().cols_from(0, depth), panels, c.view_mut());
            }
            Kernel::Transposed => {
                kernel::product(simd, a.view().cols_from(0, depth).t(), b.view(), c.view_mut())
            }
            Kernel::Dot => kernel::dot(simd, a.view(), b.view_padded(), c.view_mut()),
            Kernel::Step => kernel::step(simd, 0, a.row(0), b.view(), z, c.row_mut(0), Sigmoid),
            Kernel::Sigmoid => kernel::apply(simd, Sigmoid, c.data_mut()),
            Kernel::Tanh => kernel::apply(simd, Tanh, c.data_mut()),
            Kernel::Exp => kernel::exp(simd, c.data_mut()),
            Kernel::Ln => kernel::ln(simd, c.data_mut()),
            Kernel::Gemm => kernel::gemm(a.view().cols_from(0, depth), b.view(), c.view_mut()),
        }
    }
}

/// A function of each entry: [`Kernel::Exp`], [`Kernel::Ln`], [`Kernel::Sigmoid`] or [`Kernel::Tanh`]. The number of entries must be a
/// multiple of 16.
///
/// # Errors
/// [`Error::Unsupported`] if this CPU does not have the instruction set.
pub fn apply<T: Num>(isa: Isa, function: Kernel, x: &mut [T]) -> Result<(), Error> {
    isa.detect()?.run(Apply(function, x));
    Ok(())
}

struct Apply<'a, T>(Kernel, &'a mut [T]);

impl<T: Num> Task for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.0 {
            Kernel::Exp => kernel::exp(simd, self.1),
            Kernel::Ln => kernel::ln(simd, self.1),
            Kernel::Sigmoid => kernel::apply(simd, Sigmoid, self.1),
            Kernel::Tanh => kernel::apply(simd, Tanh, self.1),
            other => panic!("{other:?} is no function of an entry"),
        }
    }
}

/// `c = a·b + c`, entry by entry, of three slices of one length that is a multiple of 16.
///
/// # Errors
/// [`Error::Unsupported`] if this CPU does not have the instruction set.
pub fn fma<T: Num>(isa: Isa, a: &[T], b: &[T], c: &mut [T]) -> Result<(), Error> {
    isa.detect()?.run(Fma(a, b, c));
    Ok(())
}

struct Fma<'a, T>(&'a [T], &'a [T], &'a mut [T]);

impl<T: Num> Task for Fma<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Fma(a, b, c) = self;
        assert!(a.len() == c.len() && b.len() == c.len() && c.len().is_multiple_of(T::LANES));
        let of = |x: &[T]| T::V::<S>::from_slice(simd, x);
        for ((a, b), c) in
            a.chunks_exact(T::LANES).zip(b.chunks_exact(T::LANES)).zip(c.chunks_exact_mut(T::LANES))
        {
            let sum = T::fma(simd, of(a), of(b), of(c));
            sum.store_slice(c);
        }
    }
}
