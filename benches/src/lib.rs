//! What the benchmarks of the Elman network share: the implementations by name, and the inputs that ours
//! and every other system read.
#![forbid(unsafe_code)]

#[cfg(feature = "ours")]
pub mod chart;
#[cfg(feature = "ours")]
mod kernels;
mod machine;
pub mod protocol;
mod stream;
mod workload;

#[cfg(feature = "ours")]
pub use kernels::{Kernel, kernel, kernels};
#[cfg(feature = "ours")]
pub use machine::{least_cpu_seconds, least_seconds};
pub use machine::{machine, write_whole};
pub use stream::{Stream, fingerprint};
pub use workload::{Workload, labelled};

/// The code in the project's README compiles, runs, and does what it says.
#[cfg(all(doctest, feature = "ours"))]
#[doc = include_str!("../../README.md")]
struct Readme;
