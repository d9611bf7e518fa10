//! Gradient descent.

use std::collections::BTreeSet;

use elman::{Adam, Batch, Error, Learner, Name, Network, Params, Real, Shape, Update};

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

/// The rows of the embeddings that a step changes: the batch's words, and the padding if a window reaches it.
fn changed(shape: &Shape, batch: Batch<'_>) -> BTreeSet<usize> {
    let padding = (shape.window > 1).then_some(shape.padding());
    batch.words().iter().copied().chain(padding).map(|word| word as usize).collect()
}

/// Divides rows of the embeddings by their norms.
fn normalise<T: Real>(params: &mut Params<T>, rows: &BTreeSet<usize>) {
    for row in rows {
        let mut emb = params.emb_mut();
        let mut row = emb.row_mut(*row);
        let norm = row.iter().fold(T::zero(), |sum, e| sum + *e * *e).sqrt();
        if norm != T::zero() {
            row.mapv_inplace(|e| e / norm);
        }
    }
}

/// One step of Adam, of all tensors but of the embeddings these rows alone.
fn adam<T: Real>(params: &mut Params<T>, grad: &Params<T>, rows: &BTreeSet<usize>, adam: &mut Adam<T>) {
    let mut grad = grad.clone();
    for (i, mut row) in grad.emb_mut().rows_mut().into_iter().enumerate() {
        if !rows.contains(&i) {
            row.fill(T::zero());
        }
    }
    if let Some(clip) = adam.clip {
        let norm = grad.as_slice().iter().fold(T::zero(), |sum, g| sum + *g * *g).sqrt();
        if norm > clip {
            grad.as_mut_slice().iter_mut().for_each(|g| *g *= clip / norm);
        }
    }
    adam.steps += 1;
    let [correct_m, correct_v] = adam.corrections();
    let [first, second] = &mut adam.moments;
    let tensors = params.tensors_mut().zip(grad.tensors()).zip(first.tensors_mut().zip(second.tensors_mut()));
    for (((name, mut p), (_, g)), ((_, mut m), (_, mut v))) in tensors {
        let decay = if p.ndim() == 2 { adam.weight_decay } else { T::zero() };
        for (i, ((mut p, g), (mut m, mut v))) in
            p.outer_iter_mut().zip(g.outer_iter()).zip(m.outer_iter_mut().zip(v.outer_iter_mut())).enumerate()
        {
            if name == Name::Emb && !rows.contains(&i) {
                continue;
            }
            for (((p, g), m), v) in p.iter_mut().zip(&g).zip(&mut m).zip(&mut v) {
                *m = adam.beta1 * *m + (T::one() - adam.beta1) * *g;
                *v = adam.beta2 * *v + (T::one() - adam.beta2) * *g * *g;
                let step = (*m / correct_m) / ((*v / correct_v).sqrt() + adam.epsilon);
                *p -= adam.learning_rate * (step + decay * *p);
            }
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
        update.check(self.params.shape())?;
        let rows = changed(&self.params.shape(), batch);
        match update {
            Update::Sgd { learning_rate } => {
                for (p, grad) in self.params.as_mut_slice().iter_mut().zip(grad.as_slice()) {
                    *p -= *learning_rate * *grad;
                }
            }
            Update::Adam(values) => adam(&mut self.params, grad, &rows, values),
            other => {
                return Err(Error::unsupported(
                    "update of the reference",
                    "SGD or Adam",
                    format!("{other:?}"),
                ));
            }
        }
        if update.normalises() {
            normalise(&mut self.params, &rows);
        }
        Ok(())
    }

    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error> {
        update.check(self.params.shape())?;
        let mut grad = Params::zeros(self.params.shape())?;
        let loss = self.reference.gradient(&self.params, batch, &mut grad)?;
        self.apply(&grad, batch, update)?;
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.params.clone()
    }
}
