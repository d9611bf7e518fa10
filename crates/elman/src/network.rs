//! The whole network: training and labelling, as traits.

use ndarray::{Array2, ArrayView2};

use crate::{Batch, Error, Params, Real, Update};

/// One way to compute the network. Implementations may differ in rounding, never in meaning.
///
/// Every method checks shapes, ids and labels once, at its start, and returns an error before it changes
/// anything.
pub trait Network<T: Real>: Send + Sync {
    /// A name for reports, for example `reference` or `fast/avx2`.
    fn name(&self) -> String;

    /// The version of [the standard](crate::BITS) whose bits its results have; `None` where it promises none.
    fn bits(&self) -> Option<u32> {
        None
    }

    /// Training from `params`, which the learner owns from here on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the implementation does not have the cell or the head.
    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error>;

    /// A labeller of sentences with a copy of `params`, prepared once.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the implementation does not have the cell or the head.
    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error>;

    /// The probability of each label at each word: `s`, `[words, classes]`; see [`Tagger::scores`].
    ///
    /// # Errors
    /// Those of [`Tagger::scores`].
    fn predict(&self, params: &Params<T>, words: &[u32]) -> Result<Array2<T>, Error> {
        Ok(self.tagger(params)?.scores(words)?.to_owned())
    }

    /// The mean loss of a batch of sentences, and its gradient: [`Learner::gradient`] with the share `1 / sentences`.
    ///
    /// # Errors
    /// Those of [`Learner::gradient`].
    fn gradient(&self, params: &Params<T>, batch: Batch<'_>, grad: &mut Params<T>) -> Result<T, Error> {
        let share = T::one() / T::from_f64(batch.len().max(1) as f64);
        self.learner(params.clone())?.gradient(batch, share, grad)
    }
}

/// Training by gradient descent.
pub trait Learner<T: Real>: Send {
    /// `share` times the sum of the sentences' losses, and its gradient by all parameters.
    ///
    /// The loss of a sentence is the mean over its words of `-ln s[t][label[t]]`, of a [CRF](crate::Head) the negative
    /// logarithm of the probability of all its labels, divided by the number of its words. With the share `1 / sentences` the
    /// result is the mean over the batch; a part of a larger batch takes the share of that one. `grad` must have the
    /// shape of the parameters; every entry is overwritten, and its old content is not read.
    ///
    /// The sum over the sentences is a fixed tree: of at most [`Batch::CHUNK`] sentences the gradients are added in
    /// their order; a larger batch is the sum of its [halves](Batch::halves). So the parts of a batch that are halves
    /// of halves can be computed anywhere, and their sum, added in the same order, has the bits of the whole.
    ///
    /// # Errors
    /// The batch is empty, a word or label is out of range, or `grad` has another shape.
    fn gradient(&mut self, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> Result<T, Error>;

    /// One step from a gradient of the mean loss of a batch, which is 0 in the embeddings of other words, as the
    /// [`Update`] says. Where that [normalises](Update::normalises), each changed row of the embeddings is then divided
    /// by its Euclidean norm (a row of zeros is left alone).
    ///
    /// A row is changed if its word occurs in the batch; the padding row is changed if the window reaches
    /// beyond a sentence, that is, if `window > 1`.
    ///
    /// # Errors
    /// Those of [`Learner::gradient`] and of [`Update::check`]; parameters and update are then as before.
    fn apply(&mut self, grad: &Params<T>, batch: Batch<'_>, update: &mut Update<T>) -> Result<(), Error>;

    /// One step: [`Learner::gradient`] of the mean loss, then [`Learner::apply`]. Returns the loss before the step.
    ///
    /// A batch of one sentence may be computed in one pass by [`Update::Sgd`], which rounds otherwise; in all other
    /// cases an implementation gives the bits of its two passes.
    ///
    /// # Errors
    /// Those of the two; parameters and update are then as before.
    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error>;

    /// A copy of the parameters as they are now.
    fn params(&self) -> Params<T>;

    /// Overwrites `params` with [`Learner::params`]; an implementation may take its memory.
    fn params_to(&self, params: &mut Params<T>) {
        *params = self.params();
    }
}

/// Labelling of sentences by the most probable label of each word; with a [CRF](crate::Head) by the most probable labels of
/// the sentence.
///
/// Of equally probable labels the first wins. Of equally probable sequences it is the one whose last label is the first,
/// then the one whose label before that is the first, and so on.
pub trait Tagger<T: Real>: Send {
    /// The probability of each label at each word of a sentence: `s`, `[words, classes]`. Each row is a softmax; with a CRF
    /// it holds the marginal probabilities.
    ///
    /// # Errors
    /// There is no word, or one that is not in the vocabulary.
    fn scores(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error>;

    /// The probabilities of all words of a batch, `[words, classes]`, one word after the other: those of
    /// [`Tagger::scores`] but for rounding. [`Tagger::label_all`] gives the labels of the greatest ones.
    ///
    /// # Errors
    /// A word is not in the vocabulary, or `scores` has other than one place for each word and label; what `scores` then
    /// holds is not specified.
    fn score_all(&mut self, batch: Batch<'_>, scores: &mut [T]) -> Result<(), Error> {
        let (places, mut rest) = (scores.len(), scores);
        let wrong = |expected: String| Err(Error::shape("places for scores", expected, places));
        for sentence in batch.iter() {
            let s = self.scores(sentence.words)?;
            let Some(places) = rest.split_off_mut(..s.len()) else {
                return wrong(format!("{} for each of {} words", s.ncols(), batch.words().len()));
            };
            places.iter_mut().zip(s).for_each(|(place, score)| *place = *score);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            wrong(format!("{}, one for each word and label", places - rest.len()))
        }
    }

    /// The scores of each label at each word of a sentence before the head: `y[t] = h[t]·w + b`, `[words, classes]`. With
    /// a CRF they are its emissions, from which other decoders start.
    ///
    /// # Errors
    /// Those of [`Tagger::scores`]; [`Error::Unsupported`] by an implementation without a CRF, which need not have them.
    fn emissions(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        let _ = words;
        Err(Error::unsupported("emissions", "an implementation of the head crf", "one of the softmax alone"))
    }

    /// The labels of all words of a batch, one after the other: the same labels as one sentence at a time.
    ///
    /// # Errors
    /// A word is not in the vocabulary, or `labels` has other than one place for each word; `labels` is then as before.
    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error>;

    /// The labels of one sentence.
    ///
    /// # Errors
    /// As [`Tagger::label_all`]; or there is no word.
    fn label(&mut self, words: &[u32], labels: &mut [u32]) -> Result<(), Error> {
        self.label_all(Batch::new(words, &[], &[0, words.len()])?, labels)
    }

    /// A tagger of other parameters by the same implementation, as [`Network::tagger`] makes it.
    ///
    /// # Errors
    /// Those of [`Network::tagger`].
    fn prepare(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error>;

    /// Another tagger of the same parameters, for another thread. What was prepared is shared, not copied.
    fn fork(&self) -> Box<dyn Tagger<T>>;
}

/// Refuses other than one place for each word of a batch: the door of [`Tagger::label_all`].
///
/// # Errors
/// [`Error::Shape`].
pub fn check_places(batch: Batch<'_>, labels: &[u32]) -> Result<(), Error> {
    let words = batch.words().len();
    if labels.len() != words {
        return Err(Error::shape("places for labels", format!("{words}, one for each word"), labels.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_need_a_place_for_each_word() {
        let batch = Batch::new(&[1, 2], &[], &[0, 2]).unwrap();
        check_places(batch, &[0; 2]).unwrap();
        let message = check_places(batch, &[0; 3]).unwrap_err().to_string();
        assert_eq!(message, "places for labels: expected 2, one for each word, found 3");
    }
}
