//! Labelling: projections of the whole vocabulary, computed once, and no softmax.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use elman::ndarray::{Array2, ArrayView2};
use elman::{Batch, Error, Feedback, Params, Tagger, check_places, check_words, context};
use fearless_simd::Simd;

use crate::batch::project_words;
use crate::isa::{Cpu, Task};
use crate::kernel;
use crate::layer::{self, Output};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::Pack;
use crate::pool::{Pool, Split};
use crate::sentence;
use crate::unit;
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
    jobs: Vec<Job>,
    scores: Array2<T>,
}

struct Model<T> {
    weights: Weights<T>,
    /// `[vocab + 1, window, gates]`: each embedding times each position's part of wx; `None` if it would take too
    /// much memory. Made when the first labels are asked for.
    table: OnceLock<Option<Buffer<T>>>,
}

struct Scratch<T> {
    sentence: sentence::Scratch<T>,
    pack: Pack,
    a: Buffer<T>,
    h: Buffer<T>,
    fed_back: Buffer<T>,
    s: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    fn new() -> Self {
        Scratch {
            sentence: sentence::Scratch::new(),
            pack: Pack::default(),
            a: buffer(),
            h: buffer(),
            fed_back: buffer(),
            s: buffer(),
        }
    }
}

impl<T: Num> FastTagger<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, params: &Params<T>) -> Result<Self, Error> {
        unit::check(params.shape().cell)?;
        let model = Arc::new(Model { weights: Weights::new(params), table: OnceLock::new() });
        Ok(FastTagger::of(cpu, pool, model))
    }

    fn of(cpu: Cpu, pool: Pool, model: Arc<Model<T>>) -> Self {
        let (scratch, jobs, scores) = (Scratch::new(), Vec::new(), Array2::zeros((0, 0)));
        FastTagger { cpu, pool, model, scratch, jobs, scores }
    }
}

impl<T: Num> Model<T> {
    fn table(&self, cpu: Cpu, pool: &Pool) -> Option<&[T]> {
        let make = || {
            let shape = self.weights.shape();
            if !shape.is_single() {
                return None;
            }
            let row = shape.window * row_stride::<T>(self.weights.dense.layer().gates_width());
            let len = (shape.vocab + 1).checked_mul(row).filter(|len| *len <= MOST_BYTES / size_of::<T>())?;
            let mut table = buffer();
            table.resize(len, T::zero());
            let threads = pool.threads();
            pool.run(|| cpu.run(Project { weights: &self.weights, table: &mut table, threads }));
            Some(table)
        };
        self.table.get_or_init(make).as_deref()
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
        let shape = self.weights.shape();
        let layer = self.weights.dense.layer();
        let row = shape.window * row_stride::<T>(layer.gates_width());
        let emb = &self.weights.emb;
        ViewMut::new(self.table, shape.vocab + 1, row, row).each(self.threads, &|from, table| {
            let e = &emb.data()[from * emb.stride()..];
            project_words(simd, shape, &layer, e, emb.stride(), table);
        });
    }
}

impl<T: Num> Tagger<T> for FastTagger<T> {
    fn scores(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        let shape = self.model.weights.shape();
        check_words(words, shape)?;
        self.cpu.run(Scores { weights: &self.model.weights, words, scratch: &mut self.scratch.sentence });
        if self.scores.dim() != (words.len(), shape.classes) {
            self.scores = Array2::zeros((words.len(), shape.classes));
        }
        for (t, mut row) in self.scores.rows_mut().into_iter().enumerate() {
            let s = self.scratch.sentence.output(shape, t);
            row.iter_mut().zip(s).for_each(|(to, from)| *to = *from);
        }
        Ok(self.scores.view())
    }

    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error> {
        check_places(batch, labels)?;
        batch.check_words(self.model.weights.shape())?;
        let (cpu, model) = (self.cpu, &*self.model);
        let table = model.table(cpu, &self.pool);
        let weights = &model.weights;
        // By length, so that the sentences of a group end together.
        let mut start = 0;
        self.jobs.clear();
        self.jobs.extend((0..batch.len()).map(|sentence| {
            let job = Job { sentence, start };
            start += batch.length(sentence);
            job
        }));
        self.jobs.sort_by_key(|job| Reverse(batch.length(job.sentence)));
        let threads = self.pool.threads();
        let scratch = &mut self.scratch;
        if threads == 1 || batch.len() <= GROUP {
            for jobs in self.jobs.chunks(GROUP) {
                let write = |place: usize, label| labels[place] = label;
                cpu.run(Label { weights, table, batch, scratch, jobs, write });
            }
            return Ok(());
        }
        // Small parts, taken as threads become free: groups differ in length.
        use rayon::prelude::*;
        let groups: Vec<Vec<(usize, u32)>> = self.pool.run(|| {
            let groups = self.jobs.par_chunks(GROUP);
            let of_group = |scratch: &mut Scratch<T>, jobs: &[Job]| {
                let mut found = Vec::new();
                let write = |place, label| found.push((place, label));
                cpu.run(Label { weights, table, batch, scratch, jobs, write });
                found
            };
            groups.map_init(Scratch::new, of_group).collect()
        });
        groups.into_iter().flatten().for_each(|(place, label)| labels[place] = label);
        Ok(())
    }

    fn prepare(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        Ok(Box::new(FastTagger::new(self.cpu, self.pool.clone(), params)?))
    }

    fn fork(&self) -> Box<dyn Tagger<T>> {
        Box::new(FastTagger::of(self.cpu, self.pool.clone(), self.model.clone()))
    }
}

/// The probabilities of one sentence.
struct Scores<'a, T> {
    weights: &'a Weights<T>,
    words: &'a [u32],
    scratch: &'a mut sentence::Scratch<T>,
}

impl<T: Num> Task for Scores<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Scores { weights, words, scratch } = self;
        scratch.forward(simd, weights, words);
        scratch.probabilities(simd, weights.shape(), words.len());
    }
}

/// One sentence of a batch, and the place of its first label.
#[derive(Clone, Copy)]
struct Job {
    sentence: usize,
    start: usize,
}

/// Labels some sentences, sorted by length, their steps together.
struct Label<'a, T, W> {
    weights: &'a Weights<T>,
    table: Option<&'a [T]>,
    batch: Batch<'a>,
    scratch: &'a mut Scratch<T>,
    jobs: &'a [Job],
    write: W,
}

impl<T: Num, W: FnMut(usize, u32)> Task for Label<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Label { weights, table, batch, scratch, jobs, mut write } = self;
        let shape = weights.shape();
        let words_of = |i: usize| batch.sentence(jobs[i].sentence).words;
        let Some(table) = table else {
            for (i, job) in jobs.iter().enumerate() {
                scratch.sentence.forward(simd, weights, words_of(i));
                for t in 0..words_of(i).len() {
                    write(job.start + t, kernel::argmax(scratch.sentence.output(shape, t)));
                }
            }
            return;
        };
        let layer = weights.dense.layer();
        let (gates, width, states) = (layer.gates_width(), layer.width(), layer.states());
        let (stride, h_stride) = (row_stride::<T>(width), row_stride::<T>(states));
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        scratch.pack.pack(jobs.len(), |i| words_of(i).len());
        let pack = &scratch.pack;
        let rows = pack.rows();
        let a = grow(&mut scratch.a, rows * stride);
        let h = grow(&mut scratch.h, rows * h_stride);
        let s = grow(&mut scratch.s, rows * s_stride);
        simd.vectorize(
            #[inline(always)]
            || {
                for (row, i, t) in pack.each_row() {
                    let ids = context(words_of(i), t, shape).map(|id| id as usize);
                    let widths = (gates, row_stride::<T>(gates));
                    let a = &mut a[row * stride..][..width];
                    kernel::sum_rows(simd, layer.bias, table, widths, shape.window, ids, a);
                }
            },
        );
        for row in s.chunks_exact_mut(s_stride) {
            row[..classes].copy_from_slice(&weights.dense.b);
        }
        let (w, w_backwards) = (weights.dense.w.view(), weights.dense.w_backwards());
        let output = (shape.feedback == Feedback::Output).then(|| {
            let fed_back = grow(&mut scratch.fed_back, rows * s_stride);
            for row in fed_back.chunks_exact_mut(s_stride).take(jobs.len()) {
                row[..classes].copy_from_slice(&weights.dense.layers[0].h0);
            }
            Output { w, w_backwards, s: &mut *s, fed_back, stride: s_stride }
        });
        let in_loop = output.is_some();
        let first = View::new(&weights.dense.layers[0].h0, jobs.len(), layer.wh.rows(), 0, 1);
        let a = ViewMut::new(a, rows, width, stride);
        layer::forward(simd, pack, &layer, first, a, ViewMut::new(h, rows, states, h_stride), output);
        if !in_loop {
            let states = View::new(h, rows, shape.hidden, h_stride, 1);
            kernel::product(simd, states, w, ViewMut::new(s, rows, classes, s_stride));
        }
        for (row, i, t) in pack.each_row() {
            write(jobs[i].start + t, kernel::argmax(&s[row * s_stride..][..shape.classes]));
        }
    }
}
