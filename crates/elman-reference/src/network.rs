//! The network: the recurrence between an embedding of the words and a softmax over the labels. Elman's feeds
//! the state back, Jordan's the softmax.

use elman::ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};
use elman::{Error, Feedback, Labelled, Learner, Network, Params, Real, Sentence, Shape, Tagger};

use crate::Reference;
use crate::learner::ReferenceLearner;
use crate::linear::{
    add_outer, add_through_softmax, log_sum_exp, mat_vec, softmax, stack, through_sigmoid, vec_mat,
};
use crate::recurrence::{Sums, Weights, in_order};
use crate::scan::{Initial, Input, scan};
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
    let step = |x: ArrayView1<'_, T>, fed_back: &Array1<T>| {
        let h = recurrence.step(x, fed_back);
        let s = softmax(scores(params, h.view()));
        (h, s)
    };
    let scan = scan().sequences(&x).n_steps(sentence.words().len());
    let (h, s) = match shape.feedback {
        Feedback::Hidden => {
            let h0 = Initial(recurrence.h0());
            scan.outputs_info((h0, None)).run(|x, (h_prev, ())| step(x, h_prev))?
        }
        Feedback::Output => {
            let s0 = Initial(recurrence.h0());
            scan.outputs_info((None, s0)).run(|x, ((), s_prev)| step(x, s_prev))?
        }
    };
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
    let mut dy = s.clone();
    for (mut dy, label) in dy.rows_mut().into_iter().zip(labels) {
        dy[*label] -= T::one();
        dy.mapv_inplace(|dy| dy * mean * share);
    }
    let run = Run { x, h, s };
    let dx = match shape.feedback {
        Feedback::Hidden => backward_elman(params, &run, &dy, steps, grad)?,
        Feedback::Output => backward_jordan(params, &run, &dy, steps, grad)?,
    };
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

/// From the gradient `dy` of the loss by the scores, `[T, classes]`, adds the gradients of all but the embeddings
/// and returns that of `x`; backwards over the last `steps` steps.
fn backward_elman<T: Real>(
    params: &Params<T>,
    Run { x, h, .. }: &Run<T>,
    dy: &Array2<T>,
    steps: usize,
    grad: &mut Params<T>,
) -> Result<Array2<T>, Error> {
    let mut dh = Array2::zeros(h.raw_dim());
    for t in x.nrows() - steps..x.nrows() {
        grad.b += &dy.row(t);
        add_outer(&mut grad.w, h.row(t), dy.row(t));
        dh.row_mut(t).assign(&mat_vec(params.w.view(), dy.row(t)));
    }
    Weights::from(params).backward(x.view(), h.view(), dh.view(), steps, Sums::from(grad))
}

/// [`backward_elman`] for the Jordan network, where what a step carries back reaches the scores of the step before
/// through its softmax: `dy[t] = (s[t] - onehot) / T + J·wh·dz[t+1]`, with `J = diag(s[t]) - s[t]·s[t]ᵀ`.
fn backward_jordan<T: Real>(
    params: &Params<T>,
    Run { x, h, s }: &Run<T>,
    dy: &Array2<T>,
    steps: usize,
    grad: &mut Params<T>,
) -> Result<Array2<T>, Error> {
    let recurrence = Weights::from(params);
    let after_the_end = Array1::zeros(s.ncols());
    let s = concatenate![Axis(0), params.h0.view().insert_axis(Axis(0)), s.view()];
    let (ds_prev, dx) = scan()
        .sequences((x, h, Input(&s).taps([-1, 0]), dy))
        .outputs_info((Initial(after_the_end), None))
        .n_steps(steps)
        .go_backwards(true)
        .run(|(x, h, [s_prev, s], dy), (ds, ())| {
            let mut dy = dy.to_owned();
            add_through_softmax(&mut dy, s, ds);
            grad.b += &dy;
            add_outer(&mut grad.w, h, dy.view());
            let mut dz = mat_vec(params.w.view(), dy.view());
            through_sigmoid(&mut dz, h);
            recurrence.step_backward(x, s_prev, dz.view(), &mut Sums::from(&mut *grad))
        })?;
    if steps == x.nrows()
        && let Some(ds_first) = ds_prev.last()
    {
        grad.h0 += ds_first;
    }
    Ok(in_order(dx, x.dim()))
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
