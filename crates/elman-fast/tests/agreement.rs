//! The kernels against the reference, which computes in f64; every instruction set of this CPU.

mod common;

use common::*;
use elman::ndarray::Array2;
use elman::{Feedback, Labelled, Learner, Network, Params, Recurrence, Sentence, Sequences, Shape};
use elman_fast::{Fast, Isa, Num};
use elman_reference::Reference;

/// A bound for the whole chain of sums, relative to the largest of the numbers that are added up. The judge
/// (elman-verify) derives a tighter one for each tensor.
fn allowed<T: Num>() -> f64 {
    if size_of::<T>() == 4 { 400.0 * f64::from(f32::EPSILON) } else { 400.0 * f64::EPSILON }
}

fn check_network<T: Num>()
where
    Fast: Network<T>,
{
    for isa in Isa::available() {
        let fast = Fast::with(isa).unwrap();
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let shape = shape(random);
            let params: Params<T> = params(shape, random);
            let exact: Params<f64> = params.map(|v| v.to_f64());
            let sentences = 1 + random.below(20);
            let batch: Vec<_> = (0..sentences)
                .map(|_| {
                    let words = 1 + random.below(14);
                    sentence(&shape, words, random)
                })
                .collect();
            let batch = if seed % 3 == 0 { &batch[..1] } else { &batch[..] };
            let name = format!("fast/{isa} seed {seed} {shape:?} batch {}", batch.len());

            let s = fast.predict(&params, batch[0].sentence()).unwrap();
            let expected = Reference::new().predict(&exact, batch[0].sentence()).unwrap();
            assert_close(&format!("{name}: s"), &s, &expected, allowed::<T>());

            let mut grad = params.map(|_| T::from_f64(f64::NAN));
            let loss = fast.gradient(&params, batch, &mut grad).unwrap();
            let mut expected = exact.clone();
            let expected_loss = Reference::new().gradient(&exact, batch, &mut expected).unwrap();
            let bound = allowed::<T>() * expected_loss.max(1.0);
            assert_close(&format!("{name}: loss"), [&loss], [&expected_loss], bound);
            let bound = allowed::<T>() * largest(&expected);
            for ((tensor, found), (_, expected)) in grad.tensors().into_iter().zip(expected.tensors()) {
                assert_close(&format!("{name}: gradient of {tensor}"), found, expected, bound);
            }

            let mut learner = fast.learner(params.clone()).unwrap();
            let mut expected: Box<dyn Learner<f64>> = Reference::new().learner(exact.clone()).unwrap();
            for step in 0..3 {
                let loss = learner.step(batch, T::from_f64(0.125)).unwrap();
                let expected_loss = expected.step(batch, 0.125).unwrap();
                let bound = 4.0 * allowed::<T>() * expected_loss.max(1.0);
                assert_close(&format!("{name}: loss {step}"), [&loss], [&expected_loss], bound);
            }
            let (found, expected) = (learner.params(), expected.params());
            for ((tensor, found), (_, expected)) in found.tensors().into_iter().zip(expected.tensors()) {
                let bound = 4.0 * allowed::<T>();
                assert_close(&format!("{name}: {tensor} after 3 steps"), found, expected, bound);
            }

            // A label may differ from the reference's only where two are equally probable but for rounding.
            let mut tagger = fast.tagger(&params).unwrap();
            let sentences: Vec<Sentence> = batch.iter().map(|s| s.sentence().clone()).collect();
            let all = tagger.label_all(&sentences).unwrap();
            for (sentence, all) in sentences.iter().zip(all) {
                let mut labels = vec![usize::MAX];
                tagger.label(sentence, &mut labels).unwrap();
                assert_eq!(labels, all, "{name}: alone and in bulk");
                let s = Reference::new().predict(&exact, sentence).unwrap();
                for (row, label) in s.rows().into_iter().zip(labels) {
                    let best = row.iter().copied().fold(0.0, f64::max);
                    assert!(row[label] >= best * (1.0 - allowed::<T>()), "{name}: {label} in {row}");
                }
            }
        }
    }
}

#[test]
fn the_network_in_f32() {
    check_network::<f32>();
}

#[test]
fn the_network_in_f64() {
    check_network::<f64>();
}

fn check_recurrence<T: Num>()
where
    Fast: Recurrence<T>,
{
    for isa in Isa::available() {
        let fast = Fast::with(isa).unwrap();
        for seed in 0..40 {
            let random = &mut Random::new(1000 + seed);
            let (input, hidden) = match seed {
                // Weights that no longer fit in the first caches, and are no multiple of the rows at once.
                3 => (512, 509),
                // So many steps that the gradient of the weights goes through matrixmultiply.
                4 => (33, 512),
                _ => (*random.of(&SIZES), *random.of(&SIZES)),
            };
            let cell = cell::<T>(input, hidden, random);
            let lengths: Vec<usize> = (0..1 + random.below(90)).map(|_| 1 + random.below(9)).collect();
            let lengths = match seed {
                3 => &[40][..],
                4 => &[70, 61],
                _ if seed % 3 == 0 => &lengths[..1],
                _ => &lengths[..],
            };
            let n = lengths.iter().sum();
            let (xs, dh) = (rows::<T>(n, input, random), rows::<T>(n, hidden, random));
            let name = format!("fast/{isa} seed {seed} {input} {hidden} {lengths:?}");

            let exact = elman::Cell {
                wx: cell.wx.mapv(|v| v.to_f64()),
                wh: cell.wh.mapv(|v| v.to_f64()),
                bh: cell.bh.mapv(|v| v.to_f64()),
                h0: cell.h0.mapv(|v| v.to_f64()),
            };
            let exact_xs = xs.mapv(|v| v.to_f64());
            let exact_xs = Sequences::new(exact_xs.view(), lengths).unwrap();
            let xs = Sequences::new(xs.view(), lengths).unwrap();
            let h = fast.forward(&cell, &xs).unwrap();
            let trace = Recurrence::<T>::vjp(&fast, &cell, &xs).unwrap();
            let expected = Reference::new().vjp(&exact, &exact_xs).unwrap();
            assert_eq!(h, trace.h(), "{name}: forward and vjp");
            assert_close(&format!("{name}: h"), &h, expected.h().iter(), allowed::<T>());
            let found = trace.backward(dh.view()).unwrap();
            let expected = expected.backward(dh.mapv(|v| v.to_f64()).view()).unwrap();
            let close = |what: &str, found: Vec<&T>, expected: Vec<&f64>| {
                let scale = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                assert_close(&format!("{name}: {what}"), found, expected, allowed::<T>() * scale);
            };
            close("xs", found.xs.iter().collect(), expected.xs.iter().collect());
            close("wx", found.cell.wx.iter().collect(), expected.cell.wx.iter().collect());
            close("wh", found.cell.wh.iter().collect(), expected.cell.wh.iter().collect());
            close("bh", found.cell.bh.iter().collect(), expected.cell.bh.iter().collect());
            close("h0", found.cell.h0.iter().collect(), expected.cell.h0.iter().collect());
        }
    }
}

#[test]
fn the_recurrence_in_f32() {
    check_recurrence::<f32>();
}

#[test]
fn the_recurrence_in_f64() {
    check_recurrence::<f64>();
}

/// A bf16 tagger is the tagger of a network whose wh is rounded: the same labels, alone and in bulk.
#[test]
fn bf16_taggers() {
    // Columns 0 to 15 of each 32 are bf16; in the others the lower half is the upper half of the column
    // 16 to the left, and the upper one what brings the number nearest.
    let round = |wh: &Array2<f32>| {
        let mut rounded = wh.clone();
        for ((r, c), value) in wh.indexed_iter() {
            let lower = if c / 16 % 2 == 1 { rounded[[r, c - 16]].to_bits() >> 16 } else { 0 };
            let (sign, magnitude) = (value.to_bits() & 1 << 31, value.to_bits() & !(1 << 31));
            let upper = magnitude >> 16;
            let candidates = [upper.saturating_sub(1), upper, upper + 1].map(|upper| upper << 16 | lower);
            let off = |bits: &u32| (bits.abs_diff(magnitude), bits >> 16 & 1);
            let nearest = candidates.into_iter().min_by_key(off).unwrap();
            rounded[[r, c]] = f32::from_bits(sign | nearest);
        }
        rounded
    };
    for isa in Isa::available() {
        let fast = Fast::with(isa).unwrap();
        for seed in 0..20 {
            let random = &mut Random::new(4000 + seed);
            let mut shape = shape(random);
            if seed % 4 == 0 {
                // More columns than one pass holds on any instruction set.
                (shape.hidden, shape.feedback) = (*random.of(&[100, 129, 200, 257]), Feedback::Hidden);
            }
            let params: Params<f32> = params(shape, random);
            let rounded = Params { wh: round(&params.wh), ..params.clone() };
            let sentences: Vec<Sentence> = (0..20)
                .map(|_| {
                    let words = 1 + random.below(12);
                    sentence(&shape, words, random).sentence().clone()
                })
                .collect();
            let expected = fast.tagger(&rounded).unwrap().label_all(&sentences).unwrap();
            assert_eq!(expected.len(), sentences.len());
            let mut tagger = fast.clone().bf16(true).tagger(&params).unwrap();
            assert_eq!(tagger.label_all(&sentences).unwrap(), expected, "fast/{isa} seed {seed}");
            for (sentence, expected) in sentences.iter().zip(&expected) {
                let mut labels = Vec::new();
                tagger.label(sentence, &mut labels).unwrap();
                assert_eq!(labels, *expected, "fast/{isa} seed {seed}");
            }
        }
    }
    let params = Params::<f64>::init(common::shape(&mut Random::new(1)), 1).unwrap();
    let message = Fast::new().bf16(true).tagger(&params).err().unwrap().to_string();
    assert_eq!(message, "bf16 weights: expected a network of f32, found f64");
}

#[test]
fn what_does_not_fit_is_refused() {
    let random = &mut Random::new(1);
    let shape = Shape { vocab: 5, embed: 3, window: 3, hidden: 4, classes: 6, feedback: Feedback::Hidden };
    let params: Params<f32> = params(shape, random);
    let labelled =
        |word, label| Labelled::new(Sentence::new(vec![0, word]).unwrap(), vec![0, label]).unwrap();
    let (good, padding, beyond) = (labelled(4, 5), labelled(5, 5), labelled(4, 6));
    for threads in [1, 2] {
        let fast = Fast::new().threads(threads).unwrap();
        let mut learner = fast.learner(params.clone()).unwrap();
        let mut grad = params.clone();
        let mut gradient =
            |batch: &[Labelled]| (fast.gradient(&params, batch, &mut grad), learner.step(batch, 0.1));
        for batch in [
            vec![],
            vec![padding.clone()],
            vec![good.clone(), padding.clone()],
            vec![good.clone(), beyond.clone()],
        ] {
            let (gradient, step) = gradient(&batch);
            assert!(gradient.is_err() && step.is_err(), "{batch:?}");
        }
        let (gradient, step) = gradient(&[good.clone(), good.clone()]);
        assert_eq!(gradient.unwrap(), step.unwrap());
        assert!(fast.predict(&params, padding.sentence()).is_err());
        assert!(fast.tagger(&params).unwrap().label(padding.sentence(), &mut vec![]).is_err());
    }
}

/// Where no window reaches beyond a sentence the padding is neither moved nor divided by its norm.
#[test]
fn the_padding_of_a_window_of_one_is_never_changed() {
    for isa in Isa::available() {
        let random = &mut Random::new(2);
        let shape =
            Shape { vocab: 5, embed: 3, window: 1, hidden: 4, classes: 6, feedback: Feedback::Hidden };
        let params: Params<f32> = params(shape, random);
        let (long, short) = (sentence(&shape, 9, random), sentence(&shape, 2, random));
        let mut learner = Fast::with(isa).unwrap().learner(params.clone()).unwrap();
        for labelled in [long, short] {
            learner.step(&[labelled], 0.1).unwrap();
            assert_eq!(learner.params().emb.row(shape.vocab), params.emb.row(shape.vocab), "{isa}");
        }
    }
}
