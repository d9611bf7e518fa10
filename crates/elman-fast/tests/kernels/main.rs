//! The kernels one by one, on every instruction set of this CPU. (One test program, because each compiles them anew.)

#[path = "../common/mod.rs"]
mod common;
mod exact;
mod functions;
mod products;
