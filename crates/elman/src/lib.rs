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
//! The Jordan network feeds `s` back instead: `h[t] = sigmoid(x[t]·wx + s[t-1]·wh + bh)` with `s[-1] = s0`, wh
//! `[classes, hidden]`, and s0 in the place of h0. [`Feedback`] says which of the two; [`Cell`] names the cells that
//! may stand in the place of the sigmoid; [`Head`] the conditional random field that may stand in the place of the
//! softmax.
//!
//! The network is that of Mesnil, He, Deng and Bengio, *Investigation of recurrent-neural-network
//! architectures and learning methods for spoken language understanding* (Interspeech 2013), as the
//! Theano tutorial ("RNNSLU") writes it.
//!
//! This crate computes nothing. It holds the definition: [`Shape`] and [`Params`] (a gradient is a `Params` too),
//! [`Batch`] and [`Sentences`], the recurrence's [`Layer`] and [`Sequences`], the traits [`Network`], [`Learner`],
//! [`Tagger`], [`Recurrence`] and [`Trace`], the number types [`Real`] and [`Float`], and [`Error`].
//! `elman-reference` implements the traits as plainly as the equations read, `elman-fast` as fast as the
//! hardware allows, and `elman-verify` proves that an implementation does what the equations say.
//!
//! ```
//! use elman::{Params, Sentences, Shape, context};
//!
//! let shape = Shape { vocab: 10, embed: 4, window: 3, hidden: 5, classes: 2, ..Shape::ELMAN };
//! let params = Params::<f32>::init(shape, 42)?;
//! assert_eq!(params.wx().dim(), (4 * 3, 5));
//!
//! let sentences = Sentences::one(&[7, 0, 7], &[1, 0, 1])?;
//! sentences.batch().check(&shape)?;
//! assert_eq!(context(&[7, 0, 7], 0, &shape).collect::<Vec<_>>(), [10, 7, 0]); // 10: the padding row
//! # Ok::<(), elman::Error>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod cell;
mod error;
mod network;
mod params;
mod real;
mod recurrence;
mod shape;
mod update;

/// The version of the standard of bits, `docs/bits.md`: the rules that decide every bit of a training and of scores. An
/// implementation that follows them says so by [`Network::bits`].
pub const BITS: u32 = 1;

pub use batch::{Batch, Sentence, Sentences, check_words, context};
pub use cell::{Activation, Cell, Feedback, Head};
pub use error::Error;
pub use ndarray;
pub use network::{Learner, Network, Tagger, check_places};
pub use params::{Crf, Layer, LayerParams, Params};
pub use real::{Float, Real};
pub use recurrence::{Recurrence, RecurrenceGradient, Sequences, States, Trace, check_backward};
pub use shape::{Direction, LayerShape, Layout, Name, Shape, Tensor};
pub use update::{Adam, Update};
