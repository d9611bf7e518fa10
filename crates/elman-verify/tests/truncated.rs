//! `truncate_gradient`, against dual numbers that come into being at the first step that counts, and against
//! PyTensor's own truncation.

use elman::ndarray::{Array2, Axis, Slice};
use elman::{Cell, Feedback, Labelled, Network, Params, Recurrence, Sentence, Sequences, Shape};
use elman_reference::Reference;
use elman_verify::strategies::Problem;
use num_dual::Dual64;

/// The loss as a function of the parameters during the last `k` steps alone: the state before them, and the
/// losses of the steps before, are constants.
fn detached_loss(
    exact: &Params<f64>,
    p: &Params<Dual64>,
    labelled: &Labelled,
    k: usize,
    shape: &Shape,
) -> Dual64 {
    let words = labelled.labels().len();
    let k = k.min(words);
    let row = |t: usize, emb: &Array2<Dual64>| -> Vec<Dual64> {
        labelled.sentence().context(t, shape).flat_map(|word| emb.row(word).to_vec()).collect()
    };
    let rows = |range: std::ops::Range<usize>, emb: &Array2<Dual64>| {
        let entries: Vec<Dual64> = range.clone().flat_map(|t| row(t, emb)).collect();
        Array2::from_shape_vec((range.len(), shape.input()), entries).unwrap()
    };
    // Before: plain numbers, so that no derivative can pass.
    let constant = exact.map(Dual64::from);
    let mut h0 = p.h0.clone();
    if k < words {
        let cell = Cell { wx: constant.wx, wh: constant.wh, bh: constant.bh, h0: constant.h0 };
        let x = rows(0..words - k, &constant.emb);
        let h =
            Recurrence::forward(&Reference::new(), &cell, &Sequences::new(x.view(), &[words - k]).unwrap());
        h0 = h.unwrap().row(words - k - 1).to_owned();
    }
    if k == 0 {
        return Dual64::from(0.0);
    }
    let cell = Cell { wx: p.wx.clone(), wh: p.wh.clone(), bh: p.bh.clone(), h0 };
    let x = rows(words - k..words, &p.emb);
    let h = Recurrence::forward(&Reference::new(), &cell, &Sequences::new(x.view(), &[k]).unwrap()).unwrap();
    let mut loss = Dual64::from(0.0);
    for (h, label) in h.rows().into_iter().zip(&labelled.labels()[words - k..]) {
        let z: Vec<Dual64> = (0..shape.classes)
            .map(|c| h.iter().zip(p.w.column(c)).fold(p.b[c], |z, (h, w)| z + *h * *w))
            .collect();
        let sum = z.iter().fold(Dual64::from(0.0), |sum, z| sum + num_dual::DualNum::exp(z));
        loss += num_dual::DualNum::ln(&sum) - z[*label];
    }
    loss / Dual64::from(words as f64)
}

#[test]
fn the_truncated_gradient_is_that_of_detached_duals() {
    let shape = Shape { vocab: 5, embed: 2, window: 3, hidden: 4, classes: 3, feedback: Feedback::Hidden };
    for (words, seed) in [(vec![2, 0, 2, 4, 1, 2], 1), (vec![3, 3], 2), (vec![1], 3)] {
        let problem = Problem::tutorial(shape, &[words.len()], seed).unwrap();
        let labels = problem.batch[0].labels().to_vec();
        let labelled = Labelled::new(Sentence::new(words).unwrap(), labels).unwrap();
        let exact = problem.params::<f64>().unwrap();
        for k in 0..=labelled.labels().len() + 1 {
            let mut found = Params::zeros(shape).unwrap();
            let reference = Reference::new().truncate_gradient(k);
            reference.gradient(&exact, std::slice::from_ref(&labelled), &mut found).unwrap();
            let mut duals = exact.map(Dual64::from);
            let mut differs = 0;
            for (tensor, (name, entries)) in found.tensors().iter().enumerate() {
                for (entry, found) in entries.iter().enumerate() {
                    duals.tensors_mut()[tensor].1.as_slice_mut().unwrap()[entry].eps = 1.0;
                    let expected = detached_loss(&exact, &duals, &labelled, k, &shape).eps;
                    duals.tensors_mut()[tensor].1.as_slice_mut().unwrap()[entry].eps = 0.0;
                    assert!(
                        (found - expected).abs() <= 1e-15,
                        "k = {k}: {name} entry {entry} = {found}, expected {expected}"
                    );
                    differs += usize::from(*found != 0.0);
                }
            }
            assert_eq!(differs > 0, k > 0);
        }
    }
}

#[test]
fn the_recurrence_alone_is_truncated_per_sequence() {
    let shape = Shape { vocab: 4, embed: 3, window: 1, hidden: 4, classes: 2, feedback: Feedback::Hidden };
    let params = Problem::tutorial(shape, &[1], 4).unwrap().params::<f64>().unwrap();
    let cell = Cell { wx: params.wx, wh: params.wh, bh: params.bh, h0: params.h0 };
    let rows = Array2::from_shape_fn((6, 3), |(t, i)| 0.1 * t as f64 - 0.3 * i as f64);
    let dh = Array2::from_shape_fn((6, 4), |(t, j)| 0.5 - 0.2 * t as f64 + 0.1 * j as f64);
    // Two steps of each sequence count: the second has no more.
    let lengths = [4, 2];
    let xs = Sequences::new(rows.view(), &lengths).unwrap();
    let truncated = Reference::new().truncate_gradient(2);
    let found = truncated.vjp(&cell, &xs).unwrap().backward(dh.view()).unwrap();

    // The same from whole gradients: the first sequence starts at its third step, from a constant.
    let h = Recurrence::forward(&Reference::new(), &cell, &xs).unwrap();
    let last = |rows: &Array2<f64>, range: std::ops::Range<usize>| {
        rows.slice_axis(Axis(0), Slice::from(range)).to_owned()
    };
    let late = Cell { h0: h.row(1).to_owned(), ..cell.clone() };
    let late_rows = last(&rows, 2..4);
    let late_xs = Sequences::new(late_rows.view(), &[2]).unwrap();
    let first = Reference::new().vjp(&late, &late_xs).unwrap().backward(last(&dh, 2..4).view()).unwrap();
    let short_rows = last(&rows, 4..6);
    let short_xs = Sequences::new(short_rows.view(), &[2]).unwrap();
    let second = Reference::new().vjp(&cell, &short_xs).unwrap().backward(last(&dh, 4..6).view()).unwrap();

    assert!(last(&found.xs, 0..2).iter().all(|v| *v == 0.0));
    assert_eq!(last(&found.xs, 2..4), first.xs);
    assert_eq!(last(&found.xs, 4..6), second.xs);
    assert_eq!(found.cell.h0, second.cell.h0);
    let near = |a: &Array2<f64>, b: Array2<f64>| (a - &b).iter().all(|d| d.abs() < 1e-15);
    assert!(near(&found.cell.wx, &first.cell.wx + &second.cell.wx));
    assert!(near(&found.cell.wh, &first.cell.wh + &second.cell.wh));
}
