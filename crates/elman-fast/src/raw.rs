//! The kernels one by one, for benchmarks and tests. Not part of the interface.

use elman::Error;
use elman::ndarray::ArrayView2;
use fearless_simd::Simd;

use crate::isa::{Cpu, Isa, Task};
use crate::kernel;
use crate::matrix::{Buffer, Matrix, buffer, grow};
use crate::num::Num;
use crate::unit::{Sigmoid, Tanh};

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `C += A · B`
    Product,
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
    /// `C += A · B` through matrixmultiply
    Gemm,
}

/// A kernel with its operands in the layout that it demands.
pub struct Bench<T> {
    cpu: Cpu,
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
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
        Ok(Bench { cpu: isa.detect()?, a, b, c, z })
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
        let Bench { a, b, c, z, .. } = self.0;
        let depth = a.cols();
        match self.1 {
            Kernel::Product => kernel::product(simd, a.view().cols_from(0, depth), b.view(), c.view_mut()),
            Kernel::Transposed => {
                kernel::product(simd, a.view().cols_from(0, depth).t(), b.view(), c.view_mut())
            }
            Kernel::Dot => kernel::dot(simd, a.view(), b.view_padded(), c.view_mut()),
            Kernel::Step => kernel::step(simd, 0, a.row(0), b.view(), z, c.row_mut(0), Sigmoid),
            Kernel::Sigmoid => kernel::apply(simd, Sigmoid, c.data_mut()),
            Kernel::Tanh => kernel::apply(simd, Tanh, c.data_mut()),
            Kernel::Exp => kernel::exp(simd, c.data_mut()),
            Kernel::Gemm => kernel::gemm(a.view().cols_from(0, depth), b.view(), c.view_mut()),
        }
    }
}
