//! `truncate_gradient`, against dual numbers that come into being at the first step that counts.

use elman::ndarray::{Array2, Axis};
use elman::{
    Cell, Error, Layer, LayerParams, LayerShape, Network, Params, Real, Recurrence, RecurrenceGradient,
    Sentences, Sequences, Shape, context,
};
use elman_reference::Reference;
use elman_verify::strategies::Problem;
use num_dual::Dual64;

/// The last state of one sequence, `[1, hidden]`, and all its states.
fn states(
    layer: Layer<'_, Dual64>,
    rows: &Array2<Dual64>,
    initial: Option<Array2<Dual64>>,
) -> Result<(Array2<Dual64>, Array2<Dual64>), Error> {
    let lengths = [rows.nrows()];
    let mut xs = Sequences::new(rows.view(), &lengths)?;
    if let Some(initial) = &initial {
        xs = xs.starting_from(initial.view())?;
    }
    let states = Reference::new().forward(layer, &xs)?;
    Ok((states.last, states.h))
}

/// The loss of a sentence as a function of the parameters during its last `k` steps alone: the state before them, and the
/// losses of the steps before, are constants.
fn detached_loss(p: &Params<Dual64>, words: &[u32], labels: &[u32], k: usize) -> Result<Dual64, Error> {
    let shape = p.shape();
    let rows = |p: &Params<Dual64>, steps: std::ops::Range<usize>| {
        let ids = steps.clone().flat_map(|t| context(words, t, &shape).collect::<Vec<_>>());
        let entries: Vec<Dual64> = ids.flat_map(|id| p.emb().row(id as usize).to_vec()).collect();
        Array2::from_shape_vec((steps.len(), shape.input()), entries).unwrap()
    };
    let first = words.len().saturating_sub(k);
    // Before: numbers whose derivatives are dropped, so that none can pass.
    let constant = p.map(|v| Dual64::from(v.to_f64()));
    let before = (first > 0).then(|| states(constant.layer(), &rows(&constant, 0..first), None));
    let initial = before.transpose()?.map(|(last, _)| last);
    if k == 0 {
        return Ok(Dual64::from(0.0));
    }
    let (_, h) = states(p.layer(), &rows(p, first..words.len()), initial)?;
    let mut loss = Dual64::from(0.0);
    for (h, label) in h.rows().into_iter().zip(&labels[first..]) {
        let score = |c: usize| h.iter().zip(p.w().column(c)).fold(p.b()[c], |z, (h, w)| z + *h * *w);
        let z: Vec<Dual64> = (0..shape.classes).map(score).collect();
        let sum = z.iter().fold(Dual64::from(0.0), |sum, z| sum + Real::exp(*z));
        loss += Real::ln(sum) - z[*label as usize];
    }
    Ok(loss / Dual64::from(words.len() as f64))
}

#[test]
fn the_truncated_gradient_is_that_of_detached_duals() {
    for cell in Cell::ALL {
        let shape = Shape { vocab: 5, embed: 2, window: 3, hidden: 4, classes: 3, cell, ..Shape::ELMAN };
        for (words, seed) in [(vec![2, 0, 2, 4, 1, 2], 1), (vec![3, 3], 2), (vec![1], 3)] {
            let problem = Problem::tutorial(shape, &[words.len()], seed).unwrap();
            let labels = problem.batch.batch().sentence(0).labels.to_vec();
            let exact = problem.params::<f64>().unwrap();
            let mut duals = exact.map(Dual64::from);
            let sentence = Sentences::one(&words, &labels).unwrap();
            for k in 0..=words.len() + 1 {
                let mut found = Params::zeros(shape).unwrap();
                let reference = Reference::new().truncate_gradient(k);
                reference.gradient(&exact, sentence.batch(), &mut found).unwrap();
                for (entry, found) in found.as_slice().iter().enumerate() {
                    duals.as_mut_slice()[entry].eps = 1.0;
                    let expected = detached_loss(&duals, &words, &labels, k).unwrap().eps;
                    duals.as_mut_slice()[entry].eps = 0.0;
                    assert!(
                        (found - expected).abs() <= 1e-15,
                        "{cell}, k = {k}: {entry}: {found}, {expected}"
                    );
                }
                assert_eq!(found.as_slice().iter().any(|v| *v != 0.0), k > 0);
            }
        }
    }
}

fn gradient<'a>(
    reference: Reference,
    layer: &'a LayerParams<f64>,
    xs: &'a Sequences<'a, f64>,
    dh: &Array2<f64>,
) -> RecurrenceGradient<f64> {
    reference.vjp(layer.layer(), xs).unwrap().backward(dh.view(), None).unwrap()
}

/// Two steps of each sequence count. The same from whole gradients: the first sequence starts at its third step, from a
/// constant; the second has no more.
#[test]
fn the_recurrence_alone_is_truncated_per_sequence() {
    for cell in Cell::ALL {
        let mut layer = LayerParams::<f64>::zeros(LayerShape { input: 3, hidden: 4, cell }).unwrap();
        let fill = |(i, v): (usize, &mut f64)| *v = 0.3 * (i as f64).sin();
        layer.as_mut_slice().iter_mut().enumerate().for_each(fill);
        let rows = Array2::from_shape_fn((6, 3), |(t, i)| 0.1 * t as f64 - 0.3 * i as f64);
        let dh = Array2::from_shape_fn((6, 4), |(t, j)| 0.5 - 0.2 * t as f64 + 0.1 * j as f64);
        let xs = Sequences::new(rows.view(), &[4, 2]).unwrap();
        let part = |matrix: &Array2<f64>, range: std::ops::Range<usize>| {
            matrix.slice_axis(Axis(0), range.into()).to_owned()
        };
        let found = gradient(Reference::new().truncate_gradient(2), &layer, &xs, &dh);

        let before_rows = part(&rows, 0..2);
        let before = Sequences::new(before_rows.view(), &[2]).unwrap();
        let late = Reference::new().forward(layer.layer(), &before).unwrap().last;
        let [late_rows, short_rows] = [part(&rows, 2..4), part(&rows, 4..6)];
        let late_xs = Sequences::new(late_rows.view(), &[2]).unwrap().starting_from(late.view()).unwrap();
        let first = gradient(Reference::new(), &layer, &late_xs, &part(&dh, 2..4));
        let short_xs = Sequences::new(short_rows.view(), &[2]).unwrap();
        let second = gradient(Reference::new(), &layer, &short_xs, &part(&dh, 4..6));

        assert!(part(&found.xs, 0..2).iter().all(|v| *v == 0.0));
        assert_eq!(part(&found.xs, 2..4), first.xs);
        assert_eq!(part(&found.xs, 4..6), second.xs);
        assert_eq!(found.layer.h0(), second.layer.h0());
        let sums = first.layer.as_slice().iter().zip(second.layer.as_slice()).map(|(a, b)| a + b);
        for (found, expected) in found.layer.as_slice().iter().zip(sums) {
            assert!((found - expected).abs() < 1e-15, "{cell}: {found}, expected {expected}");
        }
    }
}
