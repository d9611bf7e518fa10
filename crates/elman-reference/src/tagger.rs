//! Labels by the largest probability: of each word, or with a CRF of the sentence.

use std::sync::Arc;

use elman::ndarray::{Array2, ArrayView2};
use elman::{Batch, Error, Network, Params, Real, Tagger, check_places, check_words};

use crate::Reference;
use crate::crf::{argmax, viterbi};
use crate::network::emissions;

pub(crate) struct ReferenceTagger<T> {
    reference: Reference,
    params: Arc<Params<T>>,
    s: Array2<T>,
}

impl<T: Real> ReferenceTagger<T> {
    pub(crate) fn new(reference: Reference, params: &Params<T>) -> Self {
        ReferenceTagger { reference, params: Arc::new(params.clone()), s: Array2::zeros((0, 0)) }
    }
}

impl<T: Real> Tagger<T> for ReferenceTagger<T> {
    fn scores(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        self.s = self.reference.predict(&self.params, words)?;
        Ok(self.s.view())
    }

    fn emissions(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        check_words(words, &self.params.shape())?;
        self.s = emissions(&self.params, words)?;
        Ok(self.s.view())
    }

    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error> {
        check_places(batch, labels)?;
        batch.check_words(&self.params.shape())?;
        let mut places = labels.iter_mut();
        for sentence in batch.iter() {
            let labels = match self.params.crf() {
                Some(crf) => viterbi(crf, emissions(&self.params, sentence.words)?.view()),
                None => self.scores(sentence.words)?.rows().into_iter().map(|s| argmax(s) as u32).collect(),
            };
            labels.into_iter().zip(places.by_ref()).for_each(|(label, place)| *place = label);
        }
        Ok(())
    }

    fn prepare(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        self.reference.tagger(params)
    }

    fn fork(&self) -> Box<dyn Tagger<T>> {
        Box::new(ReferenceTagger {
            reference: self.reference,
            params: self.params.clone(),
            s: Array2::zeros((0, 0)),
        })
    }
}
