#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod scan;

mod crf;
mod layer;
mod learner;
mod linear;
mod network;
mod tagger;
mod unit;

/// The network as its equations read.
///
/// Implements [`elman::Network`] and [`elman::Recurrence`] for every [`elman::Cell`], [`elman::Head`] and [`elman::Real`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    truncate_gradient: Option<usize>,
}

impl Reference {
    /// The network with its whole gradient.
    pub fn new() -> Self {
        Reference::default()
    }

    /// Restricts the gradient to the last `steps` steps of each sequence; `None`, Theano's -1, restricts
    /// nothing. The loss and all outputs stay as they are.
    ///
    /// The meaning is that of `theano.scan`'s `truncate_gradient`: the scan that computes the gradient runs
    /// backwards from the last step and ends after `steps` steps (`Scan.grad` in Theano's source: its number
    /// of steps is the smaller of the two). For a sentence of `T > steps` words,
    /// everything that was computed before word `T - steps` then counts as a constant: the losses of those
    /// words contribute nothing to any gradient, nor do their inputs, nor does `h0`, whose gradient is zero.
    /// With 0 the whole gradient is zero; a sentence of `T ≤ steps` words has its whole gradient. With a CRF the scores of
    /// those words, and of the transitions between them, are the constants; the probabilities are still those of the whole
    /// sentence.
    ///
    /// This is not what is often called truncated backpropagation through time, where the loss of every
    /// word is followed back, each for at most `steps` steps.
    pub fn truncate_gradient(self, steps: impl Into<Option<usize>>) -> Self {
        Reference { truncate_gradient: steps.into() }
    }

    /// How many of the `steps` steps of a sequence the gradient covers.
    fn gradient_steps(&self, steps: usize) -> usize {
        self.truncate_gradient.map_or(steps, |most| steps.min(most))
    }
}
