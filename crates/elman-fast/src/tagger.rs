//! Labelling: projections of the whole vocabulary, computed once, and no softmax.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use elman::ndarray::{Array2, ArrayView2};
use elman::{Batch, Error, Feedback, Params, Tagger, check_places, check_words, context};
use fearless_simd::Simd;

use crate::batch::project_words;
use crate::crf::{self, Crf};
use crate::isa::{Cpu, Task};
use crate::kernel;
use crate::layer::{self, Output};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::Pack;
use crate::pool::{Pool, Split};
use crate::sentence;
use crate::unit;
use crate::weights::{Prepare, Weights};

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
    crf: crf::Scratch<T>,
    /// The rows of s of one sentence, for a CRF.
    chain: Buffer<T>,
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
            crf: crf::Scratch::new(),
            chain: buffer(),
        }
    }
}

impl<T: Num> FastTagger<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, params: &Params<T>) -> Result<Self, Error> {
        unit::check(params.shape().cell)?;
        let mut weights = Weights::new(params);
        cpu.run(Prepare(&mut weights));
        let model = Arc::new(Model { weights, table: OnceLock::new() });
        Ok(FastTagger::of(cpu, pool, model))
    }

    fn of(cpu: Cpu, pool: Pool, model: Arc<Model<T>>) -> Self {
        let (scratch, jobs, scores) = (Scratch::new(), Vec::new(), Array2::zeros((0, 0)));
        FastTagger { cpu, pool, model, scratch, jobs, scores }
    }

    /// The numbers of each word of a sentence, of a kind of output.
    fn alone(
        &mut self,
        words: &[u32],
        kind: impl for<'r> Fn(&'r mut [T]) -> Outputs<'r, T>,
    ) -> Result<ArrayView2<'_, T>, Error> {
        let shape = self.model.weights.shape();
        check_words(words, shape)?;
        if self.scores.dim() != (words.len(), shape.classes) {
            self.scores = Array2::zeros((words.len(), shape.classes));
        }
        self.cpu.run(Forward {
            weights: &self.model.weights,
            table: None,
            batch: Batch::new(words, &[], &[0, words.len()])?,
            scratch: &mut self.scratch,
            jobs: &[Job { sentence: 0, start: 0 }],
            outputs: kind(self.scores.as_slice_mut().expect("made row-major")),
        });
        Ok(self.scores.view())
    }

    /// For each word of a batch the `width` numbers of a kind of output, to `places`.
    fn outputs<R: Copy + Default + Send + Sync>(
        &mut self,
        batch: Batch<'_>,
        width: usize,
        places: &mut [R],
        kind: impl for<'r> Fn(&'r mut [R]) -> Outputs<'r, T> + Sync,
    ) -> Result<(), Error> {
        batch.check_words(self.model.weights.shape())?;
        let (cpu, model) = (self.cpu, &*self.model);
        let table = model.table(cpu, &self.pool);
        let weights = &model.weights;
        by_length(&mut self.jobs, batch);
        let scratch = &mut self.scratch;
        if self.pool.threads() == 1 || batch.len() <= GROUP {
            for jobs in self.jobs.chunks(GROUP) {
                cpu.run(Forward { weights, table, batch, scratch, jobs, outputs: kind(places) });
            }
            return Ok(());
        }
        let of_group = |scratch: &mut Scratch<T>, jobs: &[Job]| {
            let mut words = 0;
            let of_job = |job: &Job| {
                let start = words;
                words += batch.length(job.sentence);
                Job { start, ..*job }
            };
            let jobs: Vec<Job> = jobs.iter().map(of_job).collect();
            let mut found = vec![R::default(); words * width];
            let outputs = kind(&mut found);
            cpu.run(Forward { weights, table, batch, scratch, jobs: &jobs, outputs });
            found
        };
        // Small parts: groups differ in length.
        let groups = self.pool.map_chunks(&self.jobs, GROUP, Scratch::new, of_group);
        for (jobs, found) in self.jobs.chunks(GROUP).zip(groups) {
            let mut found = &found[..];
            for job in jobs {
                let (own, rest) = found.split_at(batch.length(job.sentence) * width);
                places[job.start * width..][..own.len()].copy_from_slice(own);
                found = rest;
            }
        }
        Ok(())
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
        self.alone(words, |scores| Outputs::Scores(scores))
    }

    fn emissions(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        self.alone(words, |emissions| Outputs::Emissions(emissions))
    }

    fn score_all(&mut self, batch: Batch<'_>, scores: &mut [T]) -> Result<(), Error> {
        let classes = self.model.weights.shape().classes;
        let words = batch.words().len();
        if words.checked_mul(classes) != Some(scores.len()) {
            let expected = format!("{classes} for each of {words} words");
            return Err(Error::shape("places for scores", expected, scores.len()));
        }
        self.outputs(batch, classes, scores, |scores| Outputs::Scores(scores))
    }

    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error> {
        check_places(batch, labels)?;
        self.outputs(batch, 1, labels, |labels| Outputs::Labels(labels))
    }

    fn prepare(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        Ok(Box::new(FastTagger::new(self.cpu, self.pool.clone(), params)?))
    }

    fn fork(&self) -> Box<dyn Tagger<T>> {
        Box::new(FastTagger::of(self.cpu, self.pool.clone(), self.model.clone()))
    }
}

/// One sentence of a batch, and the number of its first word among those of the outputs.
#[derive(Clone, Copy)]
struct Job {
    sentence: usize,
    start: usize,
}

/// The sentences of a batch, the longest first, so that those of a group end together.
fn by_length(jobs: &mut Vec<Job>, batch: Batch<'_>) {
    let mut start = 0;
    jobs.clear();
    jobs.extend((0..batch.len()).map(|sentence| {
        let job = Job { sentence, start };
        start += batch.length(sentence);
        job
    }));
    jobs.sort_by_key(|job| Reverse(batch.length(job.sentence)));
}

/// The places of a kind of output.
enum Outputs<'a, T> {
    /// `[words]`
    Labels(&'a mut [u32]),
    /// `[words, classes]`: probabilities.
    Scores(&'a mut [T]),
    /// `[words, classes]`: logits.
    Emissions(&'a mut [T]),
}

impl<T: Num> Outputs<'_, T> {
    /// Of one word, by its row of logits: `classes` of them, and then padding.
    #[inline(always)]
    fn write<S: Simd>(&mut self, simd: S, word: usize, classes: usize, logits: &mut [T]) {
        match self {
            Outputs::Labels(labels) => labels[word] = kernel::argmax(&logits[..classes]),
            Outputs::Scores(scores) => {
                kernel::softmax(simd, logits);
                scores[word * classes..][..classes].copy_from_slice(&logits[..classes]);
            }
            Outputs::Emissions(emissions) => {
                emissions[word * classes..][..classes].copy_from_slice(&logits[..classes]);
            }
        }
    }

    /// Of the words from `start` on, which are a sentence, by a CRF and their rows of logits.
    #[inline(always)]
    fn write_sentence<S: Simd>(
        &mut self,
        simd: S,
        start: usize,
        (scratch, crf): (&mut crf::Scratch<T>, &Crf<T>),
        classes: usize,
        rows: &mut [T],
    ) {
        let (width, stride) = (padded::<T>(classes), row_stride::<T>(classes));
        let places = match self {
            Outputs::Labels(labels) => {
                let y = |t: usize| &rows[t * stride..][..width];
                let write = |t: usize, label| labels[start + t] = label;
                return scratch.labels(simd, crf, rows.len() / stride, y, write);
            }
            Outputs::Scores(scores) => {
                scratch.marginals(simd, crf, rows, None);
                scores
            }
            Outputs::Emissions(emissions) => emissions,
        };
        for (to, row) in places[start * classes..].chunks_exact_mut(classes).zip(rows.chunks_exact(stride)) {
            to.copy_from_slice(&row[..classes]);
        }
    }
}

/// The outputs of some sentences, sorted by length, their steps together.
struct Forward<'a, T> {
    weights: &'a Weights<T>,
    table: Option<&'a [T]>,
    batch: Batch<'a>,
    scratch: &'a mut Scratch<T>,
    jobs: &'a [Job],
    outputs: Outputs<'a, T>,
}

impl<T: Num> Task for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Forward { weights, table, batch, scratch, jobs, mut outputs } = self;
        let shape = weights.shape();
        let words_of = |i: usize| batch.sentence(jobs[i].sentence).words;
        let Some(table) = table else {
            for (i, job) in jobs.iter().enumerate() {
                scratch.sentence.forward(simd, weights, words_of(i));
                if let Some(crf) = &weights.dense.crf {
                    let (memory, rows) = scratch.sentence.chain(shape, words_of(i).len());
                    outputs.write_sentence(simd, job.start, (memory, crf), shape.classes, rows);
                    continue;
                }
                let rows = scratch.sentence.outputs_mut(shape, words_of(i).len());
                simd.vectorize(
                    #[inline(always)]
                    || {
                        rows.enumerate()
                            .for_each(|(t, row)| outputs.write(simd, job.start + t, shape.classes, row))
                    },
                );
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
        if let Some(crf) = &weights.dense.crf {
            for (rank, i) in pack.order().iter().enumerate() {
                let chain = grow(&mut scratch.chain, words_of(*i).len() * s_stride);
                for (t, to) in chain.chunks_exact_mut(s_stride).enumerate() {
                    let from = (pack.offset(t) + rank) * s_stride;
                    to[..classes].copy_from_slice(&s[from..][..classes]);
                }
                outputs.write_sentence(simd, jobs[*i].start, (&mut scratch.crf, crf), shape.classes, chain);
            }
            return;
        }
        simd.vectorize(
            #[inline(always)]
            || {
                for (row, i, t) in pack.each_row() {
                    let logits = &mut s[row * s_stride..][..classes];
                    outputs.write(simd, jobs[i].start + t, shape.classes, logits);
                }
            },
        );
    }
}
