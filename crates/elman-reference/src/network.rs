//! The network: the recurrence between an embedding of the words and a softmax over the labels. Elman's feeds
//! the state back, Jordan's the softmax.

use elman::ndarray::{Array1, Array2, ArrayView1, Axis, Slice};
use elman::{
    Batch, Error, Feedback, Learner, Network, Params, Real, Sentence, Shape, Tagger, check_words, context,
};

use crate::Reference;
use crate::layer::{add, add_initial, add_to_h, backward, h_of, step};
use crate::learner::ReferenceLearner;
use crate::linear::{add_outer, add_through_softmax, mat_vec, negative_log_softmax, softmax, stack, vec_mat};
use crate::scan::{Initial, scan};
use crate::tagger::ReferenceTagger;

/// The inputs, states and outputs of one sentence: `x` `[T, input]`, `states` `[T, states·hidden]` of which the first
/// columns are `h`, and `s` `[T, classes]`.
struct Run<T> {
    x: Array2<T>,
    states: Array2<T>,
    s: Array2<T>,
}

/// `h[t]·w + b`, before the softmax.
fn scores<T: Real>(params: &Params<T>, h: ArrayView1<'_, T>) -> Array1<T> {
    vec_mat(h, params.w()) + params.b()
}

/// `x`, `[T, input]`: row `t` is the concatenation of the embeddings of the words around word `t`.
fn windows<T: Real>(params: &Params<T>, shape: &Shape, words: &[u32]) -> Array2<T> {
    let mut x = Array2::zeros((words.len(), shape.input()));
    for (t, mut row) in x.rows_mut().into_iter().enumerate() {
        for (mut part, word) in row.exact_chunks_mut(shape.embed).into_iter().zip(context(words, t, shape)) {
            part.assign(&params.emb().row(word as usize));
        }
    }
    x
}

fn forward<T: Real>(params: &Params<T>, words: &[u32]) -> Result<Run<T>, Error> {
    let shape = params.shape();
    let x = windows(params, &shape, words);
    let layer = params.layer();
    let step = |x: ArrayView1<'_, T>, before: &Array1<T>| {
        let states = step(&layer, x, before.view());
        let s = softmax(scores(params, states.slice_axis(Axis(0), Slice::from(..shape.hidden))));
        (states, s)
    };
    let scan = scan().sequences(&x).n_steps(words.len());
    let h0 = Initial(layer.initial());
    let (states, s) = match shape.feedback {
        Feedback::Hidden => scan.outputs_info((h0, None)).run(|x, (h_prev, ())| step(x, h_prev))?,
        Feedback::Output => scan.outputs_info((None, h0)).run(|x, ((), s_prev)| step(x, s_prev))?,
    };
    Ok(Run { states: stack(&states, shape.cell.states() * shape.hidden), s: stack(&s, shape.classes), x })
}

/// The loss of one sentence; adds `share` times its gradient, over its last `steps` words, to `grad`.
fn add_gradient<T: Real>(
    params: &Params<T>,
    Sentence { words, labels }: Sentence<'_>,
    share: T,
    steps: usize,
    grad: &mut Params<T>,
) -> Result<T, Error> {
    let Run { x, states, s } = forward(params, words)?;
    let shape = params.shape();
    let h = h_of(&states, shape.hidden);
    let mean = T::one() / T::from_f64(words.len() as f64);
    let losses = h.rows().into_iter().zip(labels);
    let loss = losses.fold(T::zero(), |loss, (h, label)| {
        loss + mean * negative_log_softmax(&scores(params, h), *label as usize)
    });

    // The gradient of the loss by the scores is (s - onehot(label)) / T; in a Jordan network what the step after
    // carries back reaches the scores as well, through their softmax.
    let d = |t: usize, carried: &Array1<T>, grad: &mut Params<T>| {
        let mut dy = s.row(t).to_owned();
        dy[labels[t] as usize] -= T::one();
        dy.mapv_inplace(|dy| dy * mean * share);
        if shape.feedback == Feedback::Output {
            add_through_softmax(&mut dy, s.row(t), carried);
        }
        add(grad.b_mut(), dy.view());
        add_outer(&mut grad.w_mut(), h.row(t), dy.view());
        let dh = mat_vec(params.w(), dy.view());
        if shape.feedback == Feedback::Hidden { add_to_h(carried.clone(), dh.view()) } else { dh }
    };
    let handed_on = if shape.feedback == Feedback::Hidden { &states } else { &s };
    let initial = params.layer().initial();
    let after_the_end = Array1::zeros(initial.len());
    let inputs = (x.view(), handed_on.view(), initial.view());
    let (dinitial, dx) = backward(&params.layer(), inputs, after_the_end, steps, d, grad)?;
    add_initial(grad, dinitial.view());
    for (t, dx) in dx.rows().into_iter().enumerate() {
        for (part, word) in dx.exact_chunks(shape.embed).into_iter().zip(context(words, t, &shape)) {
            add(grad.emb_mut().row_mut(word as usize), part);
        }
    }
    Ok(loss)
}

impl Reference {
    /// `share` times the sum of the sentences' losses; adds its gradient to `grad`, which is all zeros. Of a chunk both
    /// are summed sentence by sentence; of a larger batch they are the sums of its halves.
    fn sum<T: Real>(
        &self,
        params: &Params<T>,
        batch: Batch<'_>,
        share: T,
        grad: &mut Params<T>,
    ) -> Result<T, Error> {
        let Some((left, right)) = batch.halves() else {
            let losses = batch.iter().try_fold(T::zero(), |losses, sentence| {
                let steps = self.gradient_steps(sentence.words.len());
                Ok(losses + add_gradient(params, sentence, share, steps, grad)?)
            });
            return losses.map(|losses| share * losses);
        };
        let mut by_right = Params::zeros(params.shape())?;
        let loss = self.sum(params, left, share, grad)? + self.sum(params, right, share, &mut by_right)?;
        for (grad, by_right) in grad.as_mut_slice().iter_mut().zip(by_right.as_slice()) {
            *grad += *by_right;
        }
        Ok(loss)
    }

    /// [`Learner::gradient`] with parameters.
    pub(crate) fn gradient_of_share<T: Real>(
        &self,
        params: &Params<T>,
        batch: Batch<'_>,
        share: T,
        grad: &mut Params<T>,
    ) -> Result<T, Error> {
        grad.check(params.shape())?;
        batch.check(&params.shape())?;
        grad.as_mut_slice().fill(T::zero());
        self.sum(params, batch, share, grad)
    }
}

impl<T: Real> Network<T> for Reference {
    fn name(&self) -> String {
        "reference".to_string()
    }

    fn predict(&self, params: &Params<T>, words: &[u32]) -> Result<Array2<T>, Error> {
        check_words(words, &params.shape())?;
        Ok(forward(params, words)?.s)
    }

    fn gradient(&self, params: &Params<T>, batch: Batch<'_>, grad: &mut Params<T>) -> Result<T, Error> {
        let share = T::one() / T::from_f64(batch.len().max(1) as f64);
        self.gradient_of_share(params, batch, share, grad)
    }

    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        Ok(Box::new(ReferenceLearner::new(*self, params)))
    }

    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        Ok(Box::new(ReferenceTagger::new(*self, params)))
    }
}
