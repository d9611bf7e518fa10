//! Labels by the largest probability.

use elman::ndarray::ArrayView1;
use elman::{Error, Network, Params, Real, Sentence, Tagger};

use crate::Reference;

pub(crate) struct ReferenceTagger<T> {
    reference: Reference,
    params: Params<T>,
}

impl<T: Real> ReferenceTagger<T> {
    pub(crate) fn new(reference: Reference, params: &Params<T>) -> Result<Self, Error> {
        params.shape()?;
        Ok(ReferenceTagger { reference, params: params.clone() })
    }
}

impl<T: Real> Tagger for ReferenceTagger<T> {
    fn label(&mut self, sentence: &Sentence, labels: &mut Vec<usize>) -> Result<(), Error> {
        let s = self.reference.predict(&self.params, sentence)?;
        labels.clear();
        labels.extend(s.rows().into_iter().map(argmax));
        Ok(())
    }
}

/// The index of the largest entry; of equal ones the first.
fn argmax<T: Real>(s: ArrayView1<'_, T>) -> usize {
    (1..s.len()).fold(0, |best, j| if s[j] > s[best] { j } else { best })
}
