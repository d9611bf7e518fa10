//! The meaning of the network: h0, repeated words and padding, batches, truncation, cuts, the learner, the tagger, and
//! the inputs that are refused.

mod common;

use approx::assert_abs_diff_eq;
use common::{gradient, networks, numbers, one, params, sentences, sequences};
use elman::ndarray::{Array1, Array2, ArrayView1, Axis, concatenate, s};
use elman::{
    Adam, Batch, Cell, Error, Feedback, Head, Layer, LayerParams, LayerShape, Network, Params, Recurrence,
    RecurrenceGradient, Sentences, Sequences, Shape, Update,
};
use elman_reference::Reference;

const SHAPE: Shape = Shape { vocab: 6, embed: 2, window: 3, hidden: 3, classes: 4, ..Shape::ELMAN };

/// A window of 1, so that words see no neighbours.
const NARROW: Shape = Shape { window: 1, ..SHAPE };

/// The value that each word of a narrow network feeds back.
fn fed_back(params: &Params<f64>, words: &[u32]) -> Array2<f64> {
    if params.shape().feedback == Feedback::Output {
        return Reference::new().predict(params, words).unwrap();
    }
    let rows: Vec<usize> = words.iter().map(|word| *word as usize).collect();
    let x = params.emb().select(Axis(0), &rows);
    // The last states of every start of the sentence: of an LSTM h and c.
    let last = |t: usize| {
        let x = x.slice(s![..=t, ..]).to_owned();
        Reference::new().forward(params.layer(), &sequences(&x, &[t + 1], None)).unwrap().last
    };
    let rows: Vec<Array2<f64>> = (0..words.len()).map(last).collect();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap()
}

/// The same parameters with another h0, and c0 where there is one.
fn starting_from(params: &Params<f64>, initial: ArrayView1<'_, f64>) -> Params<f64> {
    let mut params = params.clone();
    let (h0, c0) = initial.split_at(Axis(0), params.h0().len());
    params.h0_mut().assign(&h0);
    if let Some(mut to) = params.c0_mut() {
        to.assign(&c0);
    }
    params
}

#[track_caller]
fn assert_close(found: &Params<f64>, expected: &Params<f64>, allowed: f64) {
    let shape = expected.shape();
    for ((name, found), (_, expected)) in found.tensors().zip(expected.tensors()) {
        let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most <= allowed, "{}: {name} differs by {most}", shape.name());
    }
}

#[test]
fn h0_is_the_value_before_the_first_word_and_nothing_else() {
    let words = [0, 3, 1, 3, 2];
    for shape in networks(NARROW).into_iter().filter(|shape| shape.head == Head::Softmax) {
        let params = params(shape, 5);
        let s = Reference::new().predict(&params, &words).unwrap();
        assert_eq!(s.nrows(), 5, "h0 is no row of the result");
        // It stands for the value that earlier words would have left.
        let fed_back = fed_back(&params, &words);
        for t in 1..5 {
            let later = starting_from(&params, fed_back.row(t - 1));
            assert_eq!(Reference::new().predict(&later, &words[t..]).unwrap(), s.slice(s![t.., ..]));
        }
        if shape.cell.gates() > 1 {
            continue; // a GRU's h0 is a term of h[0] as well
        }
        // Its gradient is that of step 0 alone, wh · dz[0]; with one word, dz[0] is the gradient of bh.
        let (_, grad) = gradient(Reference::new(), &params, one(&[1], &[2]).batch());
        assert_abs_diff_eq!(grad.h0(), params.wh().dot(&grad.bh()).view(), epsilon = 1e-16);
        assert!(grad.h0().iter().any(|g| *g != 0.0));
        // Without wh nothing is left of h0: it is not added to any h[t].
        let mut unconnected = params.clone();
        unconnected.wh_mut().fill(0.0);
        let s = Reference::new().predict(&unconnected, &words).unwrap();
        unconnected.h0_mut().fill(100.0);
        assert_eq!(Reference::new().predict(&unconnected, &words).unwrap(), s);
    }
}

/// The last k words alone, from the value before them as a constant h0, have the same gradient; the mean over T words
/// makes it k/T of theirs.
#[test]
fn a_truncated_gradient_is_that_of_the_last_steps() {
    let (words, labels) = ([0, 3, 1, 3, 2], [0, 1, 2, 3, 1]);
    let sentence = one(&words, &labels);
    for shape in networks(NARROW) {
        let params = params(shape, 5);
        let truncated = |steps: Option<usize>| {
            gradient(Reference::new().truncate_gradient(steps), &params, sentence.batch())
        };
        let (whole_loss, whole) = truncated(None);
        let fed_back = fed_back(&params, &words);
        let s = Reference::new().predict(&params, &words).unwrap();
        for k in 1..5 {
            let last = 5 - k;
            if shape.head == Head::Crf {
                // Its probabilities are those of the whole sentence: the scores of the last words alone pass them on.
                let mut expected = s.slice(s![last.., ..]).sum_axis(Axis(0)) / 5.0;
                labels[last..].iter().for_each(|label| expected[*label as usize] -= 0.2);
                let (loss, found) = truncated(Some(k));
                assert_eq!(loss, whole_loss, "the loss is not truncated");
                assert_abs_diff_eq!(found.b(), expected.view(), epsilon = 1e-15);
                let crf = found.crf().unwrap();
                assert!(crf.start.iter().all(|v| *v == 0.0) && crf.end.iter().all(|v| *v != 0.0));
                assert_abs_diff_eq!(crf.transitions.sum(), 0.0, epsilon = 1e-15);
                continue;
            }
            let later = starting_from(&params, fed_back.row(last - 1));
            let (_, grad) = gradient(Reference::new(), &later, one(&words[last..], &labels[last..]).batch());
            let mut expected = grad.map(|g| g * k as f64 / 5.0);
            expected.h0_mut().fill(0.0);
            expected.c0_mut().into_iter().for_each(|mut c0| c0.fill(0.0));
            let (loss, found) = truncated(Some(k));
            assert_eq!(loss, whole_loss, "the loss is not truncated");
            assert_close(&found, &expected, 1e-15);
            assert_ne!(found, whole);
        }
        assert_eq!(truncated(Some(0)), (whole_loss, params.map(|_| 0.0)));
        for all in [5, 6, usize::MAX] {
            assert_eq!(truncated(Some(all)).1, whole);
        }
    }
}

/// Word 4 has the embedding of word 1. Then 1 4 and 1 1 give the same loss, and the gradient of the repeated word must
/// be the sum of the two.
#[test]
fn gradients_of_a_repeated_word_accumulate() {
    let mut params = params(SHAPE, 5);
    let row = params.emb().row(1).to_owned();
    params.emb_mut().row_mut(4).assign(&row);
    let (loss, apart) = gradient(Reference::new(), &params, one(&[1, 2, 4, 4], &[0, 1, 2, 3]).batch());
    let (same_loss, repeated) =
        gradient(Reference::new(), &params, one(&[1, 2, 1, 1], &[0, 1, 2, 3]).batch());
    assert_eq!(loss, same_loss);
    let (first, second) = (apart.emb().row(1).to_owned(), apart.emb().row(4).to_owned());
    assert!(first.iter().chain(&second).all(|g| *g != 0.0));
    assert_abs_diff_eq!(repeated.emb().row(1).to_owned(), first + second, epsilon = 1e-16);
    assert!(repeated.emb().row(4).iter().all(|g| *g == 0.0));
}

/// One word under a window of 5: the padding is there four times, and its gradient is the sum of the four parts of
/// dx = wx · dz, with dz the gradient of bh.
#[test]
fn gradients_of_the_padding_accumulate() {
    let params = params(Shape { window: 5, ..SHAPE }, 5);
    let (_, grad) = gradient(Reference::new(), &params, one(&[3], &[1]).batch());
    let dx = params.wx().dot(&grad.bh()).into_shape_with_order((5, 2)).unwrap();
    let mut expected = Array2::zeros((7, 2));
    expected.row_mut(3).assign(&dx.row(2));
    expected.row_mut(6).assign(&(dx.row(0).to_owned() + dx.row(1) + dx.row(3) + dx.row(4)));
    assert_abs_diff_eq!(grad.emb(), expected.view(), epsilon = 1e-16);
}

/// Fifty sentences of one to four words.
fn fifty() -> Sentences {
    let mut sentences = Sentences::new();
    for i in 0..50 {
        let ids = |factor: u32, limit: u32| -> Vec<u32> {
            (0..=i % 4).map(|t| (factor * i + 2 * t) % limit).collect()
        };
        sentences.push(&ids(7, 6), &ids(5, 4)).unwrap();
    }
    sentences
}

#[test]
fn the_gradient_of_a_batch_is_the_mean_over_its_sentences() {
    let all = fifty();
    for shape in networks(SHAPE) {
        let params = params(shape, 5);
        let (loss, grad) = gradient(Reference::new(), &params, all.batch());
        let (mut mean_loss, mut mean) = (0.0, params.map(|_| 0.0));
        for i in 0..50 {
            let (loss, grad) = gradient(Reference::new(), &params, all.batch().slice(i..i + 1));
            mean_loss += loss / 50.0;
            mean.as_mut_slice().iter_mut().zip(grad.as_slice()).for_each(|(mean, g)| *mean += g / 50.0);
        }
        assert_abs_diff_eq!(loss, mean_loss, epsilon = 1e-14);
        assert_close(&grad, &mean, 1e-14);
    }
}

/// Whoever computes the halves of a batch, and adds them, gets the bits of the whole: loss and gradient.
#[test]
fn a_batch_is_the_sum_of_its_halves_bit_for_bit() {
    fn by_halves(params: &Params<f64>, batch: Batch<'_>, share: f64) -> (f64, Params<f64>) {
        if let Some((left, right)) = batch.halves() {
            let (left, right) = (by_halves(params, left, share), by_halves(params, right, share));
            let mut sum = left.1;
            sum.as_mut_slice().iter_mut().zip(right.1.as_slice()).for_each(|(sum, g)| *sum += g);
            return (left.0 + right.0, sum);
        }
        let mut grad = params.map(|_| f64::NAN);
        let mut learner = Reference::new().learner(params.clone()).unwrap();
        (learner.gradient(batch, share, &mut grad).unwrap(), grad)
    }
    let all = fifty();
    for shape in networks(SHAPE) {
        let params = params(shape, 5);
        for sentences in [1, 16, 17, 33, 50] {
            let batch = all.batch().slice(0..sentences);
            let whole = gradient(Reference::new(), &params, batch);
            assert_eq!(whole, by_halves(&params, batch, 1.0 / sentences as f64), "{sentences} sentences");
        }
    }
}

#[test]
fn a_sequence_cut_anywhere_gives_the_same_bits() {
    let (x, dh) = (numbers(7, 2, 0), numbers(7, 3, 2));
    for (cell, initial) in Cell::ALL.into_iter().flat_map(|cell| [(cell, false), (cell, true)]) {
        let states = 3 * cell.states();
        let (given, dlast) = (numbers(1, states, 1), numbers(1, states, 5));
        let initial = initial.then_some(&given);
        let layer = params(LayerShape { input: 2, hidden: 3, cell }, 2);
        let xs = sequences(&x, &[7], initial);
        let whole = Reference::new().vjp(layer.layer(), &xs).unwrap();
        let gradient = whole.backward(dh.view(), Some(dlast.view())).unwrap();
        for cut in 1..7 {
            let (before, after) = (x.slice(s![..cut, ..]).to_owned(), x.slice(s![cut.., ..]).to_owned());
            let lengths = ([cut], [7 - cut]);
            let first_xs = sequences(&before, &lengths.0, initial);
            let first = Reference::new().vjp(layer.layer(), &first_xs).unwrap();
            let last_of_first = first.last().to_owned();
            let second_xs = sequences(&after, &lengths.1, Some(&last_of_first));
            let second = Reference::new().vjp(layer.layer(), &second_xs).unwrap();
            assert_eq!(concatenate![Axis(0), first.h(), second.h()], whole.h(), "{cell}, cut at {cut}");
            assert_eq!(second.last(), whole.last());

            let by_second = second.backward(dh.slice(s![cut.., ..]), Some(dlast.view())).unwrap();
            let by_first = first.backward(dh.slice(s![..cut, ..]), Some(by_second.initial.view())).unwrap();
            assert_eq!(concatenate![Axis(0), by_first.xs, by_second.xs], gradient.xs, "{cell}, cut at {cut}");
            assert_eq!(by_first.initial, gradient.initial);
            assert_eq!(by_first.layer.h0(), gradient.layer.h0());
            assert!(by_second.layer.h0().iter().all(|g| *g == 0.0), "it did not start from h0");
        }
    }
}

/// Each sequence of a pack is as if it were alone, and truncated by itself: the first word of the first one counts as
/// constant, and the second one is as short as the truncation.
#[test]
fn packed_sequences_do_not_see_each_other() {
    fn backward<'a>(
        network: Reference,
        layer: &'a LayerParams<f64>,
        xs: &'a Sequences<'a, f64>,
        dh: &Array2<f64>,
    ) -> (Array2<f64>, RecurrenceGradient<f64>) {
        let trace = network.vjp(layer.layer(), xs).unwrap();
        (trace.h().to_owned(), trace.backward(dh.view(), None).unwrap())
    }
    let (x, dh) = (numbers(5, 2, 0), numbers(5, 3, 2));
    for cell in Cell::ALL {
        let layer = params(LayerShape { input: 2, hidden: 3, cell }, 2);
        let network = Reference::new().truncate_gradient(2);
        let (h, found) = backward(network, &layer, &sequences(&x, &[3, 2], None), &dh);
        let part = |range: std::ops::Range<usize>, initial: Option<&Array2<f64>>| {
            let x = x.slice(s![range.clone(), ..]).to_owned();
            let dh = dh.slice(s![range.clone(), ..]).to_owned();
            backward(Reference::new(), &layer, &sequences(&x, &[range.len()], initial), &dh)
        };
        let h_0 = h.slice(s![..1, ..]).to_owned();
        let x_0 = x.slice(s![..1, ..]).to_owned();
        let state_0 = Reference::new().forward(layer.layer(), &sequences(&x_0, &[1], None)).unwrap().last;
        let ((first_h, first), (second_h, second)) = (part(1..3, Some(&state_0)), part(3..5, None));
        assert_eq!(h, concatenate![Axis(0), h_0, first_h, second_h]);
        assert_eq!(found.xs, concatenate![Axis(0), Array2::zeros((1, 2)), first.xs, second.xs]);
        assert_eq!(
            found.initial,
            concatenate![Axis(0), Array2::zeros((1, 3 * cell.states())), second.initial]
        );
        assert_eq!(found.layer.h0(), second.layer.h0());
        assert_abs_diff_eq!(
            found.layer.wx().to_owned(),
            &first.layer.wx() + &second.layer.wx(),
            epsilon = 1e-15
        );
        assert_abs_diff_eq!(
            found.layer.wh().to_owned(),
            &first.layer.wh() + &second.layer.wh(),
            epsilon = 1e-15
        );
    }
}

/// The step by its definition: the gradient's own numbers, then the norms of the rows that changed.
#[test]
fn a_step_descends_and_then_normalises_the_words_of_the_batch() {
    let batch = sentences(&[(&[1, 4, 1], &[0, 3, 1]), (&[2], &[2])]);
    for shape in networks(SHAPE).into_iter().chain([NARROW]) {
        let start = params(shape, 5);
        let mut learner = Reference::new().learner(start.clone()).unwrap();
        let mut expected = start.clone();
        for step in 0..3 {
            let (loss, grad) = gradient(Reference::new(), &expected, batch.batch());
            expected.as_mut_slice().iter_mut().zip(grad.as_slice()).for_each(|(p, g)| *p -= 0.1 * g);
            let padding = if shape.window > 1 { &[6][..] } else { &[] };
            for word in [1, 2, 4].iter().chain(padding) {
                let mut emb = expected.emb_mut();
                let mut row = emb.row_mut(*word);
                row /= row.iter().map(|e| e * e).sum::<f64>().sqrt();
            }
            let found = learner.step(batch.batch(), &mut Update::sgd(0.1)).unwrap();
            assert_eq!(found, loss, "the loss before step {step}");
            assert_close(&learner.params(), &expected, 1e-15);
        }
        for word in [0, 3, 5].into_iter().chain((shape.window == 1).then_some(6)) {
            assert_eq!(learner.params().emb().row(word), start.emb().row(word), "it is not in the batch");
        }
    }
}

#[test]
fn a_step_is_the_gradient_and_its_application() {
    let all = fifty();
    for shape in networks(SHAPE) {
        let learner = || Reference::new().learner(params(shape, 5)).unwrap();
        let (mut at_once, mut in_two, mut grad) = (learner(), learner(), params(shape, 0));
        for range in [0..20, 20..21, 21..50] {
            let batch = all.batch().slice(range);
            let loss = in_two.gradient(batch, 1.0 / batch.len() as f64, &mut grad).unwrap();
            in_two.apply(&grad, batch, &mut Update::sgd(0.1)).unwrap();
            assert_eq!(at_once.step(batch, &mut Update::sgd(0.1)).unwrap(), loss);
            assert_eq!(at_once.params(), in_two.params());
        }
    }
}

#[test]
fn an_embedding_of_zeros_is_not_normalised() {
    let mut start = params(SHAPE, 5);
    start.emb_mut().row_mut(1).fill(0.0);
    start.wx_mut().fill(0.0); // nothing reaches the embeddings, in the first step
    let mut learner = Reference::new().learner(start).unwrap();
    learner.step(one(&[1, 2], &[0, 1]).batch(), &mut Update::sgd(0.1)).unwrap();
    let found = learner.params();
    assert!(found.emb().row(1).iter().all(|e| *e == 0.0));
    assert_abs_diff_eq!(found.emb().row(2).dot(&found.emb().row(2)), 1.0, epsilon = 1e-15);
}

#[test]
fn steps_lower_the_loss_until_the_tagger_has_learned_the_labels() {
    let batch = sentences(&[(&[1, 4, 1, 0], &[0, 3, 1, 2]), (&[2, 4], &[2, 0])]);
    for shape in networks(SHAPE) {
        let mut learner = Reference::new().learner(params(shape, 5).map(|v| v as f32)).unwrap();
        let mut step = || learner.step(batch.batch(), &mut Update::sgd(0.3)).unwrap();
        let losses: Vec<f32> = (0..400).map(|_| step()).collect();
        assert!(losses[0] > 1.0 && losses[399] < 0.1, "{}: {} {}", shape.name(), losses[0], losses[399]);
        let mut labels = [9; 6];
        Reference::new().tagger(&learner.params()).unwrap().label_all(batch.batch(), &mut labels).unwrap();
        assert_eq!(labels, batch.batch().labels());
    }
}

#[test]
fn labels_of_several_sentences_are_those_of_each_and_a_fork_gives_the_same() {
    let all = fifty();
    for shape in networks(SHAPE) {
        let params = params(shape, 5);
        let mut tagger = Reference::new().tagger(&params).unwrap();
        let mut labels = vec![9; all.batch().words().len()];
        tagger.label_all(all.batch(), &mut labels).unwrap();
        let mut expected = labels.iter();
        for sentence in all.batch().iter() {
            let mut one = vec![9; sentence.words.len()];
            tagger.label(sentence.words, &mut one).unwrap();
            let s = tagger.scores(sentence.words).unwrap();
            assert_eq!(s, Reference::new().predict(&params, sentence.words).unwrap());
            for (s, label) in s.rows().into_iter().zip(one) {
                let is_best = s.iter().all(|p| *p <= s[label as usize]);
                assert!(is_best || shape.head == Head::Crf, "{label} is not the most probable: {s}");
                assert_eq!(Some(&label), expected.next());
            }
        }
        let mut fork = tagger.fork();
        drop(tagger);
        let (all, places) = (all.clone(), labels.len());
        let by_fork = std::thread::spawn(move || {
            let mut labels = vec![9; places];
            fork.label_all(all.batch(), &mut labels).map(|()| labels)
        });
        assert_eq!(by_fork.join().unwrap().unwrap(), labels);
    }
}

#[test]
fn of_equally_probable_labels_the_first_wins() {
    let mut params = params(SHAPE, 5);
    params.w_mut().fill(0.0);
    params.b_mut().assign(&Array1::from(vec![0.0, 1.0, 1.0, 0.5]));
    let mut labels = [9; 3];
    Reference::new().tagger(&params).unwrap().label(&[0, 5, 2], &mut labels).unwrap();
    assert_eq!(labels, [1; 3]);
}

fn message<R>(result: Result<R, Error>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn refused_batches_leave_the_gradient_and_the_parameters_as_they_were() {
    let start = params(SHAPE, 5);
    let good = one(&[1, 2], &[0, 1]);
    let bad = [
        (Sentences::new(), "batch: expected at least 1 sentence, found 0"),
        (one(&[1, 2], &[]), "labels: expected 2, one for each word, found 0"),
        (
            sentences(&[(&[1], &[0]), (&[1, 6], &[0, 1])]),
            "word at position 1: expected an id below 6, found 6",
        ),
        (sentences(&[(&[1], &[0]), (&[1], &[4])]), "label at position 0: expected an id below 4, found 4"),
    ];
    let mut learner = Reference::new().learner(start.clone()).unwrap();
    let sevens = start.map(|_| 7.0);
    let mut grad = sevens.clone();
    let sgd = &mut Update::sgd(0.1);
    for (batch, expected) in &bad {
        assert_eq!(message(Reference::new().gradient(&start, batch.batch(), &mut grad)), *expected);
        assert_eq!(message(learner.gradient(batch.batch(), 1.0, &mut grad)), *expected);
        assert_eq!(message(learner.apply(&sevens, batch.batch(), sgd)), *expected);
        assert_eq!(message(learner.step(batch.batch(), sgd)), *expected);
    }
    let mut other = Params::zeros(Shape { feedback: Feedback::Output, ..SHAPE }).unwrap();
    let of_shape = "parameters: expected Shape";
    assert!(message(learner.gradient(good.batch(), 1.0, &mut other)).starts_with(of_shape));
    assert!(message(learner.apply(&other, good.batch(), sgd)).starts_with(of_shape));
    let endless = &mut Update::sgd(f64::INFINITY);
    let rate = "learning rate: expected a finite number, found inf";
    assert_eq!(message(learner.apply(&sevens, good.batch(), endless)), rate);
    assert_eq!(message(learner.step(good.batch(), endless)), rate);
    assert_eq!(grad, sevens);
    assert!(other.as_slice().iter().all(|g| *g == 0.0));
    assert_eq!(learner.params(), start);
}

#[test]
fn refused_sentences_leave_the_labels_as_they_were() {
    let params = params(SHAPE, 5);
    let mut tagger = Reference::new().tagger(&params).unwrap();
    let word = "word at position 1: expected an id below 6, found 6";
    assert_eq!(message(Reference::new().predict(&params, &[1, 6])), word);
    assert_eq!(message(tagger.scores(&[1, 6])), word);
    assert_eq!(message(tagger.scores(&[])), "sentence: expected at least 1 word, found 0");
    let mut labels = [9; 3];
    let two = sentences(&[(&[1], &[]), (&[1, 6], &[])]);
    assert_eq!(message(tagger.label_all(two.batch(), &mut labels)), word);
    let places = "places for labels: expected 2, one for each word, found 3";
    assert_eq!(message(tagger.label(&[1, 2], &mut labels)), places);
    assert_eq!(message(tagger.label(&[], &mut labels)), "sentence 0: expected at least 1 word, found 0");
    assert_eq!(labels, [9; 3]);
    tagger.label_all(Sentences::new().batch(), &mut []).unwrap();
}

#[test]
fn refused_sequences_leave_the_gradient_as_it_was() {
    let network = Reference::new();
    let params = params(LayerShape { input: 2, hidden: 3, cell: Cell::Gru }, 1);
    fn refused<'a>(layer: Layer<'a, f64>, xs: &'a Sequences<'a, f64>, expected: &str) {
        assert_eq!(message(Reference::new().forward(layer, xs)), expected);
        assert_eq!(message(Reference::new().vjp(layer, xs)), expected);
    }
    let (x, wide) = (numbers(4, 2, 0), numbers(4, 3, 0));
    let xs = sequences(&x, &[3, 1], None);
    let width = "width of the sequences: expected 2, the rows of wx, found 3";
    refused(params.layer(), &sequences(&wide, &[4], None), width);
    let narrow = numbers(2, 2, 0);
    let width = "width of the initial states: expected 3, the hidden units, found 2";
    refused(params.layer(), &sequences(&x, &[3, 1], Some(&narrow)), width);
    let jordan = common::params(Shape { feedback: Feedback::Output, ..NARROW }, 1);
    refused(jordan.layer(), &xs, "rows of wh: expected 3, one for each hidden unit, found 4");

    let trace = network.vjp(params.layer(), &xs).unwrap();
    let mut gradient = RecurrenceGradient { layer: params.clone(), ..Default::default() };
    let (dh, dlast) = (numbers(4, 3, 0), numbers(2, 3, 0));
    for (dh, dlast, expected) in [
        (numbers(3, 3, 0).view(), None, "dh: expected [4, 3], found [3, 3]"),
        (numbers(3, 4, 0).t(), None, "dh: expected row-major layout, found other strides"),
        (dh.view(), Some(dh.view()), "dlast: expected [2, 3], found [4, 3]"),
        (dh.view(), Some(numbers(3, 2, 0).t()), "dlast: expected row-major layout, found other strides"),
    ] {
        assert_eq!(message(trace.backward(dh, dlast)), expected);
        assert_eq!(message(trace.backward_into(dh, dlast, &mut gradient)), expected);
    }
    assert_eq!((gradient.xs.len(), &gradient.layer), (0, &params));
    trace.backward_into(dh.view(), Some(dlast.view()), &mut gradient).unwrap();
    assert_ne!(gradient.layer, params);
}

#[test]
fn it_is_called_reference() {
    assert_eq!(Network::<f32>::name(&Reference::new()), "reference");
}

/// The parameters after three steps of `torch.optim.AdamW` 2.15 in `f64`, with the gradient scaled to the norm 2 before
/// each, and weight decay for the matrices alone. The last row of the embeddings, the padding, is in no window.
#[test]
fn adam_has_the_numbers_of_pytorch() {
    const EXPECTED: [f64; 24] = [
        -0.597223357714667,
        0.2473857293569694,
        -0.25127804505096496,
        0.6431819367566586,
        0.125,
        -0.375,
        0.5050710983418799,
        -0.02201997936898083,
        -0.47473648902045684,
        0.3574843972995214,
        -0.13060731603778095,
        -0.6087819714603353,
        0.22967747777139588,
        -0.22334723308966695,
        0.6212618539819693,
        0.12259807957403512,
        -0.35382106224334137,
        0.4817857396987905,
        -0.010381847733223301,
        -0.4934084314572734,
        0.3529503543776876,
        -0.10120620056464345,
        -0.6413994537292085,
        0.24399926943048855,
    ];
    let shape = Shape { vocab: 2, embed: 2, window: 1, hidden: 2, classes: 2, ..Shape::ELMAN };
    let filled = |f: &dyn Fn(usize) -> usize, shift: f64, by: f64| {
        let mut params = Params::<f64>::zeros(shape).unwrap();
        params.as_mut_slice().iter_mut().enumerate().for_each(|(i, v)| *v = (f(i) as f64 - shift) / by);
        params
    };
    let mut learner = Reference::new().learner(filled(&|i| 7 * i % 11, 5.0, 8.0)).unwrap();
    let mut update = Update::Adam(Adam {
        beta1: 0.8,
        beta2: 0.95,
        epsilon: 1e-3,
        weight_decay: 0.1,
        clip: Some(2.0),
        ..Adam::new(0.01, shape).unwrap()
    });
    for step in 0..3 {
        let grad = filled(&|i| (5 * i + 3 * step) % 13, 6.0, 4.0);
        learner.apply(&grad, one(&[0, 1], &[0, 1]).batch(), &mut update).unwrap();
    }
    for (i, (found, expected)) in learner.params().as_slice().iter().zip(EXPECTED).enumerate() {
        assert!((found - expected).abs() < 1e-13, "{i}: {found}, expected {expected}");
    }
}
