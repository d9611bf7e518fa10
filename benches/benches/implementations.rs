//! Every implementation on the same work, under the same names: `learner_step/reference`, `learner_step/fast/avx2`
//! and so on.
//!
//! `cargo bench -p elman-benches`, or with a part of a name behind `--`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elman::ndarray::Array2;
use elman::{Batch, Cell, LayerShape, Params, Sentences, Sequences, Shape, Update};
use elman_benches::protocol::Inputs;
use elman_benches::{Stream, kernels};
use elman_fast::Isa;
use elman_fast::raw::{Bench, Kernel};

/// The tutorial's sizes, and its vocabulary on ATIS.
const SHAPE: Shape = Shape { vocab: 572, embed: 50, window: 7, hidden: 200, classes: 127, ..Shape::ELMAN };

/// Sentences of 5 to 20 words, 11 on average as ATIS has them.
fn sentences(count: usize) -> Sentences {
    // Entries of a stream as ids, evenly spread.
    let ids = |stream: u64, words: usize, limit: usize| -> Vec<u32> {
        let id = |t| ((Stream(stream).entry(t, 1.0) + 0.5) * limit as f32) as usize % limit;
        (0..words).map(|t| id(t) as u32).collect()
    };
    let mut sentences = Sentences::new();
    for i in 0..count {
        let words = [5, 8, 9, 10, 11, 12, 13, 20][i % 8];
        let labels = ids(1000 + i as u64, words, SHAPE.classes);
        sentences.push(&ids(i as u64, words, SHAPE.vocab), &labels).expect("a label for each word");
    }
    sentences
}

fn network(c: &mut Criterion) {
    let params = Params::<f32>::init(SHAPE, 42).expect("a shape that can be");
    let sentences = sentences(64);
    let batch = sentences.batch();
    let ones: Vec<Batch<'_>> = (0..batch.len()).map(|i| batch.slice(i..i + 1)).collect();
    let words = batch.words().len();
    let mut update = Update::sgd(0.0);

    let mut group = c.benchmark_group("learner_step");
    group.throughput(Throughput::Elements(words as u64)).sample_size(20);
    for kernel in kernels() {
        let mut learner = kernel.network.learner(params.clone()).expect("checked");
        group.bench_function(BenchmarkId::from_parameter(&kernel.name), |b| {
            b.iter(|| {
                for sentence in &ones {
                    black_box(learner.step(*sentence, &mut update).expect("checked"));
                }
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("learner_step_of_64");
    group.throughput(Throughput::Elements(words as u64)).sample_size(20);
    for kernel in kernels() {
        let mut learner = kernel.network.learner(params.clone()).expect("checked");
        group.bench_function(BenchmarkId::from_parameter(&kernel.name), |b| {
            b.iter(|| black_box(learner.step(batch, &mut update).expect("checked")));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("gradient_of_64");
    group.throughput(Throughput::Elements(words as u64)).sample_size(20);
    for kernel in kernels() {
        let mut grad = Params::zeros(SHAPE).expect("a shape that can be");
        group.bench_function(BenchmarkId::from_parameter(&kernel.name), |b| {
            b.iter(|| black_box(kernel.network.gradient(&params, batch, &mut grad).expect("checked")));
        });
    }
    group.finish();

    for (name, together) in [("tagger_one_by_one", false), ("tagger_in_bulk", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(words as u64)).sample_size(20);
        for kernel in kernels() {
            let mut tagger = kernel.network.tagger(&params).expect("checked");
            let mut labels = vec![0; words];
            group.bench_function(BenchmarkId::from_parameter(&kernel.name), |b| {
                b.iter(|| {
                    if together {
                        tagger.label_all(batch, &mut labels).expect("checked");
                    } else {
                        for sentence in batch.iter() {
                            let places = &mut labels[..sentence.words.len()];
                            tagger.label(sentence.words, places).expect("checked");
                        }
                    }
                    black_box(&labels);
                });
            });
        }
        group.finish();
    }
}

const STEPS: usize = 64;

/// A floating-point operation is an element, so that the throughput is in FLOP/s.
fn recurrence(c: &mut Criterion) {
    let (elman, gru) = (Cell::default(), Cell::Gru);
    for (cell, batch, input, hidden) in [
        (elman, 1, 64, 64),
        (elman, 1, 350, 200),
        (elman, 1, 512, 512),
        (elman, 16, 256, 256),
        (gru, 1, 350, 200),
        (gru, 16, 256, 256),
    ] {
        let shape = LayerShape { input, hidden, cell };
        let inputs = Inputs::new(batch, shape, STEPS).expect("a shape that can be");
        let layer = inputs.params.layer();
        let lengths = vec![STEPS; batch];
        let xs = Sequences::new(inputs.xs.view(), &lengths).expect("lengths add up");
        let flops = 2 * STEPS * batch * cell.gates() * hidden * (input + hidden);
        let work = if cell == Cell::Gru { "gru" } else { "recurrence" };
        for (name, backward) in [("forward", false), ("vjp", true)] {
            let mut group = c.benchmark_group(format!("{work}_{name}/{batch},{input},{hidden}"));
            group.sample_size(10);
            group.throughput(Throughput::Elements((if backward { 3 * flops } else { flops }) as u64));
            for kernel in kernels() {
                group.bench_function(BenchmarkId::from_parameter(&kernel.name), |b| {
                    b.iter(|| {
                        if backward {
                            let trace = kernel.recurrence.vjp(layer, &xs).expect("checked");
                            black_box(trace.backward(inputs.dh.view(), None).expect("checked"));
                        } else {
                            black_box(kernel.recurrence.forward(layer, &xs).expect("checked"));
                        }
                    });
                });
            }
            group.finish();
        }
    }
}

/// The kernels one by one, and matrixmultiply beside them.
fn parts(c: &mut Criterion) {
    let array = |shape: (usize, usize)| -> Array2<f32> { Stream(5).tensor(shape, 0.25) };
    for (name, kernel, a, b, sums) in [
        ("product", Kernel::Product, (11, 350), (350, 208), (11, 208)),
        ("matrixmultiply", Kernel::Gemm, (11, 350), (350, 208), (11, 208)),
        ("product", Kernel::Product, (128, 512), (512, 512), (128, 512)),
        ("matrixmultiply", Kernel::Gemm, (128, 512), (512, 512), (128, 512)),
        ("update", Kernel::Transposed, (11, 350), (11, 208), (350, 208)),
        ("dot", Kernel::Dot, (11, 208), (352, 208), (11, 352)),
        ("step", Kernel::Step, (1, 208), (208, 208), (1, 208)),
        ("sigmoid", Kernel::Sigmoid, (1, 1), (1, 1), (16, 208)),
        ("tanh", Kernel::Tanh, (1, 1), (1, 1), (16, 208)),
        ("exp", Kernel::Exp, (1, 1), (1, 1), (16, 208)),
    ] {
        let depth = if kernel == Kernel::Transposed { a.0 } else { a.1 };
        let elementwise = matches!(kernel, Kernel::Sigmoid | Kernel::Tanh | Kernel::Exp);
        let operations = if elementwise { sums.0 * sums.1 } else { 2 * sums.0 * sums.1 * depth };
        let mut group = c.benchmark_group(format!("{name}/{}x{depth}x{}", sums.0, sums.1));
        group.throughput(Throughput::Elements(operations as u64));
        for isa in Isa::available() {
            let bench = Bench::new(isa, array(a).view(), array(b).view(), array(sums).view());
            let mut bench = bench.expect("available");
            group.bench_function(BenchmarkId::from_parameter(isa), |b| b.iter(|| bench.run(kernel)));
        }
        group.finish();
    }
}

criterion_group!(benches, network, recurrence, parts);
criterion_main!(benches);
