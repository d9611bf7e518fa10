//! The kernels: products over register tiles, the recurrent step, and what is done element by element.
//!
//! Each is written once, for any instruction set. What fixes the bits is written here and nowhere else:
//! an element of [`product`] and [`step`] is one chain of fused multiply-adds in the order of the inner index; an
//! element of [`dot`] is LANES such chains and a balanced tree.

mod dot;
mod elementwise;
mod product;
mod step;

pub(crate) use dot::{Backwards, Blocks, dot, dot_blocks};
pub(crate) use elementwise::*;
pub(crate) use product::{Onto, gemm, product, product_onto, product_panels};
pub(crate) use step::{step, step_in_place};
