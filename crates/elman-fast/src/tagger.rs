//! Labelling: projections of the whole vocabulary, computed once, and no softmax.

use std::sync::Arc;

use elman::{Error, Feedback, Params, Sentence, Tagger};
use fearless_simd::Simd;

use crate::batch;
use crate::isa::{Cpu, Task};
use crate::jordan;
use crate::kernel;
use crate::matrix::{Bf16Matrix, Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::packed::{self, Packed, Rows};
use crate::pool::{Pool, Split};
use crate::sentence;
use crate::team::Member;
use crate::weights::Weights;

/// Sentences that are labelled together in bulk.
const GROUP: usize = 32;

/// The projections are precomputed as long as they take no more memory than this; beyond, each sentence's
/// inputs are multiplied by wx.
const MOST_BYTES: usize = 64 << 20;

pub(crate) struct FastTagger<T> {
    cpu: Cpu,
    pool: Pool,
    model: Arc<Model<T>>,
    scratch: Scratch<T>,
}

struct Model<T> {
    weights: Weights<T>,
    /// wh in bf16, if that was asked for and can be; `weights.wh` is then rounded to the same numbers.
    wh_bf16: Option<Bf16Matrix>,
    /// `[vocab + 1, window, hidden]`: each embedding times each position's part of wx.
    table: Option<Buffer<T>>,
}

struct Scratch<T> {
    sentence: sentence::Scratch<T>,
    packed: Packed,
    ids: Vec<usize>,
    z: Buffer<T>,
    fed_back: Buffer<T>,
    s: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    fn new() -> Self {
        Scratch {
            sentence: sentence::Scratch::new(),
            packed: Packed::default(),
            ids: Vec::new(),
            z: buffer(),
            fed_back: buffer(),
            s: buffer(),
        }
    }
}

impl<T: Num> FastTagger<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, bf16: bool, params: &Params<T>) -> Result<Self, Error> {
        let mut weights = Weights::new(params)?;
        if bf16 && size_of::<T>() != size_of::<f32>() {
            return Err(Error::Unsupported {
                what: "bf16 weights".to_string(),
                expected: "a network of f32".to_string(),
                found: std::any::type_name::<T>().to_string(),
            });
        }
        let wh_bf16 = if bf16 { Bf16Matrix::round(&mut weights.wh) } else { None };
        let shape = weights.shape;
        let row = shape.window * row_stride::<T>(shape.hidden);
        let len = (shape.vocab + 1).checked_mul(row).filter(|len| *len <= MOST_BYTES / size_of::<T>());
        let table = len.map(|len| {
            let mut table = buffer();
            table.resize(len, T::zero());
            let threads = pool.threads();
            pool.run(|| cpu.run(Project { weights: &weights, table: &mut table, threads }));
            table
        });
        Ok(FastTagger {
            cpu,
            pool,
            model: Arc::new(Model { weights, wh_bf16, table }),
            scratch: Scratch::new(),
        })
    }
}

struct Project<'a, T> {
    weights: &'a Weights<T>,
    table: &'a mut [T],
    threads: usize,
}

impl<T: Num> Task for Project<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let shape = self.weights.shape;
        let row = shape.window * row_stride::<T>(shape.hidden);
        let emb = &self.weights.emb;
        ViewMut::new(self.table, shape.vocab + 1, row, row).each(self.threads, &|from, table| {
            batch::project(simd, self.weights, &emb.data()[from * emb.stride()..], emb.stride(), table);
        });
    }
}

impl<T: Num> Tagger for FastTagger<T> {
    fn label(&mut self, sentence: &Sentence, labels: &mut Vec<usize>) -> Result<(), Error> {
        sentence.check(&self.model.weights.shape)?;
        labels.clear();
        labels.resize(sentence.words().len(), 0);
        let (model, scratch) = (&self.model, &mut self.scratch);
        self.cpu.run(Label { model, scratch, sentence, labels });
        Ok(())
    }

    fn label_all(&mut self, sentences: &[Sentence]) -> Result<Vec<Vec<usize>>, Error> {
        sentences.iter().try_for_each(|sentence| sentence.check(&self.model.weights.shape))?;
        let mut labels: Vec<Vec<usize>> = sentences.iter().map(|s| vec![0; s.words().len()]).collect();
        // By length, so that the sentences of a group end together.
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(sentences[*i].words().len()));
        let mut slots: Vec<Option<&mut [usize]>> = labels.iter_mut().map(|l| Some(&mut l[..])).collect();
        let jobs = order
            .iter()
            .map(|i| Job { sentence: &sentences[*i], labels: slots[*i].take().expect("each once") })
            .collect::<Vec<_>>();
        let (cpu, model, threads) = (self.cpu, &self.model, self.pool.threads());
        let scratch = &mut self.scratch;
        let mut jobs = jobs;
        if threads == 1 {
            cpu.run(LabelAll { model, scratch, jobs: &mut jobs });
        } else {
            // Small parts, taken as threads become free: groups differ in length.
            use rayon::prelude::*;
            self.pool.run(|| {
                jobs.par_chunks_mut(GROUP).for_each_init(Scratch::new, |scratch, jobs| {
                    cpu.run(LabelAll { model, scratch, jobs });
                });
            });
        }
        drop(jobs);
        Ok(labels)
    }
}

/// One sentence and where its labels go.
struct Job<'a> {
    sentence: &'a Sentence,
    labels: &'a mut [usize],
}

/// Labels one sentence.
struct Label<'a, T> {
    model: &'a Model<T>,
    scratch: &'a mut Scratch<T>,
    sentence: &'a Sentence,
    labels: &'a mut [usize],
}

impl<T: Num> Task for Label<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut job = [Job { sentence: self.sentence, labels: self.labels }];
        label_group(simd, self.model, self.scratch, &mut job);
    }
}

/// Labels sentences that are sorted by length, GROUP at a time.
struct LabelAll<'a, 'b, T> {
    model: &'a Model<T>,
    scratch: &'a mut Scratch<T>,
    jobs: &'a mut [Job<'b>],
}

impl<T: Num> Task for LabelAll<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for jobs in self.jobs.chunks_mut(GROUP) {
            label_group(simd, self.model, self.scratch, jobs);
        }
    }
}

/// Labels some sentences, their steps together.
#[inline(always)]
fn label_group<S: Simd, T: Num>(simd: S, model: &Model<T>, scratch: &mut Scratch<T>, jobs: &mut [Job<'_>]) {
    let weights = &model.weights;
    let shape = &weights.shape;
    let Some(table) = &model.table else {
        for job in jobs {
            sentence::forward(
                simd,
                &mut Member::alone(),
                weights,
                job.sentence.words(),
                &mut scratch.sentence,
            );
            for (t, label) in job.labels.iter_mut().enumerate() {
                *label = kernel::argmax(scratch.sentence.output(weights, t));
            }
        }
        return;
    };
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let s_stride = row_stride::<T>(shape.classes);
    let packed = &mut scratch.packed;
    packed.pack(0, jobs.len(), |i| jobs[i].sentence.words().len());
    let packed = &*packed;
    let rows = packed.rows();
    let z = grow(&mut scratch.z, rows * stride);
    let ids = &mut scratch.ids;
    simd.vectorize(
        #[inline(always)]
        || {
            for (row, i, t) in packed.each_row() {
                ids.clear();
                ids.extend(jobs[i].sentence.context(t, shape));
                let z = &mut z[row * stride..][..hidden];
                kernel::sum_rows(simd, &weights.bh, table, stride, shape.window, ids, z);
            }
        },
    );
    let s = grow(&mut scratch.s, rows * s_stride);
    match shape.feedback {
        Feedback::Hidden => logits(simd, model, packed, z, s),
        Feedback::Output => {
            let fed_back = grow(&mut scratch.fed_back, rows * s_stride);
            let mut rows = Rows { h: z, fed_back, s, dz: &mut [], dh0: &mut [] };
            jordan::forward(simd, packed, weights, &mut rows);
        }
    }
    for (row, i, t) in packed.each_row() {
        jobs[i].labels[t] = kernel::argmax(&scratch.s[row * s_stride..][..shape.classes]);
    }
}

/// The logits of packed sentences, from what their inputs give: the states are written over it.
#[inline(always)]
fn logits<S: Simd, T: Num>(simd: S, model: &Model<T>, packed: &Packed, z: &mut [T], s: &mut [T]) {
    let weights = &model.weights;
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let rows = packed.rows();
    match (&model.wh_bf16, packed.order()) {
        // One sentence is bound by reading wh; several are bound by the sums.
        (Some(wh), [_]) => {
            for t in 0..rows {
                let (before, z) = z.split_at_mut(t * stride);
                let h_prev = if t == 0 { &weights.h0 } else { &before[(t - 1) * stride..] };
                kernel::step_bf16(simd, t, h_prev, wh, &mut z[..hidden]);
            }
        }
        _ => packed::forward(simd, packed, &weights.h0, weights.wh.view(), z, stride),
    }

    for row in s.chunks_exact_mut(s_stride) {
        row[..classes].copy_from_slice(&weights.b);
    }
    let states = View::new(z, rows, shape.hidden, stride, 1);
    kernel::product(simd, states, weights.w.view(), ViewMut::new(s, rows, classes, s_stride));
}
