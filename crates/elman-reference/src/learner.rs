//! Stochastic gradient descent.

use std::collections::BTreeSet;

use elman::{Error, Labelled, Learner, Network, Params, Real, Shape};

use crate::Reference;

pub(crate) struct ReferenceLearner<T> {
    reference: Reference,
    shape: Shape,
    params: Params<T>,
    grad: Params<T>,
}

impl<T: Real> ReferenceLearner<T> {
    pub(crate) fn new(reference: Reference, params: Params<T>) -> Result<Self, Error> {
        let shape = params.shape()?;
        Ok(ReferenceLearner { reference, shape, grad: Params::zeros(shape)?, params })
    }

    /// The rows of the embeddings that the batch changes.
    fn changed(&self, batch: &[Labelled]) -> BTreeSet<usize> {
        let words = batch.iter().flat_map(|labelled| labelled.sentence().words()).copied();
        let padding = (self.shape.window > 1).then_some(self.shape.padding());
        words.chain(padding).collect()
    }
}

impl<T: Real> Learner<T> for ReferenceLearner<T> {
    fn step(&mut self, batch: &[Labelled], learning_rate: T) -> Result<T, Error> {
        let loss = self.reference.gradient(&self.params, batch, &mut self.grad)?;
        for ((_, mut tensor), (_, gradient)) in self.params.tensors_mut().into_iter().zip(self.grad.tensors())
        {
            tensor.scaled_add(-learning_rate, &gradient);
        }
        for word in self.changed(batch) {
            let mut row = self.params.emb.row_mut(word);
            let norm = row.iter().fold(T::zero(), |sum, e| sum + *e * *e).sqrt();
            if norm != T::zero() {
                row.mapv_inplace(|e| e / norm);
            }
        }
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.params.clone()
    }
}
