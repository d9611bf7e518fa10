//! The network: the recurrence between an embedding of the words and a softmax over the labels.

use elman::ndarray::{Array1, Array2, ArrayView1};
use elman::{Error, Labelled, Learner, Network, Params, Real, Sentence, Shape, Tagger};

use crate::Reference;
use crate::learner::ReferenceLearner;
use crate::linear::{add_outer, log_sum_exp, mat_vec, softmax, stack, vec_mat};
use crate::recurrence::{Sums, Weights};
use crate::scan::{Initial, scan};
use crate::tagger::ReferenceTagger;

/// The inputs, states and outputs of one sentence: `x` `[T, input]`, `h` `[T, hidden]`, `s` `[T, classes]`.
struct Run<T> {
    x: Array2<T>,
    h: Array2<T>,
    s: Array2<T>,
}

/// `h[t]·w + b`, before the softmax.
fn scores<T: Real>(params: &Params<T>, h: ArrayView1<'_, T>) -> Array1<T> {
    vec_mat(h, params.w.view()) + &params.b
}

/// `x`, `[T, input]`: row `t` is the concatenation of the embeddings of the words around word `t`.
fn windows<T: Real>(params: &Params<T>, shape: &Shape, sentence: &Sentence) -> Array2<T> {
    let mut x = Array2::zeros((sentence.words().len(), shape.input()));
    for (t, mut row) in x.rows_mut().into_iter().enumerate() {
        for (mut part, word) in row.exact_chunks_mut(shape.embed).into_iter().zip(sentence.context(t, shape))
        {
            part.assign(&params.emb.row(word));
        }
    }
    x
}

fn forward<T: Real>(params: &Params<T>, shape: &Shape, sentence: &Sentence) -> Result<Run<T>, Error> {
    let x = windows(params, shape, sentence);
    let recurrence = Weights::from(params);
    let (h, s) = scan()
        .sequences(&x)
        .outputs_info((Initial(recurrence.h0()), None))
        .n_steps(sentence.words().len())
        .run(|x, (h_prev, ())| {
            let h = recurrence.step(x, h_prev);
            let s = softmax(scores(params, h.view()));
            (h, s)
        })?;
    Ok(Run { h: stack(&h, shape.hidden), s: stack(&s, shape.classes), x })
}

/// The loss of one sentence; adds `share` times its gradient to `grad`.
fn backward<T: Real>(
    params: &Params<T>,
    shape: &Shape,
    labelled: &Labelled,
    share: T,
    steps: usize,
    grad: &mut Params<T>,
) -> Result<T, Error> {
    let Run { x, h, s } = forward(params, shape, labelled.sentence())?;
    let labels = labelled.labels();
    let words = labels.len();
    let mean = T::one() / T::from_f64(words as f64);

    let mut loss = T::zero();
    for (h, label) in h.rows().into_iter().zip(labels) {
        let scores = scores(params, h);
        loss += mean * (log_sum_exp(&scores) - scores[*label]);
    }

    // The gradient of the loss by the scores is (s - onehot(label)) / T.
    let mut dh = Array2::zeros(h.raw_dim());
    for t in words - steps..words {
        let mut ds = s.row(t).to_owned();
        ds[labels[t]] -= T::one();
        ds.mapv_inplace(|ds| ds * mean * share);
        grad.b += &ds;
        add_outer(&mut grad.w, h.row(t), ds.view());
        dh.row_mut(t).assign(&mat_vec(params.w.view(), ds.view()));
    }

    let dx = Weights::from(params).backward(x.view(), h.view(), dh.view(), steps, Sums::from(&mut *grad))?;
    for (t, dx) in dx.rows().into_iter().enumerate() {
        for (part, word) in
            dx.exact_chunks(shape.embed).into_iter().zip(labelled.sentence().context(t, shape))
        {
            let mut row = grad.emb.row_mut(word);
            row += &part;
        }
    }
    Ok(loss)
}

impl<T: Real> Network<T> for Reference {
    fn name(&self) -> String {
        "reference".to_string()
    }

    fn predict(&self, params: &Params<T>, sentence: &Sentence) -> Result<Array2<T>, Error> {
        let shape = params.shape()?;
        sentence.check(&shape)?;
        Ok(forward(params, &shape, sentence)?.s)
    }

    fn gradient(&self, params: &Params<T>, batch: &[Labelled], grad: &mut Params<T>) -> Result<T, Error> {
        let shape = params.shape()?;
        grad.check(&shape)?;
        if batch.is_empty() {
            return Err(Error::shape("batch", "at least 1 sentence", 0));
        }
        for labelled in batch {
            labelled.check(&shape)?;
        }
        for (_, mut tensor) in grad.tensors_mut() {
            tensor.fill(T::zero());
        }
        let share = T::one() / T::from_f64(batch.len() as f64);
        let mut loss = T::zero();
        for labelled in batch {
            let steps = self.gradient_steps(labelled.labels().len());
            loss += share * backward(params, &shape, labelled, share, steps, grad)?;
        }
        Ok(loss)
    }

    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        Ok(Box::new(ReferenceLearner::new(*self, params)?))
    }

    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger>, Error> {
        Ok(Box::new(ReferenceTagger::new(*self, params)?))
    }
}
