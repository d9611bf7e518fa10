//! An implementation written for these tests, with switches that break it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use elman::{
    Cell, CellGradient, Error, Feedback, Labelled, Learner, Network, Params, Real, Recurrence, Sentence,
    Sequences, Shape, Tagger, Trace,
};

use super::Mutation::{self, *};

/// The network, broken in the way of its mutation.
pub(crate) struct Subject {
    mutation: Mutation,
    /// What some mutations carry from one call to the next: a state, and a gradient of b.
    memory: Mutex<(Vec<f64>, Vec<f64>)>,
    calls: AtomicUsize,
}

/// What backpropagation needs: ids of the words in each window, inputs, states after a row before the first, what is
/// fed back (`h0` first), outputs.
struct Run<T> {
    ids: Vec<Vec<usize>>,
    x: Array2<T>,
    h: Array2<T>,
    fed_back: Array2<T>,
    z: Array2<T>,
    s: Array2<T>,
}

struct Back<T> {
    dx: Array2<T>,
    wx: Array2<T>,
    wh: Array2<T>,
    bh: Array1<T>,
    h0: Array1<T>,
}

fn real<T: Real>(value: f64) -> T {
    T::from_f64(value)
}

/// The entry of a matrix whose memory is read as if it were the transposed one's.
fn turned<T: Real>(m: &Array2<T>, i: usize, j: usize) -> T {
    m.as_slice().unwrap()[j * m.nrows() + i]
}

/// 8 bits of significand.
fn bfloat<T: Real>(value: T) -> T {
    real(f64::from(f32::from_bits(((value.to_f64() as f32).to_bits().wrapping_add(0x8000)) & 0xffff_0000)))
}

impl Subject {
    pub(crate) fn new(mutation: Mutation) -> Self {
        Subject { mutation, memory: Mutex::default(), calls: AtomicUsize::new(0) }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    fn sigmoid<T: Real>(&self, a: T) -> T {
        let one = T::one();
        match self.mutation {
            SigmoidIsTanh => {
                let e = (a + a).exp();
                (e - one) / (e + one)
            }
            SigmoidRough => one / (one + (-a).exp()) * real::<T>(1.001),
            SigmoidClipped if a > real::<T>(6.0) => one,
            SigmoidClipped if a < real::<T>(-6.0) => T::zero(),
            SigmoidOverflows => {
                let e = a.exp();
                e / (one + e)
            }
            SigmoidOfHalf => one / (one + (-a * real(0.999)).exp()),
            _ => one / (one + (-a).exp()),
        }
    }

    /// The states, with `h0` before them.
    fn states<T: Real>(
        &self,
        x: ArrayView2<'_, T>,
        (wx, wh): (&Array2<T>, &Array2<T>),
        (bh, h0): (&Array1<T>, &Array1<T>),
    ) -> Array2<T> {
        let (steps, hidden) = (x.nrows(), bh.len());
        let mut h = Array2::zeros((steps + 1, hidden));
        h.row_mut(0).assign(h0);
        if self.is(StateFromLastCall) {
            let memory = self.memory.lock().unwrap();
            if memory.0.len() == hidden {
                for (h, memory) in h.row_mut(0).iter_mut().zip(&memory.0) {
                    *h = real(*memory);
                }
            }
        }
        if self.is(H0Ignored) {
            h.row_mut(0).fill(T::zero());
        }
        for t in 0..steps {
            let from = if self.is(StateNotFedBack) { 0 } else { t };
            let state = self.step(t, (x.row(t), h.row(from)), (wx, wh), (bh, h0));
            h.row_mut(t + 1).assign(&state);
        }
        if self.is(StateFromLastCall) {
            self.memory.lock().unwrap().0 = h.row(steps).iter().map(|v| v.to_f64()).collect();
        }
        h
    }

    /// One state, from the inputs and what the step before feeds back.
    fn step<T: Real>(
        &self,
        t: usize,
        (x, fed_back): (ArrayView1<'_, T>, ArrayView1<'_, T>),
        (wx, wh): (&Array2<T>, &Array2<T>),
        (bh, h0): (&Array1<T>, &Array1<T>),
    ) -> Array1<T> {
        let (hidden, fed) = (bh.len(), fed_back.len());
        Array1::from_shape_fn(hidden, |j| {
            let mut a = if self.is(BhMissing) { T::zero() } else { bh[j] };
            if self.is(BhTwice) {
                a += bh[j];
            }
            let inputs = if self.is(InputTailDropped) && x.len() > 16 { x.len() / 16 * 16 } else { x.len() };
            for i in 0..inputs {
                a += x[i] * self.weight(wx[[i, j]]);
            }
            let states = if self.is(StateTailDropped) && fed > 8 { fed / 8 * 8 } else { fed };
            for i in 0..states {
                let w = if self.is(WhTransposedForward) { turned(wh, i, j) } else { wh[[i, j]] };
                a += fed_back[i] * self.weight(w);
            }
            let h0 = h0.get(j).copied().unwrap_or(T::zero());
            if self.is(H0InEveryStep) && t > 0 {
                a += h0;
            }
            let mut h = self.sigmoid(a);
            if self.is(H0AddedToStates) {
                h += h0;
            }
            if self.is(StatesInHalfPrecision) { bfloat(h) } else { h }
        })
    }

    /// The scores of a state.
    fn scores<T: Real>(&self, p: &Params<T>, h: ArrayView1<'_, T>) -> Array1<T> {
        Array1::from_shape_fn(p.b.len(), |k| {
            let mut z = if self.is(BMissing) { T::zero() } else { p.b[k] };
            if self.is(BTwice) {
                z += p.b[k];
            }
            h.iter().zip(p.w.column(k)).fold(z, |z, (h, w)| z + *h * *w)
        })
    }

    fn softmax<T: Real>(&self, z: ArrayView1<'_, T>) -> Array1<T> {
        let max = z.iter().fold(z[0], |max, z| if *z > max { *z } else { max });
        let e = z.mapv(|z| if self.is(SoftmaxWithoutMaximum) { z.exp() } else { (z - max).exp() });
        let counted = if self.is(SoftmaxTailDropped) && e.len() > 8 { e.len() / 8 * 8 } else { e.len() };
        let sum = e.iter().take(counted).fold(T::zero(), |sum, e| sum + *e);
        e.mapv(|e| if self.is(SoftmaxRough) { e / sum * real(1.0 + 1e-5) } else { e / sum })
    }

    /// The states of a Jordan network after a row of zeros, and what is fed back.
    fn jordan_states<T: Real>(&self, p: &Params<T>, x: ArrayView2<'_, T>) -> (Array2<T>, Array2<T>) {
        let (steps, fed) = (x.nrows(), p.h0.len());
        let mut h = Array2::zeros((steps + 1, p.bh.len()));
        let mut fed_back = Array2::zeros((steps + 1, fed));
        if !(self.is(H0Ignored) || self.is(JordanS0Ignored)) {
            fed_back.row_mut(0).assign(&p.h0);
        }
        let mut wh = p.wh.clone();
        if self.is(JordanWhTransposedForward) {
            wh = Array2::from_shape_fn(wh.raw_dim(), |(i, j)| turned(&p.wh, i, j));
        }
        for t in 0..steps {
            let from = match self.mutation {
                StateNotFedBack | JordanS0InEveryStep => 0,
                JordanOutputOfTwoStepsBefore => t.saturating_sub(1),
                _ => t,
            };
            let state = self.step(t, (x.row(t), fed_back.row(from)), (&p.wx, &wh), (&p.bh, &p.h0));
            h.row_mut(t + 1).assign(&state);
            let z = self.scores(p, h.row(if self.is(OutputsLate) { t } else { t + 1 }));
            let s = self.softmax(z.view());
            let output = match self.mutation {
                JordanStateFedBack => {
                    Array1::from_shape_fn(fed, |k| state.get(k).copied().unwrap_or(T::zero()))
                }
                JordanScoresFedBack => z,
                JordanBestLabelFedBack => {
                    let best = (1..fed).fold(0, |best, k| if s[k] > s[best] { k } else { best });
                    Array1::from_shape_fn(fed, |k| if k == best { T::one() } else { T::zero() })
                }
                _ => s,
            };
            fed_back.row_mut(t + 1).assign(&output);
        }
        (h, fed_back)
    }

    fn weight<T: Real>(&self, w: T) -> T {
        let flushed = self.is(SubnormalsFlushed) && (w.to_f64() as f32).abs() < f32::MIN_POSITIVE;
        if flushed { T::zero() } else { w }
    }

    fn forward<T: Real>(&self, p: &Params<T>, shape: &Shape, words: &[usize]) -> Run<T> {
        let half = shape.window / 2;
        let padding = if self.is(PaddingIsFirstRow) { 0 } else { shape.vocab };
        let id = |position: usize| {
            if position < half || position - half >= words.len() { padding } else { words[position - half] }
        };
        let late = usize::from(self.is(WindowLate));
        let mut ids: Vec<Vec<usize>> = (0..words.len())
            .map(|t| (t..t + shape.window).map(|position| id(position + late)).collect())
            .collect();
        if self.is(WindowReversed) {
            ids.iter_mut().for_each(|window| window.reverse());
        }
        if self.is(WordsReversed) {
            ids.reverse();
        }
        let mut x = Array2::zeros((words.len(), shape.input()));
        for (t, window) in ids.iter().enumerate() {
            for (slot, id) in window.iter().enumerate() {
                if self.is(PaddingReadAsZero) && *id == shape.vocab {
                    continue;
                }
                for e in 0..shape.embed {
                    x[[t, slot * shape.embed + e]] = p.emb[[*id, e]];
                }
            }
        }
        let (h, fed_back) = match self.network(shape) {
            Feedback::Hidden => {
                let h = self.states(x.view(), (&p.wx, &p.wh), (&p.bh, &p.h0));
                (h.clone(), h)
            }
            Feedback::Output => self.jordan_states(p, x.view()),
        };
        let mut z = Array2::zeros((words.len(), shape.classes));
        let mut s = z.clone();
        for t in 0..words.len() {
            let row = if self.is(OutputsLate) { t } else { t + 1 };
            z.row_mut(t).assign(&self.scores(p, h.row(row)));
            s.row_mut(t).assign(&self.softmax(z.row(t)));
        }
        Run { ids, x, h, fed_back, z, s }
    }

    /// The network that this computes.
    fn network(&self, shape: &Shape) -> Feedback {
        let square = shape.hidden == shape.classes;
        if self.is(JordanTakenForElman) && square { Feedback::Hidden } else { shape.feedback }
    }

    /// What of the gradient that a step carries back counts.
    fn carried<T: Real>(&self, mut carry: Array1<T>, steps_left: usize) -> Array1<T> {
        match self.mutation {
            CarryMissing => carry.fill(T::zero()),
            CarryTwice => carry.mapv_inplace(|c| c + c),
            CarryStopsAfterThree if steps_left > 3 => carry.fill(T::zero()),
            _ => {}
        }
        carry
    }

    /// Adds to the gradient by the scores what comes back through the softmax `s`.
    fn add_through_softmax<T: Real>(&self, ds: &mut Array1<T>, s: ArrayView1<'_, T>, carry: &Array1<T>) {
        let mean = s.iter().zip(carry).fold(T::zero(), |sum, (s, c)| sum + *s * *c);
        for ((ds, s), c) in ds.iter_mut().zip(s).zip(carry) {
            *ds += match self.mutation {
                JordanCarryMissing => T::zero(),
                JordanSoftmaxForgotten => *c,
                JordanSoftmaxDiagonal => *s * (T::one() - *s) * *c,
                JordanMeanForgotten => *s * *c,
                JordanCarryTwice => *s * (*c - mean) * real(2.0),
                _ => *s * (*c - mean),
            };
        }
    }

    /// Backpropagation through time of one sequence; `dh_of` makes the gradient of a state from what the step after
    /// carries back.
    fn backward<T: Real>(
        &self,
        x: ArrayView2<'_, T>,
        (h, fed_back): (&Array2<T>, &Array2<T>),
        (wx, wh): (&Array2<T>, &Array2<T>),
        left_over: &mut Array1<T>,
        mut dh_of: impl FnMut(usize, Array1<T>) -> Array1<T>,
    ) -> Back<T> {
        let (steps, hidden, fed) = (x.nrows(), h.ncols(), fed_back.ncols());
        let mut back = Back {
            dx: Array2::zeros(x.raw_dim()),
            wx: Array2::zeros(wx.raw_dim()),
            wh: Array2::zeros(wh.raw_dim()),
            bh: Array1::zeros(hidden),
            h0: Array1::zeros(fed),
        };
        let mut carry = left_over.clone();
        for t in (0..steps).rev() {
            if self.is(LastStepOnly) && t + 1 < steps {
                continue;
            }
            let dh = dh_of(t, self.carried(carry.clone(), steps - t));
            let mut da = Array1::zeros(hidden);
            for j in 0..hidden {
                let h_t = if self.is(SlopeOfPreviousState) { h[[t, j]] } else { h[[t + 1, j]] };
                let slope = match self.mutation {
                    SlopeMissing => T::one(),
                    SlopeOfTanh => T::one() - h_t * h_t,
                    _ => h_t * (T::one() - h_t),
                };
                da[j] = dh[j] * slope;
            }
            for j in 0..hidden {
                back.bh[j] += da[j];
                for i in 0..x.ncols() {
                    back.wx[[i, j]] += x[[t, i]] * da[j];
                    back.dx[[t, i]] += self.weight(wx[[i, j]]) * da[j];
                }
                let row = if self.is(WhGradientOfOwnState) { t + 1 } else { t };
                if !(self.is(WhGradientWithoutH0) && t == 0) {
                    for i in 0..fed {
                        back.wh[[i, j]] += fed_back[[row, i]] * da[j];
                    }
                }
            }
            carry.fill(T::zero());
            for i in 0..fed {
                for j in 0..hidden {
                    let w = if self.is(WhTransposedBackward) { turned(wh, i, j) } else { wh[[i, j]] };
                    carry[i] += self.weight(w) * da[j];
                }
            }
            match self.mutation {
                H0GradientDropped => {}
                H0GradientOfLastStep if t + 1 == steps => back.h0.assign(&carry),
                H0GradientOfSecondStep if t == usize::from(steps > 1) => back.h0.assign(&carry),
                H0GradientOfEveryStep => back.h0 += &carry,
                H0GradientWithoutWh if t == 0 => {
                    back.h0.iter_mut().zip(&da).for_each(|(h0, da)| *h0 = *da);
                }
                H0GradientOfLastStep | H0GradientOfSecondStep | H0GradientWithoutWh => {}
                _ if t == 0 => back.h0.assign(&carry),
                _ => {}
            }
        }
        if self.is(CarryLeftForNextSentence) {
            *left_over = carry;
        }
        if self.is(WhGradientTransposed) {
            back.wh = Array2::from_shape_fn((fed, hidden), |(i, j)| turned(&back.wh, i, j));
        }
        back
    }

    /// What the Jordan mutations do to the gradients of wh and s0.
    fn break_jordan<T: Real>(&self, network: Feedback, mut back: Back<T>, run: &Run<T>) -> Back<T> {
        if network == Feedback::Output {
            match self.mutation {
                JordanS0GradientDropped => back.h0.fill(T::zero()),
                JordanS0GradientThroughSoftmax => {
                    let mut through = Array1::zeros(back.h0.len());
                    self.add_through_softmax(&mut through, run.s.row(0), &back.h0);
                    back.h0 = through;
                }
                JordanWhGradientTransposed => {
                    let dim = back.wh.raw_dim();
                    back.wh = Array2::from_shape_fn(dim, |(i, j)| turned(&back.wh, i, j));
                }
                _ => {}
            }
        }
        back
    }

    fn gradient_of<T: Real>(
        &self,
        p: &Params<T>,
        shape: &Shape,
        batch: &[Labelled],
        grad: &mut Params<T>,
    ) -> T {
        if !self.is(GradNotCleared) {
            grad.tensors_mut().into_iter().for_each(|(_, mut tensor)| tensor.fill(T::zero()));
        }
        let mut loss = T::zero();
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let network = self.network(shape);
        let mut left_over = Array1::zeros(p.h0.len());
        let count = match self.mutation {
            BatchMeanForgotten => 1,
            _ => batch.len(),
        };
        let counted = match self.mutation {
            FirstSentenceOnly => &batch[..1],
            LastSentenceDropped if batch.len() > 1 => &batch[..batch.len() - 1],
            _ => batch,
        };
        for labelled in counted {
            let words = labelled.sentence().words();
            let length = if self.is(LengthOfFirstSentence) { batch[0].labels().len() } else { words.len() };
            let share: T = real(1.0 / count as f64);
            let mean: T = if self.is(MeanForgotten) { T::one() } else { real(1.0 / length as f64) };
            let run = self.forward(p, shape, words);
            let mut outer = Array2::zeros((words.len(), shape.classes));
            for (t, label) in labelled.labels().iter().enumerate() {
                let max = run.z.row(t).iter().fold(run.z[[t, 0]], |max, z| if *z > max { *z } else { max });
                let sum = run.z.row(t).iter().fold(T::zero(), |sum, z| sum + (*z - max).exp());
                loss += match self.mutation {
                    LossOfUnderflow => -run.s[[t, *label]].ln(),
                    LossOfLogBase2 => (max - run.z[[t, *label]] + sum.ln()) / real(std::f64::consts::LN_2),
                    _ => max - run.z[[t, *label]] + sum.ln(),
                } * mean
                    * share;
                for k in 0..shape.classes {
                    let target = if k == *label && !self.is(TargetMissing) { T::one() } else { T::zero() };
                    let scale = if self.is(MeanForgottenInGradient) { share } else { mean * share };
                    outer[[t, k]] = (run.s[[t, k]] - target) * scale;
                }
            }
            let last = words.len() - 1;
            let (grad_w, grad_b) = (&mut grad.w, &mut grad.b);
            let mut add = |t: usize, ds: &Array1<T>| {
                let row = if self.is(WGradientOfPreviousState) || self.is(OutputsLate) { t } else { t + 1 };
                for k in 0..shape.classes {
                    grad_b[k] += ds[k];
                    for j in 0..shape.hidden {
                        grad_w[[j, k]] += run.h[[row, j]] * ds[k];
                    }
                }
            };
            let states = (&run.h, &run.fed_back);
            let back = self.backward(run.x.view(), states, (&p.wx, &p.wh), &mut left_over, |t, carry| {
                let mut ds = outer.row(t).to_owned();
                if network == Feedback::Hidden {
                    add(t, &ds);
                    if self.is(LastOuterGradientIgnored) && t == last && t > 0 {
                        return carry;
                    }
                    return p.w.dot(&ds) + carry;
                }
                if self.is(JordanCarryNotInW) {
                    add(t, &ds);
                }
                if t < last {
                    self.add_through_softmax(&mut ds, run.s.row(t), &carry);
                }
                if !self.is(JordanCarryNotInW) {
                    add(t, &ds);
                }
                p.w.dot(&ds)
            });
            let back = self.break_jordan(network, back, &run);
            grad.wx += &back.wx;
            grad.wh += &back.wh;
            grad.bh += &back.bh;
            if self.is(H0GradientOfFirstSequence) && !std::ptr::eq(labelled, &batch[0]) {
            } else if self.is(H0GradientOverwritten) {
                grad.h0.assign(&back.h0);
            } else {
                grad.h0 += &back.h0;
            }
            for (t, window) in run.ids.iter().enumerate() {
                for (slot, id) in window.iter().enumerate() {
                    if *id == shape.vocab
                        && (self.is(PaddingGradientSkipped)
                            || (self.is(PaddingGradientOfLeftOnly) && slot > shape.window / 2))
                    {
                        continue;
                    }
                    if self.is(CentreWordOnly) && slot != shape.window / 2 {
                        continue;
                    }
                    for e in 0..shape.embed {
                        let dx = back.dx[[t, slot * shape.embed + e]];
                        if self.is(RepeatedWordOverwritten) {
                            grad.emb[[*id, e]] = dx;
                        } else {
                            grad.emb[[*id, e]] += dx;
                        }
                    }
                }
            }
        }
        if self.is(EmbeddingsOfOtherWordsGetGradient) {
            grad.emb.mapv_inplace(|v| if v == T::zero() { real(1e-3) } else { v });
        }
        if self.is(GradientLeftForNextCall) {
            let mut memory = self.memory.lock().unwrap();
            if memory.1.len() == shape.classes {
                grad.b.iter_mut().zip(&memory.1).for_each(|(b, memory)| *b += real(*memory));
            }
            memory.1 = grad.b.iter().map(|v| v.to_f64()).collect();
        }
        if self.is(GradientInHalfPrecision) {
            *grad = grad.map(bfloat);
        }
        if self.is(OtherRoundingEachCall) && call % 2 == 1 {
            *grad = grad.map(|v| v * real(3.0) / real(3.0) * real(1.0 + f64::EPSILON));
        }
        if let OneEntryWrong(tensor) = self.mutation {
            // The largest entry of the tensor, by 0.1%.
            let (_, entries) = &mut grad.tensors_mut()[tensor];
            let largest = entries.iter_mut().max_by(|a, b| a.to_f64().abs().total_cmp(&b.to_f64().abs()));
            *largest.unwrap() *= real(1.001);
        }
        loss
    }
}

impl<T: Real> Network<T> for Subject {
    fn name(&self) -> String {
        format!("{:?}", self.mutation)
    }

    fn predict(&self, params: &Params<T>, sentence: &Sentence) -> Result<Array2<T>, Error> {
        let shape = if self.is(ShapesUnchecked) { unchecked(params) } else { params.shape()? };
        match self.mutation {
            IdsUnchecked => {}
            PaddingAcceptedAsWord => sentence.check(&Shape { vocab: shape.vocab + 1, ..shape })?,
            _ => sentence.check(&shape)?,
        }
        Ok(self.forward(params, &shape, sentence.words()).s)
    }

    fn gradient(&self, params: &Params<T>, batch: &[Labelled], grad: &mut Params<T>) -> Result<T, Error> {
        let shape = if self.is(ShapesUnchecked) { unchecked(params) } else { params.shape()? };
        if self.is(GradReplaced) && grad.check(&shape).is_err() {
            *grad = Params::zeros(shape)?;
        }
        if !self.is(ShapesUnchecked) {
            grad.check(&shape)?;
        }
        if self.is(ClearedBeforeChecks) {
            grad.tensors_mut().into_iter().for_each(|(_, mut tensor)| tensor.fill(T::zero()));
        }
        if batch.is_empty() && !self.is(EmptyBatchAccepted) {
            return Err(Error::shape("batch", "at least 1 sentence", 0));
        }
        let checked = if self.is(OnlyFirstSentenceChecked) { &batch[..1] } else { batch };
        for labelled in checked {
            match self.mutation {
                IdsUnchecked => {}
                LabelsUnchecked => labelled.sentence().check(&shape)?,
                PaddingAcceptedAsWord => labelled.check(&Shape { vocab: shape.vocab + 1, ..shape })?,
                _ => labelled.check(&shape)?,
            }
        }
        Ok(self.gradient_of(params, &shape, batch, grad))
    }

    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        params.shape()?;
        Ok(Box::new(SubjectLearner { subject: Subject::new(self.mutation), first: params.clone(), params }))
    }

    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger>, Error> {
        params.shape()?;
        Ok(Box::new(SubjectTagger { subject: Subject::new(self.mutation), params: params.clone() }))
    }
}

fn unchecked<T: Real>(params: &Params<T>) -> Shape {
    let (rows, embed) = params.emb.dim();
    let (input, hidden) = params.wx.dim();
    let (classes, feedback) = (params.b.len(), params.feedback);
    Shape { vocab: rows.saturating_sub(1), embed, window: input / embed, hidden, classes, feedback }
}

struct SubjectLearner<T> {
    subject: Subject,
    first: Params<T>,
    params: Params<T>,
}

impl<T: Real> Learner<T> for SubjectLearner<T> {
    fn step(&mut self, batch: &[Labelled], learning_rate: T) -> Result<T, Error> {
        let is = |mutation| self.subject.is(mutation);
        let shape = self.params.shape()?;
        if is(StepChangesBeforeRefusal) && !batch.is_empty() {
            self.params.b[0] += learning_rate;
            let result = batch.iter().try_for_each(|labelled| labelled.check(&shape));
            result?;
            self.params.b[0] -= learning_rate;
        }
        let mut grad = Params::zeros(shape)?;
        let mut loss = self.subject.gradient(&self.params, batch, &mut grad)?;
        if is(LearnerKeepsFirstWeights) {
            self.subject.gradient(&self.first, batch, &mut grad)?;
        }
        if is(UpdatedWeightsInBackward) {
            // w moves before the gradients that pass through it are computed.
            let mut moved = self.params.clone();
            moved.w.scaled_add(-learning_rate, &grad.w);
            let kept = (grad.w.clone(), grad.b.clone());
            self.subject.gradient(&moved, batch, &mut grad)?;
            (grad.w, grad.b) = kept;
        }
        let rate = if is(StepUphill) { learning_rate } else { -learning_rate };
        for ((name, mut tensor), (_, grad)) in self.params.tensors_mut().into_iter().zip(grad.tensors()) {
            if !(is(BhNotUpdated) && name == "bh" || is(H0NotUpdated) && name == "h0") {
                tensor.scaled_add(rate, &grad);
            }
        }
        if is(LossAfterStep) {
            loss = self.subject.gradient(&self.params, batch, &mut grad)?;
        }
        for row in 0..=shape.vocab {
            let in_batch = batch.iter().any(|labelled| labelled.sentence().words().contains(&row));
            let changed = match self.subject.mutation {
                NothingNormalised => false,
                EveryRowNormalised => true,
                PaddingNotNormalised => in_batch,
                PaddingAlwaysNormalised => in_batch || row == shape.vocab,
                FirstSentenceNormalised => {
                    batch[0].sentence().words().contains(&row) || row == shape.vocab && shape.window > 1
                }
                _ => in_batch || row == shape.vocab && shape.window > 1,
            };
            let mut row = self.params.emb.row_mut(row);
            let mut norm = row.iter().fold(T::zero(), |sum, v| sum + *v * *v).sqrt();
            if is(NormOfAbsolutes) {
                norm = row.iter().fold(T::zero(), |sum, v| if *v < T::zero() { sum - *v } else { sum + *v });
            }
            if is(NormNotRooted) {
                norm = norm * norm;
            }
            if changed && (norm != T::zero() || is(ZeroRowDivided)) {
                row.mapv_inplace(|v| v / norm);
            }
        }
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.params.clone()
    }
}

struct SubjectTagger<T> {
    subject: Subject,
    params: Params<T>,
}

impl<T: Real> Tagger for SubjectTagger<T> {
    fn label(&mut self, sentence: &Sentence, labels: &mut Vec<usize>) -> Result<(), Error> {
        let is = |mutation| self.subject.is(mutation);
        if is(LabelsClearedOnRefusal) {
            labels.clear();
        }
        let s = self.subject.predict(&self.params, sentence)?;
        if !is(LabelsAppended) {
            labels.clear();
        }
        for row in s.rows() {
            let classes = if is(LastLabelNeverGiven) && row.len() > 1 { row.len() - 1 } else { row.len() };
            let mut best = 0;
            for k in 1..classes {
                if row[k] > row[best] || is(LastOfTies) && row[k] == row[best] {
                    best = k;
                }
            }
            labels.push(if is(LabelOffByOne) { (best + 1) % row.len() } else { best });
        }
        if is(LastWordNotLabelled) && labels.len() > 1 {
            labels.pop();
        }
        Ok(())
    }

    fn label_all(&mut self, sentences: &[Sentence]) -> Result<Vec<Vec<usize>>, Error> {
        let mut all = Vec::new();
        for sentence in sentences {
            let mut labels = Vec::new();
            self.label(sentence, &mut labels)?;
            all.push(labels);
        }
        if self.subject.is(LabelAllReversed) {
            all.reverse();
        }
        Ok(all)
    }
}

impl<T: Real> Recurrence<T> for Subject {
    fn forward(&self, cell: &Cell<T>, xs: &Sequences<'_, T>) -> Result<Array2<T>, Error> {
        let (input, _) = cell.dim()?;
        if !self.is(WidthUnchecked) {
            xs.check(input)?;
        }
        let mut h = Array2::zeros((xs.rows().nrows(), cell.h0.len()));
        let mut h0 = cell.h0.clone();
        for range in xs.ranges() {
            let x = xs.rows().slice_move(s![range.clone(), ..]);
            let states = self.states(x, (&cell.wx, &cell.wh), (&cell.bh, &h0));
            h.slice_mut(s![range, ..]).assign(&states.slice(s![1.., ..]));
            if self.is(SequencesBleed) {
                h0 = states.row(states.nrows() - 1).to_owned();
            }
        }
        Ok(h)
    }

    fn vjp<'a>(&self, cell: &'a Cell<T>, xs: &'a Sequences<'a, T>) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let subject = Subject::new(self.mutation);
        let mut h = Recurrence::forward(self, cell, xs)?;
        if self.is(TraceHasPreviousStates) {
            for range in xs.ranges() {
                let mut previous = cell.h0.clone();
                for t in range {
                    let state = h.row(t).to_owned();
                    h.row_mut(t).assign(&previous);
                    previous = state;
                }
            }
        }
        Ok(Box::new(SubjectTrace {
            subject,
            cell,
            xs,
            h,
            sum: Mutex::new(Cell::zeros(cell.wx.nrows(), cell.h0.len())),
        }))
    }
}

struct SubjectTrace<'a, T> {
    subject: Subject,
    cell: &'a Cell<T>,
    xs: &'a Sequences<'a, T>,
    h: Array2<T>,
    sum: Mutex<Cell<T>>,
}

impl<T: Real> Trace<T> for SubjectTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.h.view()
    }

    fn backward(&self, dh: ArrayView2<'_, T>) -> Result<CellGradient<T>, Error> {
        let is = |mutation| self.subject.is(mutation);
        if dh.dim() != self.h.dim() && !is(OuterGradientUnchecked) {
            return Err(Error::shape("dh", format!("{:?}", self.h.dim()), format!("{:?}", dh.dim())));
        }
        if !dh.is_standard_layout() {
            return Err(Error::shape("dh", "row-major layout", "other strides"));
        }
        let mut total = CellGradient {
            xs: Array2::zeros(self.xs.rows().raw_dim()),
            cell: Cell::zeros(self.cell.wx.nrows(), self.cell.h0.len()),
        };
        let mut sum = self.sum.lock().unwrap();
        if is(TraceAccumulates) {
            total.cell = sum.clone();
        }
        let mut left_over = Array1::zeros(self.cell.h0.len());
        for (sequence, range) in self.xs.ranges().enumerate() {
            let x = self.xs.rows().slice_move(s![range.clone(), ..]);
            let states =
                self.subject.states(x, (&self.cell.wx, &self.cell.wh), (&self.cell.bh, &self.cell.h0));
            let outer = dh.slice(s![range.clone(), ..]).to_owned();
            let weights = (&self.cell.wx, &self.cell.wh);
            let back = self.subject.backward(x, (&states, &states), weights, &mut left_over, |t, carry| {
                let last = t + 1 == outer.nrows() && t > 0;
                if is(LastOuterGradientIgnored) && last { carry } else { &carry + &outer.row(t) }
            });
            total.cell.wx += &back.wx;
            total.cell.wh += &back.wh;
            total.cell.bh += &back.bh;
            if is(H0GradientOfFirstSequence) && sequence > 0 {
            } else if is(H0GradientOverwritten) {
                total.cell.h0.assign(&back.h0);
            } else {
                total.cell.h0 += &back.h0;
            }
            let part = s![range, ..];
            if is(InputGradientOfFirstSequence) && sequence > 0 {
                continue;
            }
            total.xs.slice_mut(part).assign(&back.dx);
        }
        *sum = total.cell.clone();
        Ok(total)
    }
}
