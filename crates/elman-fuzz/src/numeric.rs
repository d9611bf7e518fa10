//! The fast kernels against the reference, on any shapes.

use arbitrary::{Result, Unstructured};
use elman::{Cell, Feedback, Head, LayerShape, Network, Recurrence, Sentences, Shape};
use elman_fast::{Fast, Isa};
use elman_verify::strategies::{Fill, Problem, Sequenced, networks};
use elman_verify::{Options, Report, check_learner_on, check_recurrence_on};

/// The allowance holds over the entries of a default run; here millions of cases are looked at, each with hundreds of
/// entries: four times as much.
const SLACK: f64 = 4.0;

const FILLS: [Fill; 7] =
    [Fill::Small, Fill::Zero, Fill::Unit, Fill::Positive, Fill::Sparse, Fill::Subnormal, Fill::Large];

/// A size on or near a boundary of vectors and tiles, up to 40.
fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    u.int_in_range(1..=40)
}

fn fast(u: &mut Unstructured<'_>) -> Result<Fast> {
    let available = Isa::available();
    Ok(Fast::with(*u.choose(&available)?).expect("an available instruction set"))
}

fn fills<const N: usize>(u: &mut Unstructured<'_>) -> Result<[Fill; N]> {
    let mut fills = [Fill::Small; N];
    for fill in &mut fills {
        *fill = *u.choose(&FILLS)?;
    }
    Ok(fills)
}

fn problem(u: &mut Unstructured<'_>) -> Result<Problem> {
    let networks = networks();
    let (cell, feedback) = *u.choose(&networks.cells)?;
    let has_layers = feedback == Feedback::Hidden;
    let shape = Shape {
        vocab: u.int_in_range(1..=12)?,
        embed: u.int_in_range(1..=20)?,
        window: 2 * u.int_in_range(0..=4)? + 1,
        hidden: size(u)?,
        classes: size(u)?,
        cell,
        feedback,
        layers: if has_layers { u.int_in_range(1..=2)? } else { 1 },
        bidirectional: has_layers && u.arbitrary()?,
        head: if has_layers { *u.choose(&Head::ALL)? } else { Head::Softmax },
    };
    let (fills, seed) = (fills(u)?, u.arbitrary()?);
    let mut batch = Sentences::new();
    for _ in 0..u.int_in_range(1..=4)? {
        let length = u.int_in_range(1..=12)?;
        let (mut words, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..length {
            words.push(u.choose_index(shape.vocab)? as u32);
            labels.push(u.choose_index(shape.classes)? as u32);
        }
        batch.push(&words, &labels).expect("a label for each word");
    }
    Ok(Problem { shape, fills, seed, batch })
}

fn sequenced(u: &mut Unstructured<'_>) -> Result<Sequenced> {
    let shape = LayerShape { input: size(u)?, hidden: size(u)?, cell: *u.choose(&Cell::ALL)? };
    let mut lengths = Vec::new();
    for _ in 0..u.int_in_range(1..=4)? {
        lengths.push(u.int_in_range(1..=12)?);
    }
    let (ends, fills, data) = (u.arbitrary()?, fills(u)?, fills(u)?);
    Ok(Sequenced { shape, lengths, ends, fills, data, seed: u.arbitrary()? })
}

fn passed(report: &Report) {
    assert!(report.cases == 1 && report.passed(), "{report}");
}

/// A learner's steps: each as the reference makes it from the same parameters.
pub(crate) fn learner(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((fast, double, problem)) =
        (|| Ok::<_, arbitrary::Error>((fast(&mut u)?, u.arbitrary()?, problem(&mut u)?)))()
    else {
        return;
    };
    let options = Options::new().slack(SLACK).shrink(0);
    passed(&if double {
        check_learner_on::<f64>(&fast, problem, &options)
    } else {
        check_learner_on::<f32>(&fast, problem, &options)
    });
}

/// The recurrence and its vector-Jacobian product, packed and each sequence alone.
pub(crate) fn recurrence(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((fast, double, problem)) =
        (|| Ok::<_, arbitrary::Error>((fast(&mut u)?, u.arbitrary()?, sequenced(&mut u)?)))()
    else {
        return;
    };
    let name = Network::<f32>::name(&fast);
    let options = Options::new().slack(SLACK).shrink(0);
    passed(&if double {
        check_recurrence_on(&name, &fast as &dyn Recurrence<f64>, problem, &options)
    } else {
        check_recurrence_on(&name, &fast as &dyn Recurrence<f32>, problem, &options)
    });
}
