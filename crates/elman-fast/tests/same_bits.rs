//! The promise: the same bits for any number of threads, in any batch, on every instruction set with fused
//! multiply-add.

mod common;

use common::*;
use elman::{Feedback, Network, Params, Recurrence, Sentence, Sequences, Shape};
use elman_fast::{Fast, Isa, Num};

/// The implementations that must agree to the bit, the first of them the measure.
fn variants() -> Vec<Fast> {
    let isas: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.is_fused()).collect();
    if isas.len() < 2 {
        println!(
            "this CPU has {} instruction set(s) with fused multiply-add: threads alone are compared",
            isas.len()
        );
    }
    let mut variants: Vec<Fast> = isas.iter().map(|isa| Fast::with(*isa).unwrap()).collect();
    let best = *isas.last().unwrap_or(&Isa::Portable);
    variants.extend((2..=8).map(|threads| Fast::with(best).unwrap().threads(threads).unwrap()));
    variants
}

/// The bits of a tensor, so that NaN equals itself and 0 differs from -0.
fn bits<'a, T: Num>(values: impl IntoIterator<Item = &'a T>) -> Vec<u64> {
    values.into_iter().map(|v| v.to_f64().to_bits()).collect()
}

fn params_bits<T: Num>(params: &Params<T>) -> Vec<u64> {
    params.tensors().iter().flat_map(|(_, tensor)| bits(tensor)).collect()
}

fn check_network<T: Num>()
where
    Fast: Network<T>,
{
    for seed in 0..12 {
        let random = &mut Random::new(2000 + seed);
        let mut shape = shape(random);
        if seed % 4 == 3 {
            shape = Shape { hidden: 200, embed: 50, window: 7, classes: 120, ..shape };
        }
        let params: Params<T> = params(shape, random);
        let size = [1, 2, 7, 16, 64][seed as usize % 5];
        let batch: Vec<_> = (0..size)
            .map(|_| {
                let words = 1 + random.below(20);
                sentence(&shape, words, random)
            })
            .collect();
        let sentences: Vec<Sentence> = batch.iter().map(|s| s.sentence().clone()).collect();
        let mut measure = None;
        for (i, fast) in variants().iter().enumerate() {
            let mut grad = params.map(|_| T::from_f64(f64::NAN));
            let loss = fast.gradient(&params, &batch, &mut grad).unwrap();
            let mut learner = fast.learner(params.clone()).unwrap();
            for _ in 0..3 {
                learner.step(&batch, T::from_f64(0.1)).unwrap();
            }
            learner.step(&batch[..1], T::from_f64(0.1)).unwrap();
            let s = fast.predict(&params, &sentences[0]).unwrap();
            let labels = fast.tagger(&params).unwrap().label_all(&sentences).unwrap();
            let found = (bits([&loss]), params_bits(&grad), params_bits(&learner.params()), bits(&s), labels);
            let name = format!("variant {i}, {}, seed {seed}", fast.isa());
            let measure = measure.get_or_insert_with(|| found.clone());
            assert_eq!(found.0, measure.0, "{name}: loss");
            assert!(found.1 == measure.1, "{name}: gradient");
            assert!(found.2 == measure.2, "{name}: parameters after four steps");
            assert!(found.3 == measure.3, "{name}: probabilities");
            assert_eq!(found.4, measure.4, "{name}: labels");
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

#[test]
fn the_recurrence() {
    for seed in 0..6 {
        let random = &mut Random::new(3000 + seed);
        let (input, hidden) =
            ([3, 64, 350, 16, 17, 512][seed as usize], [5, 64, 200, 33, 15, 512][seed as usize]);
        let cell = cell::<f32>(input, hidden, random);
        let lengths: Vec<usize> =
            (0..[1, 3, 9, 64, 65, 200][seed as usize]).map(|_| 1 + random.below(9)).collect();
        let n = lengths.iter().sum();
        let (data, dh) = (rows::<f32>(n, input, random), rows::<f32>(n, hidden, random));
        let xs = Sequences::new(data.view(), &lengths).unwrap();
        let mut measure = None;
        for (i, fast) in variants().iter().enumerate() {
            let trace = Recurrence::<f32>::vjp(fast, &cell, &xs).unwrap();
            let gradient = trace.backward(dh.view()).unwrap();
            let found = [
                bits(trace.h().iter()),
                bits(&gradient.xs),
                bits(&gradient.cell.wx),
                bits(&gradient.cell.wh),
                bits(&gradient.cell.bh),
                bits(&gradient.cell.h0),
            ];
            let measure = measure.get_or_insert_with(|| found.clone());
            let equal: Vec<bool> = found.iter().zip(measure.iter()).map(|(f, m)| f == m).collect();
            assert_eq!(equal, [true; 6], "variant {i}, {}, seed {seed}: h, xs, wx, wh, bh, h0", fast.isa());
        }
        // Each sequence alone has the states and the input gradients that it has among the others.
        let fast = Fast::new();
        let together = fast.forward(&cell, &xs).unwrap();
        let dxs = Recurrence::<f32>::vjp(&fast, &cell, &xs).unwrap().backward(dh.view()).unwrap().xs;
        for (range, length) in xs.ranges().zip(&lengths) {
            let part = |rows: &elman::ndarray::Array2<f32>| {
                rows.slice(elman::ndarray::s![range.clone(), ..]).to_owned()
            };
            let (rows, one) = (part(&data), [*length]);
            let alone = Sequences::new(rows.view(), &one).unwrap();
            let trace = Recurrence::<f32>::vjp(&fast, &cell, &alone).unwrap();
            assert!(trace.h() == part(&together), "seed {seed}: h of {range:?}");
            let gradient = trace.backward(part(&dh).view()).unwrap();
            assert!(gradient.xs == part(&dxs), "seed {seed}: xs of {range:?}");
        }
    }
}

/// Sentence by sentence, long ones and short ones: several threads compute one sentence together.
#[test]
fn a_learner_of_many_sentences() {
    FEEDBACKS.into_iter().for_each(learner_of_many_sentences);
}

fn learner_of_many_sentences(feedback: Feedback) {
    let shape = Shape { vocab: 60, embed: 33, window: 5, hidden: 150, classes: 7, feedback };
    let random = &mut Random::new(99);
    let params: Params<f32> = params(shape, random);
    let sentences: Vec<_> = (0..60)
        .map(|i| {
            let words = if i % 3 == 0 { 1 + random.below(40) } else { 8 + random.below(5) };
            sentence(&shape, words, random)
        })
        .collect();
    let mut measure = None;
    for fast in variants() {
        let mut learner = fast.learner(params.clone()).unwrap();
        let losses: Vec<f32> =
            sentences.iter().map(|s| learner.step(std::slice::from_ref(s), 0.05).unwrap()).collect();
        let found = (bits(&losses), params_bits(&learner.params()));
        let measure = measure.get_or_insert_with(|| found.clone());
        assert!(found == *measure, "{feedback}: {fast:?}");
    }
}

/// Sentences are labelled alike alone, in any batch and in any order.
#[test]
fn labels_in_any_batch() {
    FEEDBACKS.into_iter().for_each(labels_of_network);
}

fn labels_of_network(feedback: Feedback) {
    let random = &mut Random::new(77);
    let shape = Shape { vocab: 50, embed: 20, window: 5, hidden: 48, classes: 30, feedback };
    let params: Params<f32> = params(shape, random);
    let sentences: Vec<Sentence> = (0..64)
        .map(|_| {
            let words = 1 + random.below(20);
            sentence(&shape, words, random).sentence().clone()
        })
        .collect();
    let mut tagger = Fast::new().tagger(&params).unwrap();
    let alone: Vec<Vec<usize>> = sentences
        .iter()
        .map(|sentence| {
            let mut labels = Vec::new();
            tagger.label(sentence, &mut labels).unwrap();
            labels
        })
        .collect();
    for size in 1..=64 {
        let from = random.below(65 - size);
        let mut order: Vec<usize> = (from..from + size).collect();
        for i in (1..size).rev() {
            order.swap(i, random.below(i + 1));
        }
        let batch: Vec<Sentence> = order.iter().map(|i| sentences[*i].clone()).collect();
        let labels = tagger.label_all(&batch).unwrap();
        for (i, labels) in order.iter().zip(labels) {
            assert_eq!(labels, alone[*i], "{feedback}: sentence {i} in a batch of {size}");
        }
    }
}
