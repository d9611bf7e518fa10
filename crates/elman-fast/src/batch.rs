//! Some sentences of a batch, of which common work is done once.
//!
//! - The products with wx: once for each distinct word and position in the window; a word's input is then a
//!   sum of `window` rows. Backwards likewise: da is summed by distinct word and position first.
//! - The recurrence: the steps of GROUP sentences of about the same length together, so that each weight that is read
//!   from the second-level cache is used GROUP times. Backwards it reads transposed copies of wh and w.
//! - The weights' gradients: for each chunk one product over its words, in their order.
//!
//! Threads take groups of sentences, distinct words, or rows of a gradient; the sums are the same.

use std::ops::Range;

use elman::{Batch, Feedback, Shape};
use fearless_simd::Simd;

use crate::kernel::{self, Backwards, Blocks, Onto};
use crate::layer::{self, Backward, Output};
use crate::matrix::{Buffer, Matrix, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::{Pack, by_length};
use crate::pool::Split;
use crate::unit::{blocks, parts};
use crate::weights::{Dense, LayerView, Places, Weights};

/// Sentences whose steps are computed together.
const GROUP: usize = 16;

/// The words of a chunk, each once, and where each occurs.
#[derive(Default)]
struct Distinct {
    words: Vec<u32>,
    /// For each sentence the index in `words` of its words, with the padding's on both sides.
    ids: Vec<usize>,
    starts: Vec<usize>,
    places: Places,
}

impl Distinct {
    fn collect(&mut self, batch: Batch<'_>, shape: &Shape) {
        self.words.clear();
        self.ids.clear();
        self.starts.clear();
        self.places.begin(shape.vocab + 1);
        let padding = [shape.padding()];
        for sentence in batch.iter() {
            self.starts.push(self.ids.len());
            let padding = padding.iter().cycle().take(shape.window / 2);
            for word in padding.clone().chain(sentence.words).chain(padding) {
                let index = self.places.get(*word).unwrap_or_else(|| {
                    self.places.set(*word, self.words.len());
                    self.words.push(*word);
                    self.words.len() - 1
                });
                self.ids.push(index);
            }
        }
    }

    /// Indices of the words in the window of a sentence's word.
    fn window(&self, sentence: usize, t: usize, window: usize) -> &[usize] {
        &self.ids[self.starts[sentence] + t..][..window]
    }
}

/// The memory of some sentences; grows to the most and stays.
pub(crate) struct Scratch<T> {
    /// Sentences by length, the longest first.
    order: Vec<usize>,
    /// Those of these sentences, and memory of more.
    groups: Vec<Group>,
    /// The words of all sentences.
    distinct: Distinct,
    /// `[distinct, embed]`: the embeddings, first of the words of all sentences, then of those of a chunk.
    e: Buffer<T>,
    /// `[distinct, window, gates]`: each embedding times each position's part of wx, in the order of the blocks.
    table: Buffer<T>,
    /// wh and w, transposed.
    wh_t: Matrix<T>,
    w_t: Matrix<T>,
    /// Rows group by group; after the states those that the first steps start from.
    rows: Rows<Buffer<T>>,
    places: RowsOfWords,
    zeros: Buffer<T>,
    /// The sentences' losses, first group by group, then in the order of the sentences.
    ranked_losses: Vec<T>,
    losses: Vec<T>,
    /// The distinct words of a chunk, and its rows in the order of its words: `a`, `h`, `fed_back` (of each word the
    /// value that its step gets) and `s`.
    chunk: Distinct,
    chunk_words: usize,
    chunk_rows: [Buffer<T>; 4],
    /// The gradients of h0 of its sentences.
    chunk_sentences: Range<usize>,
    chunk_carried: Buffer<T>,
    /// `[distinct, window, gates]`: da of a chunk summed by word and position, the last position first.
    q: Buffer<T>,
    /// `[distinct, embed]`: the gradients of the embeddings of a chunk.
    de: Buffer<T>,
    /// Sums over rows: of the biases, of b and of h0.
    sums: [Buffer<T>; 3],
}

/// Some sentences whose steps are computed together, and the place of their rows.
#[derive(Default)]
struct Group {
    pack: Pack,
    first_row: usize,
    first_rank: usize,
}

/// The rows of words and sentences, in the order of the sentences.
#[derive(Default)]
struct RowsOfWords {
    /// The number of words before each sentence.
    starts: Vec<usize>,
    /// The row of each word.
    words: Vec<u32>,
    /// For each word, the row of the state (in a Jordan network of the output) that its step gets.
    before: Vec<u32>,
    /// The row of each sentence.
    sentences: Vec<u32>,
}

impl RowsOfWords {
    /// The rows of the groups of some sentences, which are sorted by `order`.
    fn collect(&mut self, groups: &[Group], order: &[usize], batch: Batch<'_>, feedback: Feedback) {
        let words = batch.words().len();
        self.starts.clear();
        let mut start = 0;
        self.starts.extend(batch.iter().map(|sentence| {
            start += sentence.words.len();
            start - sentence.words.len()
        }));
        for rows in [&mut self.words, &mut self.before] {
            rows.resize(words, 0);
        }
        self.sentences.resize(batch.len(), 0);
        for Group { pack, first_row, first_rank } in groups {
            for (row, rank, t) in pack.each_row() {
                let word = self.starts[order[first_rank + rank]] + t;
                self.words[word] = (first_row + row) as u32;
                self.before[word] = match (feedback, t) {
                    (Feedback::Output, _) => first_row + row,
                    (Feedback::Hidden, 0) => words,
                    (Feedback::Hidden, t) => first_row + pack.offset(t - 1) + row - pack.offset(t),
                } as u32;
            }
            for (rank, sentence) in pack.order().iter().enumerate() {
                self.sentences[order[first_rank + sentence]] = (first_rank + rank) as u32;
            }
        }
    }
}

/// Rows for words; `carried`: rows for sentences.
struct Rows<B> {
    /// The pre-activations, then their gradients, `[words, blocks]`.
    a: B,
    /// The states, `[words, states·hidden]`.
    h: B,
    /// The value that each step gets from the step before, `[words, hidden]` or `[words, classes]`.
    fed_back: B,
    /// Logits, then their gradients, `[words, classes]`.
    s: B,
    /// The gradients of the states, `[words, hidden]`.
    dh: B,
    /// The gradients of the states before the first step, `[sentences, states·hidden]` or `[sentences, classes]`.
    carried: B,
}

/// The rows of a shape: widths in whole vectors, and strides.
#[derive(Clone, Copy)]
struct Widths {
    a: (usize, usize),
    h: (usize, usize),
    dh: (usize, usize),
    fed_back: (usize, usize),
    carried: (usize, usize),
    s: (usize, usize),
}

impl Widths {
    fn of<T: Num>(shape: &Shape) -> Self {
        let of = |width: usize| (padded::<T>(width), row_stride::<T>(width));
        let hidden = padded::<T>(shape.hidden);
        let (blocks, states) = (blocks(shape.cell) * hidden, shape.cell.states());
        let carried = states * padded::<T>(shape.fed_back());
        Widths {
            a: of(blocks),
            h: of(states * hidden),
            dh: of(hidden),
            fed_back: of(shape.fed_back()),
            carried: of(carried),
            s: of(shape.classes),
        }
    }
}

impl<T: Num> Rows<Buffer<T>> {
    fn grow(&mut self, words: usize, sentences: usize, widths: Widths) -> Rows<&mut [T]> {
        Rows {
            a: grow(&mut self.a, words * widths.a.1),
            h: grow(&mut self.h, (words + 1) * widths.h.1),
            fed_back: grow(&mut self.fed_back, words * widths.fed_back.1),
            s: grow(&mut self.s, words * widths.s.1),
            dh: grow(&mut self.dh, words * widths.dh.1),
            carried: grow(&mut self.carried, sentences * widths.carried.1),
        }
    }
}

impl<T> Rows<&mut [T]> {
    /// The rows of the first `words` words and `sentences` sentences, and the rest.
    fn cut(self, words: usize, sentences: usize, widths: Widths) -> (Self, Self) {
        let (a, a2) = self.a.split_at_mut(words * widths.a.1);
        let (h, h2) = self.h.split_at_mut(words * widths.h.1);
        let (fed_back, fed_back2) = self.fed_back.split_at_mut(words * widths.fed_back.1);
        let (s, s2) = self.s.split_at_mut(words * widths.s.1);
        let (dh, dh2) = self.dh.split_at_mut(words * widths.dh.1);
        let (carried, carried2) = self.carried.split_at_mut(sentences * widths.carried.1);
        (
            Rows { a, h, fed_back, s, dh, carried },
            Rows { a: a2, h: h2, fed_back: fed_back2, s: s2, dh: dh2, carried: carried2 },
        )
    }
}

/// The rows and the losses of some groups.
struct Parts<'a, T> {
    groups: &'a [Group],
    rows: Rows<&'a mut [T]>,
    losses: &'a mut [T],
    widths: Widths,
}

impl<T: Num> Split for Parts<'_, T> {
    fn pieces(&self) -> usize {
        self.groups.len()
    }

    fn cut(self, at: usize) -> (Self, Self) {
        let (groups, rest) = self.groups.split_at(at);
        let words = groups.iter().map(|group| group.pack.rows()).sum();
        let sentences = groups.iter().map(|group| group.pack.order().len()).sum();
        let widths = self.widths;
        let (rows, rest_rows) = self.rows.cut(words, sentences, widths);
        let (losses, rest_losses) = self.losses.split_at_mut(sentences);
        (
            Parts { groups, rows, losses, widths },
            Parts { groups: rest, rows: rest_rows, losses: rest_losses, widths },
        )
    }
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        let rows = || Rows {
            a: buffer(),
            h: buffer(),
            fed_back: buffer(),
            s: buffer(),
            dh: buffer(),
            carried: buffer(),
        };
        Scratch {
            order: Vec::new(),
            groups: Vec::new(),
            distinct: Distinct::default(),
            e: buffer(),
            table: buffer(),
            wh_t: Matrix::zeros(0, 0),
            w_t: Matrix::zeros(0, 0),
            rows: rows(),
            places: RowsOfWords::default(),
            zeros: buffer(),
            ranked_losses: Vec::new(),
            losses: Vec::new(),
            chunk: Distinct::default(),
            chunk_words: 0,
            chunk_rows: [buffer(), buffer(), buffer(), buffer()],
            chunk_sentences: 0..0,
            chunk_carried: buffer(),
            q: buffer(),
            de: buffer(),
            sums: [buffer(), buffer(), buffer()],
        }
    }

    /// Sorts the sentences into groups; returns the number of words.
    fn plan(&mut self, batch: Batch<'_>, shape: &Shape) -> usize {
        by_length(&mut self.order, batch.len(), &|sentence| batch.length(sentence));
        let groups = batch.len().div_ceil(GROUP).max(self.groups.len());
        self.groups.resize_with(groups, Group::default);
        let mut row = 0;
        for (group, (i, order)) in self.groups.iter_mut().zip(self.order.chunks(GROUP).enumerate()) {
            group.pack.pack(order.len(), |rank| batch.length(order[rank]));
            group.first_row = row;
            group.first_rank = i * GROUP;
            row += group.pack.rows();
        }
        let groups = &self.groups[..batch.len().div_ceil(GROUP)];
        self.places.collect(groups, &self.order, batch, shape.feedback);
        self.distinct.collect(batch, shape);
        row
    }

    /// The steps of all sentences, forwards and backwards as far as da, for `share ·` their losses.
    pub(crate) fn forward_backward<S: Simd>(
        &mut self,
        simd: S,
        threads: usize,
        weights: &Weights<T>,
        batch: Batch<'_>,
        share: T,
    ) {
        let shape = weights.shape();
        let words = self.plan(batch, shape);
        weights.dense.layers[0].wh.transpose_to(&mut self.wh_t);
        weights.dense.w.transpose_to(&mut self.w_t);
        let wh_backwards = Backwards::Transposed(self.wh_t.view());
        let w_backwards = Backwards::Transposed(self.w_t.view());
        let layer = LayerView { wh_backwards, ..weights.dense.layer() };
        let distinct = self.distinct.words.len();
        let widths = Widths::of::<T>(shape);
        let e_stride = row_stride::<T>(shape.embed);
        let word_stride = shape.window * row_stride::<T>(layer.gates_width());

        let e = gather(&mut self.e, weights, &self.distinct.words);
        let table = grow(&mut self.table, distinct * word_stride);
        ViewMut::new(table, distinct, word_stride, word_stride).each(threads, &|from, table| {
            project_words(simd, shape, &layer, &e[from * e_stride..], e_stride, table);
        });

        for losses in [&mut self.ranked_losses, &mut self.losses] {
            losses.clear();
            losses.resize(batch.len(), T::zero());
        }
        let rows = self.rows.grow(words, batch.len(), widths);
        let sentences = Batched {
            weights,
            layer,
            w_backwards,
            batch,
            share,
            table,
            distinct: &self.distinct,
            order: &self.order,
            widths,
        };
        let groups = &self.groups[..batch.len().div_ceil(GROUP)];
        let parts = Parts { groups, rows, losses: &mut self.ranked_losses, widths };
        let hidden = layer.hidden();
        // Zeros stay zeros, but each thread needs its own.
        let zeros = grow(&mut self.zeros, hidden);
        zeros.fill(T::zero());
        if threads <= 1 {
            sentences.groups(simd, parts, zeros);
        } else {
            parts.each(threads, &|_, parts| {
                let mut zeros = buffer();
                sentences.groups(simd, parts, grow(&mut zeros, hidden));
            });
        }
        if shape.feedback == Feedback::Hidden {
            let h0 = &weights.dense.layers[0].h0;
            self.rows.h[words * widths.h.1..][..h0.len()].copy_from_slice(h0);
        }
        for (loss, sentence) in self.ranked_losses.iter().zip(&self.order) {
            self.losses[*sentence] = *loss;
        }
    }

    /// After [`Scratch::forward_backward`], for a chunk of those sentences, the first of which is number `first`: the
    /// sum of the losses, and the factors of the gradients, of which those of the embeddings are
    /// [`Scratch::embeddings`].
    pub(crate) fn chunk<S: Simd>(
        &mut self,
        simd: S,
        threads: usize,
        weights: &Weights<T>,
        batch: Batch<'_>,
        first: usize,
    ) -> T {
        let shape = *weights.shape();
        let widths = Widths::of::<T>(&shape);
        let hidden = widths.dh.0;
        let gates = shape.cell.gates() * hidden;
        let (e_stride, table_stride) = (row_stride::<T>(shape.embed), row_stride::<T>(gates));
        let word_stride = shape.window * table_stride;
        let (start, words) = (self.places.starts[first], batch.words().len());
        self.chunk.collect(batch, &shape);
        let distinct = self.chunk.words.len();
        let chunk = &self.chunk;
        let (words, before) =
            (&self.places.words[start..start + words], &self.places.before[start..start + words]);
        let Rows { a, h, fed_back, s, .. } = &self.rows;
        let fed_back = match shape.feedback {
            Feedback::Hidden => (&h[..], widths.h.1),
            Feedback::Output => (&fed_back[..], widths.fed_back.1),
        };
        let [chunk_a, chunk_h, chunk_fed_back, chunk_s] = &mut self.chunk_rows;
        copy_rows((h, widths.h.1), words, chunk_h, widths.dh);
        copy_rows(fed_back, before, chunk_fed_back, widths.fed_back);
        copy_rows((s, widths.s.1), words, chunk_s, widths.s);
        let a = copy_rows((a, widths.a.1), words, chunk_a, widths.a);

        // da summed by distinct word and position in the window.
        let q = grow(&mut self.q, distinct * word_stride);
        ViewMut::new(q, distinct, word_stride, word_stride).each(threads, &|from, mut q| {
            let to = from + q.rows();
            let q = q.as_mut_slice();
            simd.vectorize(
                #[inline(always)]
                || {
                    q.fill(T::zero());
                    let mut rows = a.chunks_exact(widths.a.1);
                    for (sentence, words) in batch.iter().enumerate() {
                        for (t, da) in (0..words.words.len()).zip(rows.by_ref()) {
                            for (o, id) in chunk.window(sentence, t, shape.window).iter().enumerate() {
                                if (from..to).contains(id) {
                                    let block = (id - from) * shape.window + shape.window - 1 - o;
                                    kernel::add(simd, &da[..gates], &mut q[block * table_stride..][..gates]);
                                }
                            }
                        }
                    }
                },
            );
        });
        let q = &*q;

        let de = grow(&mut self.de, distinct * e_stride);
        de.fill(T::zero());
        let wx = weights.dense.layers[0].wx.view();
        ViewMut::new(de, distinct, shape.embed, e_stride).each(threads, &|from, mut de| {
            for part in parts(shape.cell) {
                let (block, gates) = (part.block * hidden, part.gates * hidden);
                let width = (shape.window - 1) * table_stride + gates;
                kernel::dot_blocks(
                    simd,
                    #[inline(always)]
                    |d| &q[(from + d) * word_stride + block..][..width],
                    wx.cols_from(part.gate * hidden, gates),
                    Blocks { count: shape.window, a: table_stride, w: shape.embed },
                    de.reborrow(),
                );
            }
        });

        gather(&mut self.e, weights, &self.chunk.words);
        self.chunk_words = words.len();
        self.chunk_sentences = first..first + batch.len();
        self.losses[first..][..batch.len()].iter().fold(T::zero(), |sum, loss| sum + *loss)
    }

    /// After [`Scratch::chunk`]: the gradient of all but the embeddings, onto `target`, which may be the parameters
    /// themselves.
    pub(crate) fn apply<S: Simd>(&mut self, simd: S, threads: usize, onto: Onto<T>, target: &mut Dense<T>) {
        let shape = target.shape;
        let widths = Widths::of::<T>(&shape);
        let hidden = widths.dh.0;
        let gates = shape.cell.gates() * hidden;
        let from = widths.a.0 - gates;
        let (e_stride, table_stride) = (row_stride::<T>(shape.embed), row_stride::<T>(gates));
        let word_stride = shape.window * table_stride;
        let distinct = self.chunk.words.len();
        let (e, q) = (&self.e[..], &self.q[..]);
        let words = self.chunk_words;
        let [a, h, fed_back, s] = &self.chunk_rows;
        let h = View::new(h, words, shape.hidden, widths.dh.1, 1).t();
        let fed_back = View::new(fed_back, words, shape.fed_back(), widths.fed_back.1, 1).t();
        let ds = View::new(s, words, widths.s.0, widths.s.1, 1);
        let da = View::new(a, words, widths.a.0, widths.a.1, 1);
        target.w.view_mut().each(threads, &|row, w| {
            kernel::product_onto(simd, h.rows_from(row, w.rows()), ds, w, onto);
        });
        let layer = &mut target.layers[0];
        layer.wh.view_mut().each(threads, &|row, wh| {
            let da = da.cols_from(from, gates);
            kernel::product_onto(simd, fed_back.rows_from(row, wh.rows()), da, wh, onto);
        });
        let e = View::new(e, distinct, shape.embed, e_stride, 1).t();
        layer.wx.view_mut().each(threads, &|row, wx| {
            // Rows of wx, position by position in the window.
            let (mut wx, mut row) = (wx, row);
            while wx.rows() > 0 {
                let (o, first) = (row / shape.embed, row % shape.embed);
                let rows = wx.rows().min(shape.embed - first);
                let (mut now, rest) = wx.cut(rows);
                for part in parts(shape.cell) {
                    let block = (shape.window - 1 - o) * table_stride + part.block * hidden;
                    let q = View::new(&q[block..], distinct, part.gates * hidden, word_stride, 1);
                    let wx = now.reborrow().cols_from(part.gate * hidden, part.gates * hidden);
                    kernel::product_onto(simd, e.rows_from(first, rows), q, wx, onto);
                }
                (wx, row) = (rest, row + rows);
            }
        });

        let sentences = &self.places.sentences[self.chunk_sentences.clone()];
        let carried = copy_rows(
            (&self.rows.carried, widths.carried.1),
            sentences,
            &mut self.chunk_carried,
            widths.carried,
        );
        let carried = View::new(carried, sentences.len(), widths.carried.0, widths.carried.1, 1);
        let sums = [(da, &mut layer.bias), (ds, &mut target.b), (carried, &mut layer.h0)];
        simd.vectorize(
            #[inline(always)]
            || {
                for ((rows, target), sum) in sums.into_iter().zip(&mut self.sums) {
                    let sum = grow(sum, rows.cols());
                    sum.fill(T::zero());
                    (0..rows.rows()).for_each(|row| kernel::add(simd, &rows.row(row)[..rows.cols()], sum));
                    match onto {
                        Onto::Add => kernel::add(simd, sum, target),
                        Onto::Set => target.copy_from_slice(sum),
                        Onto::AddScaled(factor) => kernel::add_scaled(simd, factor, sum, target),
                    }
                }
            },
        );
    }

    /// The distinct words of the last chunk, and the gradients of their embeddings, padded to whole vectors.
    pub(crate) fn embeddings(&self, shape: &Shape) -> impl Iterator<Item = (u32, &[T])> {
        let (embed, stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
        self.chunk.words.iter().copied().zip(self.de.chunks_exact(stride).map(move |row| &row[..embed]))
    }
}

/// The embeddings of some words, one after the other.
fn gather<'a, T: Num>(e: &'a mut Buffer<T>, weights: &Weights<T>, words: &[u32]) -> &'a [T] {
    let embed = weights.shape().embed;
    let (width, stride) = (padded::<T>(embed), row_stride::<T>(embed));
    copy_rows((weights.emb.data(), stride), words, e, (width, stride))
}

/// Some rows of a matrix of a row stride, one after the other.
fn copy_rows<'a, T: Num>(
    (from, from_stride): (&[T], usize),
    rows: &[u32],
    to: &'a mut Buffer<T>,
    (width, stride): (usize, usize),
) -> &'a [T] {
    let to = grow(to, rows.len() * stride);
    for (to, row) in to.chunks_exact_mut(stride).zip(rows) {
        to[..width].copy_from_slice(&from[*row as usize * from_stride..][..width]);
    }
    to
}

/// `table[d, o] = e[d] · wx[o]` for every position o of the window, in the order of the blocks.
pub(crate) fn project_words<S: Simd, T: Num>(
    simd: S,
    shape: &Shape,
    layer: &LayerView<'_, T>,
    e: &[T],
    e_stride: usize,
    mut table: ViewMut<'_, T>,
) {
    let (gates, stride) = (layer.gates_width(), row_stride::<T>(layer.gates_width()));
    let rows = table.rows();
    let e = View::new(e, rows, shape.embed, e_stride, 1);
    table.as_mut_slice()[..rows * shape.window * stride].fill(T::zero());
    for o in 0..shape.window {
        let wx = layer.wx.rows_from(o * shape.embed, shape.embed);
        let table = table.reborrow().cols_from(o * stride, gates);
        layer::project(simd, &LayerView { wx, ..*layer }, e, table);
    }
}

/// Sentences whose words are projected.
struct Batched<'a, T> {
    weights: &'a Weights<T>,
    layer: LayerView<'a, T>,
    w_backwards: Backwards<'a, T>,
    batch: Batch<'a>,
    share: T,
    table: &'a [T],
    distinct: &'a Distinct,
    order: &'a [usize],
    widths: Widths,
}

impl<T: Num> Batched<'_, T> {
    fn groups<S: Simd>(&self, simd: S, parts: Parts<'_, T>, zeros: &mut [T]) {
        let Parts { groups, mut rows, mut losses, widths } = parts;
        for group in groups {
            let sentences = group.pack.order().len();
            let (now, rest) = rows.cut(group.pack.rows(), sentences, widths);
            let (now_losses, rest_losses) = losses.split_at_mut(sentences);
            self.group(simd, group, now, now_losses, zeros);
            (rows, losses) = (rest, rest_losses);
        }
    }

    /// One group: states, probabilities, losses, da and the gradients of h0.
    fn group<S: Simd>(
        &self,
        simd: S,
        Group { pack, first_rank, .. }: &Group,
        rows: Rows<&mut [T]>,
        losses: &mut [T],
        zeros: &mut [T],
    ) {
        let Rows { a, h, fed_back, s, dh, carried } = rows;
        let Batched { weights, layer, w_backwards, batch, share, table, distinct, widths, .. } = *self;
        let order = &self.order[*first_rank..][..losses.len()];
        let shape = weights.shape();
        let (n, sentences) = (pack.rows(), losses.len());
        let (width, stride) = widths.a;
        let (states_width, h_stride) = widths.h;
        let (hidden, dh_stride) = widths.dh;
        let (classes, s_stride) = widths.s;
        let (fed_back_width, fed_back_stride) = widths.fed_back;
        let (carried_width, carried_stride) = widths.carried;
        let gates = layer.gates_width();
        simd.vectorize(
            #[inline(always)]
            || {
                for (row, rank, t) in pack.each_row() {
                    let ids = distinct.window(order[rank], t, shape.window).iter().copied();
                    let a = &mut a[row * stride..][..width];
                    let widths = (gates, row_stride::<T>(gates));
                    kernel::sum_rows(simd, layer.bias, table, widths, shape.window, ids, a);
                }
            },
        );
        for row in s.chunks_exact_mut(s_stride) {
            row[..classes].copy_from_slice(&weights.dense.b);
        }
        if shape.feedback == Feedback::Output {
            // The first steps get h0; the loop goes on from there.
            for row in fed_back.chunks_exact_mut(fed_back_stride).take(sentences) {
                row[..fed_back_width].copy_from_slice(&weights.dense.layers[0].h0);
            }
        }
        let w = weights.dense.w.view();
        let is_jordan = shape.feedback == Feedback::Output;
        let first = View::new(&weights.dense.layers[0].h0, sentences, carried_width, 0, 1);
        let output = is_jordan.then_some(Output {
            w,
            w_backwards,
            s: &mut *s,
            fed_back: &mut *fed_back,
            stride: s_stride,
        });
        let states = ViewMut::new(h, n, states_width, h_stride);
        layer::forward(simd, pack, &layer, first, ViewMut::new(a, n, width, stride), states, output);
        if !is_jordan {
            let states = View::new(h, n, shape.hidden, h_stride, 1);
            kernel::product(simd, states, w, ViewMut::new(s, n, classes, s_stride));
        }

        losses.fill(T::zero());
        simd.vectorize(
            #[inline(always)]
            || {
                for (row, rank, t) in pack.each_row() {
                    let labels = batch.sentence(order[rank]).labels;
                    let words = T::from_f64(labels.len() as f64);
                    let s = &mut s[row * s_stride..][..classes];
                    losses[rank] +=
                        kernel::derive_softmax(simd, s, labels[t] as usize, share / words) / words;
                }
            },
        );

        let output = if is_jordan {
            Some(Output { w, w_backwards, s, fed_back, stride: s_stride })
        } else {
            dh.fill(T::zero());
            let ds = View::new(s, n, classes, s_stride, 1);
            w_backwards.product(simd, 0, ds, ViewMut::new(dh, n, hidden, dh_stride));
            None
        };
        carried.fill(T::zero());
        let rows = Backward {
            a: ViewMut::new(a, n, width, stride),
            h: View::new(h, n, states_width, h_stride, 1),
            dh,
            dh_stride,
            carried: ViewMut::new(carried, sentences, carried_width, carried_stride),
            zeros,
        };
        layer::backward(simd, pack, &layer, first, rows, output);
    }
}
