#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod files;
mod nonlinearity;
pub mod npy;
mod number;
pub mod onnx;
pub mod tagger;
pub mod torch;

pub use nonlinearity::Nonlinearity;
pub use number::Number;
