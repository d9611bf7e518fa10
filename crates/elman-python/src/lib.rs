//! The Python package `elman`: the native half, `elman._elman`. What users see is in `python/elman`.
//!
//! Every call into the kernels releases the interpreter's lock. Arrays are read in place where they are
//! contiguous and the call ends before it returns; what is kept beyond a call is copied, so that no later change
//! of an array can reach it.
#![forbid(unsafe_code)]

mod convert;
mod network;
mod recurrence;
mod tagger;
mod verify;

use pyo3::prelude::*;

#[pymodule]
mod _elman {
    #[pymodule_export]
    use super::convert::_forked;
    #[pymodule_export]
    use super::network::{Learner, Network, init};
    #[pymodule_export]
    use super::recurrence::{Trace, forward, vjp};
    #[pymodule_export]
    use super::tagger::{Tagger, travel};
    #[pymodule_export]
    use super::verify::{judge, judge_vjp};
    use super::*;

    #[pymodule_init]
    fn version(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
