//! The network: the recurrence between an embedding of the words and a softmax, or a CRF, over the labels. Elman's feeds
//! the state back, Jordan's the softmax.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Slice, concatenate};
use elman::{
    Batch, Direction, Error, Feedback, Head, Learner, Network, Params, Real, Sentence, Shape, Tagger,
    check_words, context,
};

use crate::Reference;
use crate::crf::Chain;
use crate::layer::{self, add, add_initial, add_to_h, backward, h_of, step};
use crate::learner::ReferenceLearner;
use crate::linear::{add_outer, add_through_softmax, mat_vec, negative_log_softmax, softmax, stack, vec_mat};
use crate::scan::{Initial, scan};
use crate::tagger::ReferenceTagger;

/// The layers and the outputs of one sentence: `s` `[T, classes]`.
struct Run<T> {
    layers: Vec<Pass<T>>,
    s: Array2<T>,
}

/// The input of a layer, `[T, input]`, and its states in each direction, `[T, states·hidden]`, of which the first columns
/// are `h`.
struct Pass<T> {
    x: Array2<T>,
    states: Vec<Array2<T>>,
}

impl<T: Real> Pass<T> {
    /// The output of the layer: the `h` of all directions side by side.
    fn h(&self, shape: &Shape) -> Array2<T> {
        let parts: Vec<_> = self.states.iter().map(|states| h_of(states, shape.hidden)).collect();
        concatenate(Axis(1), &parts).expect("a row for each word")
    }
}

/// The rows in the order in which a direction reads them.
fn in_order<T: Real>(rows: ArrayView2<'_, T>, direction: Direction) -> ArrayView2<'_, T> {
    let step = if direction == Direction::Forward { 1 } else { -1 };
    rows.slice_axis_move(Axis(0), Slice::new(0, None, step))
}

/// `h[t]·w + b`, before the head.
fn scores<T: Real>(params: &Params<T>, h: ArrayView1<'_, T>) -> Array1<T> {
    vec_mat(h, params.w()) + params.b()
}

/// The scores of all words, `[T, classes]`.
fn all_scores<T: Real>(params: &Params<T>, h: ArrayView2<'_, T>) -> Array2<T> {
    let y: Vec<_> = h.rows().into_iter().map(|h| scores(params, h)).collect();
    stack(&y, params.shape().classes)
}

/// The scores of a sentence's words, `[T, classes]`: the emissions of a CRF.
pub(crate) fn emissions<T: Real>(params: &Params<T>, words: &[u32]) -> Result<Array2<T>, Error> {
    let (shape, run) = (params.shape(), forward(params, words)?);
    Ok(all_scores(params, run.layers[shape.layers - 1].h(&shape).view()))
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
    let mut x = windows(params, &shape, words);
    if !shape.is_single() || shape.head == Head::Crf {
        let mut layers = Vec::new();
        for layer in 0..shape.layers {
            let states = shape.directions().iter().map(|direction| {
                let layer = params.layer_at(layer, *direction);
                let states = layer::forward(&layer, in_order(x.view(), *direction), layer.initial().view())?;
                Ok(in_order(states.view(), *direction).to_owned())
            });
            let pass = Pass { states: states.collect::<Result<_, Error>>()?, x };
            x = pass.h(&shape);
            layers.push(pass);
        }
        let y = all_scores(params, x.view());
        if let Some(crf) = params.crf() {
            return Ok(Run { layers, s: Chain::new(crf, y.view()).s });
        }
        let s: Vec<_> = y.rows().into_iter().map(|y| softmax(y.to_owned())).collect();
        return Ok(Run { layers, s: stack(&s, shape.classes) });
    }
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
    let states = vec![stack(&states, shape.cell.states() * shape.hidden)];
    Ok(Run { layers: vec![Pass { x, states }], s: stack(&s, shape.classes) })
}

/// The loss of one sentence; adds `share` times its gradient, over its last `steps` words, to `grad`.
fn add_gradient<T: Real>(
    params: &Params<T>,
    Sentence { words, labels }: Sentence<'_>,
    share: T,
    steps: usize,
    grad: &mut Params<T>,
) -> Result<T, Error> {
    let Run { mut layers, s } = forward(params, words)?;
    let shape = params.shape();
    let h = layers[shape.layers - 1].h(&shape);
    let mean = T::one() / T::from_f64(words.len() as f64);
    let loss = if let Some(crf) = params.crf() {
        let y = all_scores(params, h.view());
        let chain = Chain::new(crf, y.view());
        chain.add_gradient(labels, mean * share, steps, grad);
        mean * chain.loss(labels)
    } else {
        let losses = h.rows().into_iter().zip(labels);
        losses.fold(T::zero(), |loss, (h, label)| {
            loss + mean * negative_log_softmax(&scores(params, h), *label as usize)
        })
    };

    // The gradient of the loss by the scores is (s - onehot(label)) / T, with both heads; in a Jordan network what the step after
    // carries back reaches the scores as well, through their softmax.
    let dh = |t: usize, carried: Option<&Array1<T>>, grad: &mut Params<T>| {
        let mut dy = s.row(t).to_owned();
        dy[labels[t] as usize] -= T::one();
        dy.mapv_inplace(|dy| dy * mean * share);
        if let Some(carried) = carried {
            add_through_softmax(&mut dy, s.row(t), carried);
        }
        add(Some(grad.b_mut()), dy.view());
        add_outer(&mut grad.w_mut(), h.row(t), dy.view());
        mat_vec(params.w(), dy.view())
    };
    let mut dx = Array2::zeros((words.len(), shape.top()));
    if shape.feedback == Feedback::Output {
        let d = |t: usize, carried: &Array1<T>, grad: &mut Params<T>| dh(t, Some(carried), grad);
        let (layer, x) = (params.layer(), &layers[0].x);
        let after_the_end = Array1::zeros(shape.classes);
        let inputs = (x.view(), s.view(), params.h0());
        let (ds0, by_x) = backward(&layer, inputs, after_the_end, steps, d, grad)?;
        add_initial(&layer, grad, ds0.view());
        dx = by_x;
        layers.clear();
    } else {
        for t in (words.len() - steps..words.len()).rev() {
            dx.row_mut(t).assign(&dh(t, None, grad));
        }
    }
    // From the gradient of a layer's states to that of its input, which are the states of the layer below.
    for (layer, Pass { x, states }) in layers.iter().enumerate().rev() {
        let above = std::mem::replace(&mut dx, Array2::zeros(x.raw_dim()));
        let parts = above.axis_chunks_iter(Axis(1), shape.hidden);
        for ((direction, states), dh) in shape.directions().iter().zip(states).zip(parts) {
            let layer = params.layer_at(layer, *direction);
            let (initial, dh) = (layer.initial(), in_order(dh, *direction));
            let inputs =
                (in_order(x.view(), *direction), in_order(states.view(), *direction), initial.view());
            let d = |t: usize, carried: &Array1<T>, _: &mut Params<T>| add_to_h(carried.clone(), dh.row(t));
            let (dinitial, by_x) = backward(&layer, inputs, Array1::zeros(initial.len()), steps, d, grad)?;
            add_initial(&layer, grad, dinitial.view());
            dx += &in_order(by_x.view(), *direction);
        }
    }
    for (t, dx) in dx.rows().into_iter().enumerate() {
        for (part, word) in dx.exact_chunks(shape.embed).into_iter().zip(context(words, t, &shape)) {
            add(Some(grad.emb_mut().row_mut(word as usize)), part);
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
