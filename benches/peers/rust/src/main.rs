//! Other Rust crates at the work of the comparison. `../README.md` describes the protocol.
//!
//! `elman-rust-peers NAME` answers requests; `elman-rust-peers --list` names the systems that it was built with.
#![forbid(unsafe_code)]

mod batch;
mod network;
#[cfg(any(feature = "rust-lstm", feature = "tract"))]
mod tanh;
#[cfg(feature = "burn")]
mod with_burn;
#[cfg(feature = "candle")]
mod with_candle;
#[cfg(feature = "rust-lstm")]
mod with_rust_lstm;
#[cfg(feature = "tract")]
mod with_tract;

use std::process::ExitCode;

use elman_benches::protocol::{Failure, System, serve};

/// The systems by name.
fn systems() -> Vec<(&'static str, fn() -> Box<dyn System>)> {
    vec![
        #[cfg(feature = "burn")]
        ("burn", || Box::new(network::Peer(with_burn::Burn::new()))),
        #[cfg(feature = "candle")]
        ("candle", || Box::new(network::Peer(with_candle::Candle))),
        #[cfg(feature = "rust-lstm")]
        ("rust-lstm", || Box::new(with_rust_lstm::RustLstm)),
        #[cfg(feature = "tract")]
        ("tract", || Box::new(with_tract::Tract)),
    ]
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let names: Vec<_> = systems().iter().map(|(name, _)| *name).collect();
    if wanted == "--list" {
        println!("{}", names.join("\n"));
        return Ok(());
    }
    let Some((_, system)) = systems().into_iter().find(|(name, _)| *name == wanted) else {
        return Err(format!("no system {wanted:?}; there are {}", names.join(", ")).into());
    };
    Ok(serve(system().as_ref())?)
}
