//! The Elman network of the Theano slot-filling tutorial, as a definition that implementations share.
//!
//! For a sentence of `T` words, with `x[t]` the concatenation of the embeddings of the `window` words
//! around word `t`:
//!
//! ```text
//! h[-1] = h0                                            learned, a parameter like the others
//! h[t]  = sigmoid(x[t]·wx + h[t-1]·wh + bh)             the recurrence
//! s[t]  = softmax(h[t]·w + b)                           an output of each step, not fed back
//! loss  = mean over t of -ln s[t][label[t]]
//! ```
//!
//! The Jordan network, which the same code has, feeds `s` back instead: `h[t] = sigmoid(x[t]·wx + s[t-1]·wh + bh)`
//! with `s[-1] = s0`, wh `[classes, hidden]`, and s0 in the place of h0. [`Feedback`] says which of the two.
//!
//! The network is that of Mesnil, He, Deng and Bengio, *Investigation of recurrent-neural-network
//! architectures and learning methods for spoken language understanding* (Interspeech 2013), as the
//! Theano tutorial ("RNNSLU") writes it.
//!
//! This crate computes nothing: it holds [`Shape`], [`Params`] (a gradient is a `Params` too),
//! [`Sentence`] and [`Labelled`], the recurrence's [`Cell`] and [`Sequences`], the traits [`Network`],
//! [`Learner`], [`Tagger`], [`Recurrence`] and [`Trace`], the number type [`Real`], and [`Error`].
//! `elman-reference` implements the traits as plainly as the equations read, `elman-fast` as fast as the
//! hardware allows, and `elman-verify` proves that an implementation does what the equations say.
//!
//! ```
//! use elman::{Feedback, Params, Sentence, Shape};
//!
//! let shape = Shape { vocab: 10, embed: 4, window: 3, hidden: 5, classes: 2, feedback: Feedback::Hidden };
//! let params = Params::<f32>::init(shape, 42)?;
//! assert_eq!(params.wx.dim(), (4 * 3, 5));
//! assert_eq!(params.shape()?, shape);
//!
//! let sentence = Sentence::new(vec![7, 0, 7])?;
//! sentence.check(&shape)?;
//! assert_eq!(sentence.context(0, &shape).collect::<Vec<_>>(), [10, 7, 0]); // 10: the padding row
//! # Ok::<(), elman::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod feedback;
mod network;
mod params;
mod real;
mod recurrence;
mod sentence;

pub use error::Error;
pub use feedback::Feedback;
pub use ndarray;
pub use network::{Learner, Network, Tagger};
pub use params::{Params, Shape, TENSOR_NAMES};
pub use real::Real;
pub use recurrence::{Cell, CellGradient, Recurrence, Sequences, Trace};
pub use sentence::{Labelled, Sentence};
