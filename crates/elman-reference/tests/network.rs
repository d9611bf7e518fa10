//! What the network means: h0, repeated words and padding, truncation, the learner, the tagger, the doors.

use std::slice::from_ref;

use approx::assert_abs_diff_eq;
use elman::ndarray::{Array1, Array2, Axis, s};
use elman::{Cell, Error, Feedback, Labelled, Network, Params, Recurrence, Sentence, Sequences, Shape};
use elman_reference::Reference;

const SHAPE: Shape =
    Shape { vocab: 6, embed: 2, window: 3, hidden: 3, classes: 4, feedback: Feedback::Hidden };
const JORDAN: Shape = Shape { feedback: Feedback::Output, ..SHAPE };

fn params(shape: Shape) -> Params<f64> {
    let mut params = Params::init(shape, 5).unwrap().map(|v: f64| 3.0 * v);
    for (i, v) in params.bh.iter_mut().chain(&mut params.b).chain(&mut params.h0).enumerate() {
        *v = 0.2 - 0.07 * i as f64;
    }
    params
}

fn sentence(words: &[usize]) -> Sentence {
    Sentence::new(words.to_vec()).unwrap()
}

fn labelled(words: &[usize], labels: &[usize]) -> Labelled {
    Labelled::new(sentence(words), labels.to_vec()).unwrap()
}

fn gradient(network: Reference, params: &Params<f64>, batch: &[Labelled]) -> (f64, Params<f64>) {
    let mut grad = params.map(|_| f64::NAN);
    let loss = network.gradient(params, batch, &mut grad).unwrap();
    (loss, grad)
}

/// The largest difference of two gradients, with its tensor.
fn difference(a: &Params<f64>, b: &Params<f64>) -> (&'static str, f64) {
    let per_tensor =
        a.tensors().into_iter().zip(b.tensors()).map(|((name, a), (_, b))| {
            (name, a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
        });
    per_tensor.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

#[test]
fn h0_is_the_state_before_the_first_word_and_nothing_else() {
    let mut params = params(SHAPE);
    let words = sentence(&[1, 2, 3]);
    let before = Reference::new().predict(&params, &words).unwrap();
    assert_eq!(before.nrows(), 3, "h0 is no row of the result");

    // Without wh nothing is left of h0: it is not added to any h[t].
    let mut unconnected = params.clone();
    unconnected.wh.fill(0.0);
    let s = Reference::new().predict(&unconnected, &words).unwrap();
    unconnected.h0.fill(100.0);
    assert_eq!(Reference::new().predict(&unconnected, &words).unwrap(), s);
    let (_, grad) = gradient(Reference::new(), &unconnected, &[labelled(&[1, 2, 3], &[0, 1, 2])]);
    assert!(grad.h0.iter().all(|g| *g == 0.0));

    // With it, h0 stands for the state that an earlier word would have left. (A window of 1, so that the
    // words see no neighbours.)
    let shape = Shape { window: 1, ..SHAPE };
    let narrow = self::params(shape);
    let cell =
        Cell { wx: narrow.wx.clone(), wh: narrow.wh.clone(), bh: narrow.bh.clone(), h0: narrow.h0.clone() };
    let x = narrow.emb.select(Axis(0), &[1]);
    let h = Reference::new().forward(&cell, &Sequences::new(x.view(), &[1]).unwrap()).unwrap();
    let later = Params { h0: h.row(0).to_owned(), ..narrow.clone() };
    let whole = Reference::new().predict(&narrow, &sentence(&[1, 2, 3])).unwrap();
    assert_eq!(Reference::new().predict(&later, &sentence(&[2, 3])).unwrap(), whole.slice(s![1.., ..]));

    // Training changes it, and only then: its gradient is that of step 0 alone, wh · dz[0]; with one word,
    // dz[0] is the gradient of bh.
    let (_, grad) = gradient(Reference::new(), &params, &[labelled(&[1], &[2])]);
    let expected = params.wh.dot(&grad.bh);
    assert_abs_diff_eq!(grad.h0, expected, epsilon = 1e-16);
    assert!(grad.h0.iter().all(|g| *g != 0.0));
    params.h0 -= &grad.h0;
    assert_ne!(Reference::new().predict(&params, &words).unwrap(), before);
}

/// Word 4 is given the embedding of word 1. Then 1 1 and 1 4 are the same network, and the gradient of the
/// repeated word must be the sum of the two.
#[test]
fn repeated_words_accumulate() {
    let mut params = params(SHAPE);
    let row = params.emb.row(1).to_owned();
    params.emb.row_mut(4).assign(&row);
    let (loss, apart) = gradient(Reference::new(), &params, &[labelled(&[1, 2, 4, 4], &[0, 1, 2, 3])]);
    let (same_loss, repeated) =
        gradient(Reference::new(), &params, &[labelled(&[1, 2, 1, 1], &[0, 1, 2, 3])]);
    assert_eq!(loss, same_loss);
    let (first, second) = (apart.emb.row(1), apart.emb.row(4));
    assert!(first.iter().chain(&second).all(|g| *g != 0.0));
    assert_abs_diff_eq!(repeated.emb.row(1), &first + &second, epsilon = 1e-16);
    assert!(repeated.emb.row(4).iter().all(|g| *g == 0.0));
}

/// One word under a window of 5: the padding is there four times, and its gradient is the sum of the four
/// parts of dx = wx · dz, with dz the gradient of bh.
#[test]
fn the_padding_row_accumulates() {
    let params = params(Shape { window: 5, ..SHAPE });
    let (_, grad) = gradient(Reference::new(), &params, &[labelled(&[3], &[1])]);
    let dx = params.wx.dot(&grad.bh).into_shape_with_order((5, 2)).unwrap();
    let padding = dx.row(0).to_owned() + dx.row(1) + dx.row(3) + dx.row(4);
    for word in 0..7 {
        let expected = match word {
            3 => dx.row(2).to_owned(),
            6 => padding.clone(),
            _ => Array1::zeros(2),
        };
        assert_abs_diff_eq!(grad.emb.row(word), expected, epsilon = 1e-16);
    }
}

#[test]
fn a_batch_is_the_mean_over_its_sentences() {
    let params = params(SHAPE);
    let batch = [labelled(&[0, 1, 2], &[0, 1, 2]), labelled(&[5], &[3]), labelled(&[5, 5], &[1, 1])];
    let (loss, grad) = gradient(Reference::new(), &params, &batch);
    let mut mean = params.map(|_| 0.0);
    let mut mean_loss = 0.0;
    for one in &batch {
        let (loss, grad) = gradient(Reference::new(), &params, from_ref(one));
        mean_loss += loss / 3.0;
        for ((_, mut mean), (_, grad)) in mean.tensors_mut().into_iter().zip(grad.tensors()) {
            mean.scaled_add(1.0 / 3.0, &grad);
        }
    }
    assert_abs_diff_eq!(loss, mean_loss, epsilon = 1e-15);
    let (name, most) = difference(&grad, &mean);
    assert!(most < 1e-15, "{name}: {most}");
}

/// s0 stands for the output that an earlier word would have left, at the first word alone; and so does the last of
/// the words that a truncated gradient leaves out. (A window of 1, so that the words see no neighbours.)
#[test]
fn s0_is_the_output_before_the_first_word_and_nothing_else() {
    let params = params(Shape { window: 1, ..JORDAN });
    let (words, labels) = ([0, 3, 1, 3, 2], [0, 1, 2, 3, 1]);
    let s = Reference::new().predict(&params, &sentence(&words)).unwrap();
    assert_eq!(s.dim(), (5, 4), "s0 is no row of the result");
    let batch = [labelled(&words, &labels)];
    let (whole_loss, whole) = gradient(Reference::new(), &params, &batch);
    for k in 1..5 {
        let last = 5 - k;
        let suffix = Params { h0: s.row(last - 1).to_owned(), ..params.clone() };
        let after = Reference::new().predict(&suffix, &sentence(&words[last..])).unwrap();
        assert_eq!(after, s.slice(s![last.., ..]));
        let (_, expected) = gradient(Reference::new(), &suffix, &[labelled(&words[last..], &labels[last..])]);
        let mut expected = expected.map(|g| g * k as f64 / 5.0);
        expected.h0.fill(0.0);
        let (loss, truncated) = gradient(Reference::new().truncate_gradient(k), &params, &batch);
        assert_eq!(loss, whole_loss, "the loss is not truncated");
        let (name, most) = difference(&truncated, &expected);
        assert!(most < 1e-15, "{k} steps, {name}: {most}");
        assert!(difference(&truncated, &whole).1 > 1e-4, "{k} steps are not all");
    }
    assert_eq!(gradient(Reference::new().truncate_gradient(5), &params, &batch).1, whole);

    // With one word, the gradient before its sigmoid is that of bh.
    let (_, grad) = gradient(Reference::new(), &params, &[labelled(&[1], &[2])]);
    assert_abs_diff_eq!(grad.h0, params.wh.dot(&grad.bh), epsilon = 1e-16);
    assert!(grad.h0.iter().all(|g| *g != 0.0));
    // Without wh nothing is left of s0.
    let mut unconnected = params.clone();
    unconnected.wh.fill(0.0);
    let s = Reference::new().predict(&unconnected, &sentence(&words)).unwrap();
    unconnected.h0.fill(100.0);
    assert_eq!(Reference::new().predict(&unconnected, &sentence(&words)).unwrap(), s);
}

/// The last k words alone, from the state before them as a constant h0, have the same gradient; the mean
/// over T words makes it k/T of theirs. (A window of 1, so that the last words see no others.)
#[test]
fn a_truncated_gradient_is_that_of_the_last_steps() {
    let shape = Shape { window: 1, ..SHAPE };
    let params = params(shape);
    let (words, labels) = ([0, 3, 1, 3, 2], [0, 1, 2, 3, 1]);
    let batch = [labelled(&words, &labels)];
    let (whole_loss, whole) = gradient(Reference::new(), &params, &batch);

    let cell =
        Cell { wx: params.wx.clone(), wh: params.wh.clone(), bh: params.bh.clone(), h0: params.h0.clone() };
    let x = params.emb.select(Axis(0), &words);
    let h = Reference::new().forward(&cell, &Sequences::new(x.view(), &[5]).unwrap()).unwrap();
    for k in 1..5 {
        let last = 5 - k;
        let suffix = Params { h0: h.row(last - 1).to_owned(), ..params.clone() };
        let (_, expected) = gradient(Reference::new(), &suffix, &[labelled(&words[last..], &labels[last..])]);
        let mut expected = expected.map(|g| g * k as f64 / 5.0);
        expected.h0.fill(0.0);
        let (loss, truncated) = gradient(Reference::new().truncate_gradient(k), &params, &batch);
        assert_eq!(loss, whole_loss, "the loss is not truncated");
        let (name, most) = difference(&truncated, &expected);
        assert!(most < 1e-15, "{k} steps, {name}: {most}");
        assert!(difference(&truncated, &whole).1 > 1e-4, "{k} steps are not all");
    }
    for all in [Some(5), Some(6), Some(usize::MAX), None] {
        assert_eq!(gradient(Reference::new().truncate_gradient(all), &params, &batch).1, whole);
    }
    let (loss, none) = gradient(Reference::new().truncate_gradient(0), &params, &batch);
    assert_eq!((loss, none), (whole_loss, params.map(|_| 0.0)));

    // The recurrence alone, truncated in each sequence by itself: the first two words of the first one are
    // constants, the second sequence is as short as the truncation.
    let xs = Sequences::new(x.view(), &[3, 2]).unwrap();
    let dh = Array2::from_shape_fn((5, 3), |(i, j)| 1.0 + i as f64 - j as f64 / 3.0);
    let found = Reference::new().truncate_gradient(2).vjp(&cell, &xs).unwrap().backward(dh.view()).unwrap();
    let part = |h0: Array1<f64>, range: std::ops::Range<usize>| {
        let cell = Cell { h0, ..cell.clone() };
        let x = x.slice(s![range.clone(), ..]).to_owned();
        let lengths = [range.len()];
        let xs = Sequences::new(x.view(), &lengths).unwrap();
        Reference::new().vjp(&cell, &xs).unwrap().backward(dh.slice(s![range, ..])).unwrap()
    };
    let (first, second) = (part(h.row(0).to_owned(), 1..3), part(cell.h0.clone(), 3..5));
    assert!(found.xs.row(0).iter().all(|g| *g == 0.0));
    assert_eq!(found.xs.slice(s![1..3, ..]), first.xs);
    assert_eq!(found.xs.slice(s![3..5, ..]), second.xs);
    let close = |found: &Array2<f64>, expected: Array2<f64>| {
        assert_abs_diff_eq!(*found, expected, epsilon = 1e-14);
    };
    close(&found.cell.wx, first.cell.wx + second.cell.wx);
    close(&found.cell.wh, first.cell.wh + second.cell.wh);
    assert_eq!(found.cell.h0, second.cell.h0);
}

/// The step by its definition: the gradient's own numbers, then the norms of the rows that changed.
#[test]
fn a_step_updates_and_then_normalises_what_changed() {
    let batch = [labelled(&[1, 4, 1], &[0, 3, 1]), labelled(&[2], &[2])];
    for window in [1, 3] {
        let start = params(Shape { window, ..SHAPE });
        let mut learner = Reference::new().learner(start.clone()).unwrap();
        let mut expected = start.clone();
        for step in 0..3 {
            let (loss, grad) = gradient(Reference::new(), &expected, &batch);
            for ((_, mut tensor), (_, grad)) in expected.tensors_mut().into_iter().zip(grad.tensors()) {
                tensor.zip_mut_with(&grad, |p, g| *p -= 0.1 * g);
            }
            let padding = if window > 1 { vec![6] } else { vec![] };
            for word in [1, 2, 4].into_iter().chain(padding) {
                let mut row = expected.emb.row_mut(word);
                let norm = row.iter().map(|e| e * e).sum::<f64>().sqrt();
                row /= norm;
            }
            assert_eq!(learner.step(&batch, 0.1).unwrap(), loss, "the loss before step {step}");
            let (name, most) = difference(&learner.params(), &expected);
            assert!(most < 1e-15, "window {window}, step {step}, {name}: {most}");
        }
        let found = learner.params();
        for word in 0..7 {
            let changed = [1, 2, 4].contains(&word) || (word == 6 && window > 1);
            assert_eq!(found.emb.row(word) != start.emb.row(word), changed, "window {window}, row {word}");
        }
    }
}

#[test]
fn a_row_of_zeros_is_left_alone() {
    let mut start = params(SHAPE);
    start.emb.row_mut(1).fill(0.0);
    start.wx.fill(0.0); // nothing reaches the embeddings, in the first step
    let mut learner = Reference::new().learner(start.clone()).unwrap();
    learner.step(&[labelled(&[1, 2], &[0, 1])], 0.1).unwrap();
    let found = learner.params();
    assert!(found.emb.row(1).iter().all(|e| *e == 0.0));
    let norm = found.emb.row(2).iter().map(|e| e * e).sum::<f64>().sqrt();
    assert_abs_diff_eq!(norm, 1.0, epsilon = 1e-15);
}

#[test]
fn steps_lower_the_loss() {
    let batch = [labelled(&[1, 4, 1, 0], &[0, 3, 1, 2]), labelled(&[2, 4], &[2, 0])];
    let mut learner = Reference::new().learner(params(SHAPE).map(|v| v as f32)).unwrap();
    let losses: Vec<f32> = (0..300).map(|_| learner.step(&batch, 0.5).unwrap()).collect();
    assert!(losses[0] > 1.0 && losses[299] < 0.1, "{} {}", losses[0], losses[299]);
    let mut tagger = Reference::new().tagger(&learner.params()).unwrap();
    assert_eq!(
        tagger.label_all(&[sentence(&[1, 4, 1, 0]), sentence(&[2, 4])]).unwrap(),
        [vec![0, 3, 1, 2], vec![2, 0]]
    );
}

#[test]
fn the_tagger_takes_the_first_of_the_most_probable_labels() {
    let mut params = params(SHAPE);
    let words = sentence(&[0, 5, 2]);
    let s = Reference::new().predict(&params, &words).unwrap();
    let mut labels = vec![99; 7];
    Reference::new().tagger(&params).unwrap().label(&words, &mut labels).unwrap();
    for (t, label) in labels.iter().enumerate() {
        assert!(s.row(t).iter().all(|p| *p <= s[[t, *label]]), "{labels:?} {s}");
    }
    assert_eq!(labels.len(), 3, "the old content is replaced");

    params.w.fill(0.0);
    params.b = Array1::from(vec![0.0, 1.0, 1.0, 0.5]);
    Reference::new().tagger(&params).unwrap().label(&words, &mut labels).unwrap();
    assert_eq!(labels, [1, 1, 1]);
}

fn message<R>(result: Result<R, Error>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn every_door_names_what_does_not_fit() {
    let network = Reference::new();
    let good = params(SHAPE);
    let bad = Params { wh: Array2::zeros((3, 2)), ..good.clone() };
    let words = sentence(&[1, 2]);
    let batch = [labelled(&[1, 2], &[0, 1])];
    let tensor = "wh: expected [3, 3], found [3, 2]";
    let word = "word at position 1: expected an id below 6, found 6";
    let label = "label at position 0: expected an id below 4, found 4";
    let empty = "batch: expected at least 1 sentence, found 0";

    assert_eq!(message(network.predict(&bad, &words)), tensor);
    assert_eq!(message(network.predict(&good, &sentence(&[1, 6]))), word);

    let bad_batches = [
        (vec![], empty),
        (vec![batch[0].clone(), labelled(&[1, 6], &[0, 1])], word),
        (vec![batch[0].clone(), labelled(&[1], &[4])], label),
    ];
    let mut grad = good.map(|_| 7.0);
    assert_eq!(message(network.gradient(&bad, &batch, &mut grad)), tensor);
    for (bad_batch, expected) in &bad_batches {
        assert_eq!(message(network.gradient(&good, bad_batch, &mut grad)), *expected);
    }
    assert_eq!(grad, good.map(|_| 7.0), "a refused call leaves the gradient as it was");
    let mut other = Params::zeros(Shape { classes: 3, ..SHAPE }).unwrap();
    assert!(message(network.gradient(&good, &batch, &mut other)).starts_with("parameters: expected Shape"));
    let mut broken = bad.clone();
    assert_eq!(message(network.gradient(&good, &batch, &mut broken)), tensor);

    assert_eq!(message(network.learner(bad.clone())), tensor);
    let mut learner = network.learner(good.clone()).unwrap();
    for (bad_batch, expected) in &bad_batches {
        assert_eq!(message(learner.step(bad_batch, 0.1)), *expected);
    }
    assert_eq!(learner.params(), good, "a refused step changes nothing");

    assert_eq!(message(network.tagger(&bad)), tensor);
    let mut tagger = network.tagger(&good).unwrap();
    let mut labels = vec![3, 3, 3];
    assert_eq!(message(tagger.label(&sentence(&[1, 6]), &mut labels)), word);
    assert_eq!(labels, [3, 3, 3], "a refused sentence leaves the labels as they were");
    assert_eq!(message(tagger.label_all(&[words, sentence(&[1, 6])])), word);
}

#[test]
fn every_door_of_the_recurrence_names_what_does_not_fit() {
    let network = Reference::new();
    let cell = Cell::<f64>::zeros(2, 3);
    let x = Array2::zeros((4, 2));
    let xs = Sequences::new(x.view(), &[3, 1]).unwrap();
    let bad = Cell { h0: Array1::zeros(2), ..cell.clone() };
    let tensor = "h0: expected [3], found [2]";
    assert_eq!(message(network.forward(&bad, &xs)), tensor);
    assert_eq!(message(network.vjp(&bad, &xs)), tensor);
    let wide = Array2::zeros((4, 3));
    let wide = Sequences::new(wide.view(), &[4]).unwrap();
    let width = "width of the sequences: expected 2, the rows of wx, found 3";
    assert_eq!(message(network.forward(&cell, &wide)), width);
    assert_eq!(message(network.vjp(&cell, &wide)), width);

    let trace = network.vjp(&cell, &xs).unwrap();
    assert_eq!(trace.h(), Array2::from_elem((4, 3), 0.5));
    for (dim, found) in [((4, 2), "[4, 2]"), ((3, 3), "[3, 3]"), ((0, 0), "[0, 0]")] {
        let dh = Array2::zeros(dim);
        assert_eq!(message(trace.backward(dh.view())), format!("dh: expected [4, 3], found {found}"));
    }
    let columns = Array2::zeros((3, 4));
    assert_eq!(message(trace.backward(columns.t())), "dh: expected row-major layout, found other strides");
}

#[test]
fn it_is_called_reference() {
    assert_eq!(Network::<f32>::name(&Reference::new()), "reference");
}
