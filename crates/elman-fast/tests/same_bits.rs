//! The promise: the same bits for any number of threads, in any company, on every instruction set with fused
//! multiply-add. A batch is the tree of its chunks, and a sequence may be cut anywhere.

mod common;

use common::*;
use elman::ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use elman::{
    Adam, Batch, Cell, LayerParams, LayerShape, Learner, Network, Params, Recurrence, RecurrenceGradient,
    Sequences, Shape, Tagger, Update,
};
use elman_fast::{Fast, Num};

/// Batches of one sentence, of a part of a chunk, of a chunk, of two and of three chunks, and of more sentences than a
/// thread computes together.
const BATCHES: [usize; 6] = [1, 2, 16, 17, 40, 150];

/// Calls a test with networks of every cell and feedback, and with batches of these numbers of sentences.
fn each_network(batches: &[usize], mut test: impl FnMut(&str, Shape, usize, &mut Random)) {
    for (seed, sentences) in batches.iter().enumerate() {
        let random = &mut Random::new(seed as u64);
        for shape in networks(sizes(random)) {
            test(&format!("{sentences} sentences, {shape:?}"), shape, *sentences, random);
        }
    }
}

/// The loss of a batch and its gradient, over a gradient of NaNs.
fn gradient<T: Num>(learner: &mut dyn Learner<T>, batch: Batch<'_>, share: T) -> (T, Params<T>) {
    let mut grad = learner.params().map(|_| T::from_f64(f64::NAN));
    let loss = learner.gradient(batch, share, &mut grad).unwrap();
    (loss, grad)
}

fn share_of<T: Num>(batch: Batch<'_>) -> T {
    T::one() / T::from_f64(batch.len() as f64)
}

fn loss_and_gradient<T: Num>(loss: T, grad: &Params<T>) -> Bits {
    [vec![("loss".into(), bits([&loss]))], tensors("the gradient", grad)].concat()
}

fn labels_of<T: Num>(tagger: &mut dyn Tagger<T>, batch: Batch<'_>) -> Vec<u32> {
    let mut labels = vec![u32::MAX; batch.words().len()];
    tagger.label_all(batch, &mut labels).unwrap();
    labels
}

/// Labels of a batch and scores of its first sentence.
fn labels_and_scores<T: Num>(tagger: &mut dyn Tagger<T>, batch: Batch<'_>) -> Bits {
    let labels = labels_of(tagger, batch).into_iter().map(u64::from).collect();
    let scores = bits(tagger.scores(batch.sentence(0).words).unwrap());
    vec![("labels".into(), labels), ("scores".into(), scores)]
}

fn training_and_tagging<T: Num>()
where
    Fast: Network<T>,
{
    let groups = groups();
    each_network(&BATCHES, |case, shape, size, random| {
        let params: Params<T> = params(shape, random);
        let sentences = sentences(&shape, size, random);
        let batch = sentences.batch();
        assert_same_everywhere(&groups, case, |fast| {
            let mut learner = fast.learner(params.clone()).unwrap();
            let (loss, grad) = gradient(&mut *learner, batch, share_of(batch));
            let mut all = loss_and_gradient(loss, &grad);
            for step in 1..=3 {
                let loss = learner.step(batch, &mut Update::sgd(T::from_f64(0.125))).unwrap();
                all.push((format!("loss of step {step}"), bits([&loss])));
            }
            all.extend(tensors("the trained network", &learner.params()));
            let adam = Adam::new(T::from_f64(0.01), params.shape()).unwrap();
            let mut adam = Update::Adam(Adam { clip: Some(T::from_f64(0.125)), ..adam });
            for step in 1..=2 {
                let loss = learner.step(batch, &mut adam).unwrap();
                all.push((format!("loss of step {step} of Adam"), bits([&loss])));
            }
            all.extend(tensors("the network trained by Adam", &learner.params()));
            all.extend(labels_and_scores(&mut *fast.tagger(&params).unwrap(), batch));
            all
        });
    });
}

#[test]
fn training_and_tagging_have_the_same_bits_everywhere() {
    training_and_tagging::<f32>();
    training_and_tagging::<f64>();
}

fn sum_of_halves<T: Num>()
where
    Fast: Network<T>,
{
    fn by_halves<T: Num>(learner: &mut dyn Learner<T>, batch: Batch<'_>, share: T) -> (T, Params<T>) {
        let Some((left, right)) = batch.halves() else { return gradient(learner, batch, share) };
        let (left_loss, mut grad) = by_halves(learner, left, share);
        let (right_loss, right) = by_halves(learner, right, share);
        grad.as_mut_slice().iter_mut().zip(right.as_slice()).for_each(|(to, from)| *to += *from);
        (left_loss + right_loss, grad)
    }
    each_network(&[17, 32, 40, 150], |case, shape, size, random| {
        let sentences = sentences(&shape, size, random);
        let batch = sentences.batch();
        let mut learner = Fast::new().learner(params(shape, random)).unwrap();
        let (loss, grad) = gradient::<T>(&mut *learner, batch, share_of(batch));
        let (sum_loss, sum) = by_halves(&mut *learner, batch, share_of(batch));
        assert_same(&loss_and_gradient(sum_loss, &sum), &loss_and_gradient(loss, &grad), case);
    });
}

#[test]
fn the_gradients_of_halves_add_up_to_the_bits_of_the_whole() {
    sum_of_halves::<f32>();
    sum_of_halves::<f64>();
}

fn gradient_and_apply<T: Num>()
where
    Fast: Network<T>,
{
    each_network(&BATCHES[1..], |case, shape, size, random| {
        let sentences = sentences(&shape, size, random);
        let batch = sentences.batch();
        let params: Params<T> = params(shape, random);
        let update = &mut Update::sgd(T::from_f64(0.125));
        let [mut fused, mut apart] = [(); 2].map(|()| Fast::new().learner(params.clone()).unwrap());
        for step in 1..=3 {
            let loss = fused.step(batch, update).unwrap();
            let (apart_loss, grad) = gradient(&mut *apart, batch, share_of(batch));
            apart.apply(&grad, batch, update).unwrap();
            assert_eq!(bits([&loss]), bits([&apart_loss]), "{case}: loss of step {step}");
        }
        let [fused, apart] = [fused, apart].map(|learner| tensors("the network", &learner.params()));
        assert_same(&fused, &apart, case);
    });
}

#[test]
fn a_step_of_two_or_more_sentences_is_gradient_and_apply() {
    gradient_and_apply::<f32>();
    gradient_and_apply::<f64>();
}

/// Memory that is used again must not show.
#[test]
fn results_do_not_depend_on_earlier_calls() {
    each_network(&[2], |case, shape, _, random| {
        let params: Params<f32> = params(shape, random);
        let batches = BATCHES.map(|size| sentences(&shape, size, random));
        let fast = Fast::new();
        let mut learner = fast.learner(params.clone()).unwrap();
        let mut tagger = fast.tagger(&params).unwrap();
        // Largest first, so that every buffer has something left in it.
        for (size, sentences) in BATCHES.iter().zip(&batches).rev() {
            let batch = sentences.batch();
            let mut fresh = fast.learner(params.clone()).unwrap();
            let [expected, found] =
                [&mut fresh, &mut learner].map(|learner| gradient(&mut **learner, batch, share_of(batch)));
            let [expected, found] = [expected, found].map(|(loss, grad)| loss_and_gradient(loss, &grad));
            assert_same(&found, &expected, &format!("{case}: {size} sentences"));
            let expected = labels_and_scores(&mut *fast.tagger(&params).unwrap(), batch);
            assert_same(&labels_and_scores(&mut *tagger, batch), &expected, &format!("{case}: {size}"));
            let forked = labels_and_scores(&mut *tagger.fork(), batch);
            assert_same(&forked, &expected, &format!("{case}: fork, {size}"));
        }
    });
}

#[test]
fn sentences_are_labelled_alike_alone_and_in_any_batch() {
    each_network(&[70], |case, shape, size, random| {
        let all = sentences(&shape, size, random);
        let batch = all.batch();
        let mut tagger = Fast::new().tagger(&params::<f32, _>(shape, random)).unwrap();
        let alone: Vec<Vec<u32>> =
            (0..size).map(|i| labels_of(&mut *tagger, batch.slice(i..i + 1))).collect();
        for to in [2, 31, 32, 33, size] {
            assert_eq!(labels_of(&mut *tagger, batch.slice(0..to)), alone[..to].concat(), "{case}: {to}");
        }
        let mut reversed = elman::Sentences::new();
        batch.iter().rev().for_each(|sentence| reversed.push(sentence.words, sentence.labels).unwrap());
        let expected: Vec<u32> = alone.into_iter().rev().flatten().collect();
        assert_eq!(labels_of(&mut *tagger, reversed.batch()), expected, "{case}: reversed");
    });
}

/// Sequences with everything that goes backwards through them.
#[derive(Clone)]
struct Pack<T> {
    rows: Array2<T>,
    lengths: Vec<usize>,
    initial: Array2<T>,
    dh: Array2<T>,
    dlast: Array2<T>,
}

impl<T: Num> Pack<T> {
    fn new(shape: LayerShape, lengths: Vec<usize>, random: &mut Random) -> Self {
        let (steps, sequences) = (lengths.iter().sum(), lengths.len());
        let states = shape.cell.states() * shape.hidden;
        Pack {
            rows: rows(steps, shape.input, random),
            initial: rows(sequences, states, random),
            dh: rows(steps, shape.hidden, random),
            dlast: rows(sequences, states, random),
            lengths,
        }
    }

    fn xs(&self) -> Sequences<'_, T> {
        let xs = Sequences::new(self.rows.view(), &self.lengths).unwrap();
        xs.starting_from(self.initial.view()).unwrap()
    }

    /// Some steps of each sequence.
    fn part(&self, steps: impl Fn(usize) -> std::ops::Range<usize>) -> Pack<T> {
        let mut start = 0;
        let mut ranges = Vec::new();
        for length in &self.lengths {
            let steps = steps(*length);
            ranges.push(start + steps.start..start + steps.end);
            start += length;
        }
        Pack {
            rows: part(&self.rows, &ranges),
            dh: part(&self.dh, &ranges),
            lengths: ranges.iter().map(|range| range.len()).collect(),
            ..self.clone()
        }
    }

    /// One sequence alone.
    fn sequence(&self, i: usize) -> Pack<T> {
        let start: usize = self.lengths[..i].iter().sum();
        let steps = start..start + self.lengths[i];
        Pack {
            rows: self.rows.slice(s![steps.clone(), ..]).to_owned(),
            dh: self.dh.slice(s![steps, ..]).to_owned(),
            initial: self.initial.slice(s![i..i + 1, ..]).to_owned(),
            dlast: self.dlast.slice(s![i..i + 1, ..]).to_owned(),
            lengths: vec![self.lengths[i]],
        }
    }

    fn run(&self, fast: &Fast, layer: &LayerParams<T>) -> Run<T>
    where
        Fast: Recurrence<T>,
    {
        let xs = self.xs();
        let trace = Recurrence::<T>::vjp(fast, layer.layer(), &xs).unwrap();
        let gradient = trace.backward(self.dh.view(), Some(self.dlast.view())).unwrap();
        Run { h: trace.h().to_owned(), last: trace.last().to_owned(), gradient }
    }
}

fn part<T: Num>(rows: &Array2<T>, ranges: &[std::ops::Range<usize>]) -> Array2<T> {
    let parts: Vec<ArrayView2<'_, T>> =
        ranges.iter().map(|range| rows.slice(s![range.clone(), ..])).collect();
    concatenate(Axis(0), &parts).unwrap()
}

struct Run<T> {
    h: Array2<T>,
    last: Array2<T>,
    gradient: RecurrenceGradient<T>,
}

impl<T: Num> Run<T> {
    /// The results of each sequence; the gradient of the layer is a sum over all.
    fn of_sequences(&self) -> Bits {
        let RecurrenceGradient { xs, initial, .. } = &self.gradient;
        let all = [("h", &self.h), ("last", &self.last), ("dxs", xs), ("dinitial", initial)];
        all.map(|(name, rows)| (name.to_string(), bits(rows))).into()
    }

    fn all(&self) -> Bits {
        [self.of_sequences(), tensors("the layer's gradient", &self.gradient.layer)].concat()
    }
}

/// Layers of every cell, with hidden sizes on both sides of vector boundaries, and with a wh that takes more than
/// 512 KiB: beyond that a step streams it.
fn each_layer<T: Num>(mut test: impl FnMut(&str, &LayerParams<T>, &mut Random)) {
    for (seed, hidden) in [1, 7, 8, 9, 15, 16, 17, 33, 384, 370].into_iter().enumerate() {
        // The large ones with a cell of one gate and with one of several.
        let cells = if hidden > 100 { &[Cell::ALL[0], Cell::Gru][..] } else { &Cell::ALL };
        for cell in cells.iter().copied() {
            let random = &mut Random::new(seed as u64);
            let shape = LayerShape { input: random.of(&SIZES), hidden, cell };
            test(&format!("{} {shape:?}", T::NAME), &params(shape, random), random);
        }
    }
}

fn lengths(sequences: usize, random: &mut Random) -> Vec<usize> {
    (0..sequences).map(|_| 1 + random.below(5)).collect()
}

fn recurrence_everywhere<T: Num>()
where
    Fast: Recurrence<T>,
{
    let groups = groups();
    each_layer::<T>(|case, layer, random| {
        // More sequences than are computed together, where the layer is small.
        let sequences = if layer.shape().hidden > 100 { 5 } else { 70 };
        let pack = Pack::new(layer.shape(), lengths(sequences, random), random);
        assert_same_everywhere(&groups, case, |fast| pack.run(fast, layer).all());
    });
}

#[test]
fn the_recurrence_has_the_same_bits_everywhere() {
    recurrence_everywhere::<f32>();
    recurrence_everywhere::<f64>();
}

fn recurrence_alone<T: Num>()
where
    Fast: Recurrence<T>,
{
    each_layer::<T>(|case, layer, random| {
        // Together the large ones read wh in panels.
        let lengths = if layer.shape().hidden > 100 {
            (0..9).map(|_| 8 + random.below(3)).collect()
        } else {
            lengths(66, random)
        };
        let sequences = lengths.len();
        let pack = Pack::new(layer.shape(), lengths, random);
        let fast = Fast::new();
        let together = pack.run(&fast, layer).of_sequences();
        let mut alone: Bits = together.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        for i in 0..sequences {
            let run = pack.sequence(i).run(&fast, layer).of_sequences();
            alone.iter_mut().zip(run).for_each(|((_, all), (_, bits))| all.extend(bits));
        }
        assert_same(&alone, &together, case);
    });
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_among_others() {
    recurrence_alone::<f32>();
    recurrence_alone::<f64>();
}

fn recurrence_cut<T: Num>()
where
    Fast: Recurrence<T>,
{
    each_layer::<T>(|case, layer, random| {
        let pack = Pack::new(layer.shape(), vec![6, 9, 7], random);
        let fast = Fast::new();
        let run = |pack: &Pack<T>| pack.run(&fast, layer);
        for pack in [pack.sequence(1), pack] {
            let whole = run(&pack);
            for cut in 1..6 {
                let (mut before, mut after) = (pack.part(|_| 0..cut), pack.part(|length| cut..length));
                let xs = before.xs();
                let states = Recurrence::<T>::forward(&fast, layer.layer(), &xs).unwrap();
                after.initial = states.last;
                let after = run(&after);
                before.dlast = after.gradient.initial;
                let before = run(&before);
                // The rows of the parts, put together again.
                let joined = |before: &Array2<T>, after: &Array2<T>| {
                    let (mut rows, mut from) = (Vec::new(), 0);
                    for (i, length) in pack.lengths.iter().enumerate() {
                        rows.push(before.slice(s![i * cut..(i + 1) * cut, ..]));
                        rows.push(after.slice(s![from..from + length - cut, ..]));
                        from += length - cut;
                    }
                    concatenate(Axis(0), &rows).unwrap()
                };
                let joined = [
                    ("h".to_string(), bits(&joined(&before.h, &after.h))),
                    ("last".to_string(), bits(&after.last)),
                    ("dxs".to_string(), bits(&joined(&before.gradient.xs, &after.gradient.xs))),
                    ("dinitial".to_string(), bits(&before.gradient.initial)),
                ];
                assert_same(&joined.into(), &whole.of_sequences(), &format!("{case}: cut at {cut}"));
            }
        }
    });
}

#[test]
fn a_sequence_that_is_cut_anywhere_has_the_bits_of_the_whole() {
    recurrence_cut::<f32>();
    recurrence_cut::<f64>();
}

#[test]
fn sequences_start_from_h0_or_from_states_of_their_own() {
    each_layer::<f32>(|case, layer, random| {
        let mut pack = Pack::new(layer.shape(), vec![3, 1, 4], random);
        pack.initial.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.layer().initial()));
        let fast = Fast::new();
        let own = pack.run(&fast, layer);
        let xs = Sequences::new(pack.rows.view(), &pack.lengths).unwrap();
        let trace = Recurrence::<f32>::vjp(&fast, layer.layer(), &xs).unwrap();
        // Everything that was in a gradient is written over.
        let nan = |rows: &Array2<f32>| rows.mapv(|_| f32::NAN);
        let RecurrenceGradient { xs: dxs, initial, layer: of_layer } = &own.gradient;
        let mut gradient =
            RecurrenceGradient { xs: nan(dxs), initial: nan(initial), layer: of_layer.map(|_| f32::NAN) };
        trace.backward_into(pack.dh.view(), Some(pack.dlast.view()), &mut gradient).unwrap();
        let h0: Vec<f32> =
            gradient.initial.columns().into_iter().map(|c| c.iter().fold(0.0, |sum, d| sum + d)).collect();
        let of_first = |of: &RecurrenceGradient<f32>| bits(&of.layer.layer().initial());
        assert_eq!(of_first(&gradient), bits(&h0), "{case}: gradient of h0");
        assert_eq!(of_first(&own.gradient), vec![0; h0.len()], "{case}: nobody starts from h0");
        gradient.layer.h0_mut().fill(0.0);
        gradient.layer.c0_mut().into_iter().for_each(|mut c0| c0.fill(0.0));
        let found = Run { h: trace.h().to_owned(), last: trace.last().to_owned(), gradient };
        assert_same(&found.all(), &own.all(), case);
    });
}
