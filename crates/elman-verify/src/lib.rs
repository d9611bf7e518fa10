#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod strategies;

mod checks;
mod differences;
mod duals;
mod equations;
mod html;
mod kernel;
mod report;
mod rounded;
mod runner;
mod tolerance;

pub use checks::{
    Differentiable, check, check_adam, check_agreement, check_doors, check_goldens, check_gradient,
    check_invariance, check_kernel, check_learner, check_learner_on, check_recurrence, check_recurrence_on,
    check_same_bits, check_same_bits_recurrence, check_tagger, check_vjp,
};
pub use html::html;
pub use kernel::{Abilities, Answer, FailingCase, Given, Kernel, Trouble};
pub use report::{Against, Entry, Failure, Histogram, Measurement, Report, SameBits, Summary};
pub use rounded::Arithmetic;
pub use runner::Options;
