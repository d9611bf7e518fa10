use ndarray::Array2;

use crate::{Error, Labelled, Params, Real, Sentence};

/// One way to compute the network. Implementations may differ in rounding, never in meaning.
///
/// Every method checks shapes, ids and labels once, at its start, and returns an error before it changes
/// anything.
pub trait Network<T: Real>: Send + Sync {
    /// A name for reports, for example `reference` or `fast/avx2`.
    fn name(&self) -> String;

    /// The probability of each label at each word: `s`, `[words, classes]`, each row a softmax.
    ///
    /// # Errors
    /// The tensors do not fit together, or a word is not in the vocabulary.
    fn predict(&self, params: &Params<T>, sentence: &Sentence) -> Result<Array2<T>, Error>;

    /// The loss of a batch and its gradient with respect to all seven parameters.
    ///
    /// The loss of a sentence is the mean over its words of `-ln s[t][label[t]]`; the loss of a batch is
    /// the mean over its sentences. `grad` must have the shape of `params`; every entry is overwritten, and
    /// what was in it is not read.
    ///
    /// # Errors
    /// The tensors do not fit together, the batch is empty, or a word or label is out of range.
    fn gradient(&self, params: &Params<T>, batch: &[Labelled], grad: &mut Params<T>) -> Result<T, Error>;

    /// Stochastic gradient descent from `params`, which the learner owns from here on.
    ///
    /// # Errors
    /// The tensors do not fit together.
    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error>;

    /// A labeller of sentences with a copy of `params`, prepared once.
    ///
    /// # Errors
    /// The tensors do not fit together.
    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger>, Error>;
}

/// Training by stochastic gradient descent.
pub trait Learner<T: Real>: Send {
    /// One step: `p -= learning_rate · gradient` for every parameter, then each changed row of the
    /// embeddings is divided by its Euclidean norm (a row of zeros is left alone). Returns the loss before
    /// the step.
    ///
    /// A row is changed if its word occurs in the batch; the padding row is changed if the window reaches
    /// beyond a sentence, that is, if `window > 1`.
    ///
    /// # Errors
    /// The batch is empty, or a word or label is out of range; the parameters are then as before.
    fn step(&mut self, batch: &[Labelled], learning_rate: T) -> Result<T, Error>;

    /// A copy of the parameters as they are now.
    fn params(&self) -> Params<T>;
}

/// Labelling of sentences by the most probable label of each word.
///
/// Of equally probable labels the first wins.
pub trait Tagger: Send {
    /// Replaces the content of `labels` with one label for each word.
    ///
    /// # Errors
    /// A word is not in the vocabulary; `labels` is then as before.
    fn label(&mut self, sentence: &Sentence, labels: &mut Vec<usize>) -> Result<(), Error>;

    /// The labels of many sentences, in their order; the same labels as one at a time.
    ///
    /// # Errors
    /// As [`Tagger::label`].
    fn label_all(&mut self, sentences: &[Sentence]) -> Result<Vec<Vec<usize>>, Error> {
        sentences
            .iter()
            .map(|sentence| {
                let mut labels = Vec::with_capacity(sentence.words().len());
                self.label(sentence, &mut labels)?;
                Ok(labels)
            })
            .collect()
    }
}
