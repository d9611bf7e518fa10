//! What must hold for any input at all, as functions of bytes that panic if it does not.
//!
//! cargo-fuzz calls them from `fuzz/`, and the tests of this crate call them, without it, with the inputs of
//! `fuzz/seeds` and `fuzz/regressions` and with thousands of broken ones made from them.
#![forbid(unsafe_code)]

mod checkpoint;
mod command_line;
mod config;
mod conll;
mod conlleval;
mod files;
mod formats;
mod model;
mod numeric;
mod seeds;

pub use seeds::seeds;

/// A target: its name, and what must hold.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("checkpoint", checkpoint::check),
    ("command_line", command_line::check),
    ("config", config::check),
    ("conll", conll::check),
    ("conlleval", conlleval::check),
    ("learner", numeric::learner),
    ("model", model::check),
    ("npy", formats::npy),
    ("recurrence", numeric::recurrence),
    ("sentences", conll::sentences),
    ("torch", formats::torch),
];

/// Runs a target by its name.
///
/// # Panics
/// If there is no such target, or if what must hold does not.
pub fn run(name: &str, data: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    check(data);
}
