//! Labels by the largest probability.

use std::sync::Arc;

use elman::ndarray::{Array2, ArrayView1, ArrayView2};
use elman::{Batch, Error, Network, Params, Real, Tagger, check_places};

use crate::Reference;

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

    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error> {
        check_places(batch, labels)?;
        batch.check_words(&self.params.shape())?;
        let mut places = labels.iter_mut();
        for sentence in batch.iter() {
            let s = self.scores(sentence.words)?;
            s.rows().into_iter().zip(places.by_ref()).for_each(|(s, place)| *place = argmax(s));
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

/// The index of the largest entry; of equal ones the first.
fn argmax<T: Real>(s: ArrayView1<'_, T>) -> u32 {
    (1..s.len()).fold(0, |best, j| if s[j] > s[best] { j } else { best }) as u32
}
