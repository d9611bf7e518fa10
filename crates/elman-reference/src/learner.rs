//! Gradient descent.

use std::collections::BTreeSet;

use elman::{Batch, Error, Learner, Network, Params, Real, Update};

use crate::Reference;

pub(crate) struct ReferenceLearner<T> {
    reference: Reference,
    params: Params<T>,
}

impl<T: Real> ReferenceLearner<T> {
    pub(crate) fn new(reference: Reference, params: Params<T>) -> Self {
        ReferenceLearner { reference, params }
    }
}

/// Divides the rows of the embeddings that the batch changes by their norms.
fn normalise<T: Real>(params: &mut Params<T>, batch: Batch<'_>) {
    let shape = params.shape();
    let padding = (shape.window > 1).then_some(shape.padding());
    let changed: BTreeSet<u32> = batch.words().iter().copied().chain(padding).collect();
    for word in changed {
        let mut emb = params.emb_mut();
        let mut row = emb.row_mut(word as usize);
        let norm = row.iter().fold(T::zero(), |sum, e| sum + *e * *e).sqrt();
        if norm != T::zero() {
            row.mapv_inplace(|e| e / norm);
        }
    }
}

impl<T: Real> Learner<T> for ReferenceLearner<T> {
    fn gradient(&mut self, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> Result<T, Error> {
        self.reference.gradient_of_share(&self.params, batch, share, grad)
    }

    fn apply(&mut self, grad: &Params<T>, batch: Batch<'_>, update: &mut Update<T>) -> Result<(), Error> {
        grad.check(self.params.shape())?;
        batch.check(&self.params.shape())?;
        update.check()?;
        match update {
            Update::Sgd { learning_rate } => {
                for (p, grad) in self.params.as_mut_slice().iter_mut().zip(grad.as_slice()) {
                    *p -= *learning_rate * *grad;
                }
            }
            other => return Err(Error::unsupported("update of the reference", "SGD", format!("{other:?}"))),
        }
        normalise(&mut self.params, batch);
        Ok(())
    }

    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error> {
        update.check()?;
        let mut grad = Params::zeros(self.params.shape())?;
        let loss = self.reference.gradient(&self.params, batch, &mut grad)?;
        self.apply(&grad, batch, update)?;
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.params.clone()
    }
}
