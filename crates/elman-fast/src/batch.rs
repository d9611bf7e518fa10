//! A chunk of a batch: some sentences, of which common work is done once.
//!
//! - The products with wx: once for each distinct word and position in the window; a word's input is then a
//!   sum of `window` rows. Backwards likewise: da is summed by distinct word and position first.
//! - The recurrence: the steps of GROUP sentences together, so that each weight that is read from the
//!   second-level cache is used GROUP times.
//! - The weights' gradients: one product over all words of the chunk.
//!
//! Threads take groups of sentences, distinct words, or rows of a gradient; the sums are the same.

use std::cmp::Reverse;

use elman::{Batch, Feedback, Shape};
use fearless_simd::Simd;

use crate::kernel::{self, Blocks, Onto};
use crate::layer::{self, Backward, Output};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::Pack;
use crate::pool::Split;
use crate::unit::{blocks, parts};
use crate::weights::{Dense, LayerView, Places, Weights};

/// Sentences whose steps are computed together.
const GROUP: usize = 8;

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

/// The memory of a chunk's steps; grows to the largest chunk and stays.
pub(crate) struct Scratch<T> {
    /// Sentences by length, the longest first.
    order: Vec<usize>,
    groups: Vec<Group>,
    distinct: Distinct,
    /// `[distinct, embed]`: the embeddings.
    e: Buffer<T>,
    /// `[distinct, window, gates]`: each embedding times each position's part of wx, in the order of the blocks.
    table: Buffer<T>,
    /// `[distinct, window, gates]`: da summed by word and position, the last position first.
    q: Buffer<T>,
    /// `[distinct, embed]`: the gradients of the embeddings.
    de: Buffer<T>,
    rows: Rows<Buffer<T>>,
    zeros: Buffer<T>,
    losses: Vec<T>,
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

/// Rows for the words of all groups, those of a group together; `carried`: rows for the sentences.
struct Rows<B> {
    /// The pre-activations, then their gradients, `[words, blocks]`.
    a: B,
    /// The states, `[words, hidden]`.
    h: B,
    /// The value that each step gets from the step before, `[words, hidden]` or `[words, classes]`.
    fed_back: B,
    /// Logits, then their gradients, `[words, classes]`.
    s: B,
    /// The gradients of the states, `[words, hidden]`.
    dh: B,
    /// The gradients of h0, `[sentences, hidden]` or `[sentences, classes]`.
    carried: B,
}

/// The rows of a shape: widths in whole vectors, and strides.
#[derive(Clone, Copy)]
struct Widths {
    a: (usize, usize),
    h: (usize, usize),
    fed_back: (usize, usize),
    s: (usize, usize),
}

impl Widths {
    fn of<T: Num>(shape: &Shape) -> Self {
        let of = |width: usize| (padded::<T>(width), row_stride::<T>(width));
        let blocks = blocks(shape.cell) * padded::<T>(shape.hidden);
        Widths { a: of(blocks), h: of(shape.hidden), fed_back: of(shape.fed_back()), s: of(shape.classes) }
    }
}

impl<'a, T> Rows<&'a mut [T]> {
    /// The rows of the first `words` words and `sentences` sentences, and the rest.
    fn cut(self, words: usize, sentences: usize, widths: Widths) -> (Self, Self) {
        let (a, a2) = self.a.split_at_mut(words * widths.a.1);
        let (h, h2) = self.h.split_at_mut(words * widths.h.1);
        let (fed_back, fed_back2) = self.fed_back.split_at_mut(words * widths.fed_back.1);
        let (s, s2) = self.s.split_at_mut(words * widths.s.1);
        let (dh, dh2) = self.dh.split_at_mut(words * widths.h.1);
        let (carried, carried2) = self.carried.split_at_mut(sentences * widths.fed_back.1);
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
        let rows = Rows {
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
            q: buffer(),
            de: buffer(),
            rows,
            zeros: buffer(),
            losses: Vec::new(),
            sums: [buffer(), buffer(), buffer()],
        }
    }

    /// The distinct words, and the gradients of their embeddings, padded to whole vectors.
    pub(crate) fn embeddings(&self, shape: &Shape) -> impl Iterator<Item = (u32, &[T])> {
        let (embed, stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
        self.distinct.words.iter().copied().zip(self.de.chunks_exact(stride).map(move |row| &row[..embed]))
    }

    /// Sorts the sentences into groups; returns the number of words.
    fn plan(&mut self, batch: Batch<'_>, shape: &Shape) -> usize {
        self.order.clear();
        self.order.extend(0..batch.len());
        self.order.sort_unstable_by_key(|i| (Reverse(batch.length(*i)), *i));
        self.groups.resize_with(batch.len().div_ceil(GROUP), Group::default);
        let mut row = 0;
        for (group, (i, order)) in self.groups.iter_mut().zip(self.order.chunks(GROUP).enumerate()) {
            group.pack.pack(order.len(), |rank| batch.length(order[rank]));
            group.first_row = row;
            group.first_rank = i * GROUP;
            row += group.pack.rows();
        }
        self.distinct.collect(batch, shape);
        row
    }

    /// The sum of the sentences' losses, and the factors of `share ·` the sum of their gradients.
    pub(crate) fn forward_backward<S: Simd>(
        &mut self,
        simd: S,
        threads: usize,
        weights: &Weights<T>,
        batch: Batch<'_>,
        share: T,
    ) -> T {
        let shape = weights.shape();
        let layer = weights.dense.layer();
        let words = self.plan(batch, shape);
        let distinct = self.distinct.words.len();
        let widths = Widths::of::<T>(shape);
        let (embed, e_stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
        let (gates, table_stride) = (layer.gates_width(), row_stride::<T>(layer.gates_width()));
        let word_stride = shape.window * table_stride;

        let e = grow(&mut self.e, distinct * e_stride);
        for (row, word) in e.chunks_exact_mut(e_stride).zip(&self.distinct.words) {
            row[..embed].copy_from_slice(weights.emb.row(*word as usize));
        }
        let e = &*e;
        let table = grow(&mut self.table, distinct * word_stride);
        ViewMut::new(table, distinct, word_stride, word_stride).each(threads, &|from, table| {
            project_words(simd, shape, &layer, &e[from * e_stride..], e_stride, table);
        });

        // Each group of sentences: forward, loss, backward as far as da.
        self.losses.clear();
        self.losses.resize(batch.len(), T::zero());
        let rows = Rows {
            a: grow(&mut self.rows.a, words * widths.a.1),
            h: grow(&mut self.rows.h, words * widths.h.1),
            fed_back: grow(&mut self.rows.fed_back, words * widths.fed_back.1),
            s: grow(&mut self.rows.s, words * widths.s.1),
            dh: grow(&mut self.rows.dh, words * widths.h.1),
            carried: grow(&mut self.rows.carried, batch.len() * widths.fed_back.1),
        };
        let chunk =
            Chunk { weights, batch, share, table, distinct: &self.distinct, order: &self.order, widths };
        let parts_of = Parts { groups: &self.groups, rows, losses: &mut self.losses, widths };
        // Zeros stay zeros, but each thread needs its own.
        let hidden = layer.hidden();
        let zeros = grow(&mut self.zeros, threads.max(1) * hidden);
        zeros.fill(T::zero());
        if threads <= 1 {
            chunk.groups(simd, parts_of, zeros);
        } else {
            parts_of.each(threads, &|_, parts| {
                let mut zeros = buffer();
                chunk.groups(simd, parts, grow(&mut zeros, hidden));
            });
        }

        // da summed by distinct word and position in the window.
        let q = grow(&mut self.q, distinct * word_stride);
        let a = &self.rows.a[..words * widths.a.1];
        let (groups, order, distinct_words) = (&self.groups, &self.order, &self.distinct);
        ViewMut::new(q, distinct, word_stride, word_stride).each(threads, &|from, mut q| {
            let to = from + q.rows();
            let q = q.as_mut_slice();
            simd.vectorize(
                #[inline(always)]
                || {
                    q.fill(T::zero());
                    for group in groups {
                        for (row, rank, t) in group.pack.each_row() {
                            let da = &a[(group.first_row + row) * widths.a.1..][..gates];
                            let ids = distinct_words.window(order[group.first_rank + rank], t, shape.window);
                            for (o, id) in ids.iter().enumerate() {
                                if (from..to).contains(id) {
                                    let block = (id - from) * shape.window + shape.window - 1 - o;
                                    kernel::add(simd, da, &mut q[block * table_stride..][..gates]);
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
        ViewMut::new(de, distinct, shape.embed, e_stride).each(threads, &|from, mut de| {
            for part in parts(layer.cell) {
                let (block, gates) = (part.block * hidden, part.gates * hidden);
                let width = (shape.window - 1) * table_stride + gates;
                kernel::dot_blocks(
                    simd,
                    #[inline(always)]
                    |d| &q[(from + d) * word_stride + block..][..width],
                    layer.wx.cols_from(part.gate * hidden, gates),
                    Blocks { count: shape.window, a: table_stride, w: shape.embed },
                    de.reborrow(),
                );
            }
        });
        self.losses.iter().fold(T::zero(), |sum, loss| sum + *loss)
    }

    /// After [`Scratch::forward_backward`]: the gradient of all but the embeddings, onto `target`, which may be the
    /// parameters themselves.
    pub(crate) fn apply<S: Simd>(&mut self, simd: S, threads: usize, onto: Onto<T>, target: &mut Dense<T>) {
        let shape = target.shape;
        let widths = Widths::of::<T>(&shape);
        let hidden = widths.h.0;
        let gates = shape.cell.gates() * hidden;
        let from = widths.a.0 - gates;
        let e_stride = row_stride::<T>(shape.embed);
        let table_stride = row_stride::<T>(gates);
        let word_stride = shape.window * table_stride;
        let words = self.groups.iter().map(|group| group.pack.rows()).sum();
        let distinct = self.distinct.words.len();
        let Rows { a, h, fed_back, s, carried, .. } = &self.rows;

        let h = View::new(h, words, shape.hidden, widths.h.1, 1).t();
        let fed_back = View::new(fed_back, words, shape.fed_back(), widths.fed_back.1, 1).t();
        let ds = View::new(s, words, widths.s.0, widths.s.1, 1);
        let da = View::new(a, words, widths.a.0, widths.a.1, 1);
        target.w.view_mut().each(threads, &|row, w| {
            kernel::product_onto(simd, h.rows_from(row, w.rows()), ds, w, onto);
        });
        target.wh.view_mut().each(threads, &|row, wh| {
            let da = da.cols_from(from, gates);
            kernel::product_onto(simd, fed_back.rows_from(row, wh.rows()), da, wh, onto);
        });
        let e = View::new(&self.e, distinct, shape.embed, e_stride, 1).t();
        let q = &self.q;
        target.wx.view_mut().each(threads, &|row, wx| {
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

        let sentences = self.order.len();
        let rows = [
            (&a[..words * widths.a.1], widths.a, &mut target.bias),
            (&s[..words * widths.s.1], widths.s, &mut target.b),
            (&carried[..sentences * widths.fed_back.1], widths.fed_back, &mut target.h0),
        ];
        simd.vectorize(
            #[inline(always)]
            || {
                for ((rows, (width, stride), target), sum) in rows.into_iter().zip(&mut self.sums) {
                    let sum = grow(sum, width);
                    sum.fill(T::zero());
                    for row in rows.chunks_exact(stride) {
                        kernel::add(simd, &row[..width], sum);
                    }
                    match onto {
                        Onto::Add => kernel::add(simd, sum, target),
                        Onto::Set => target.copy_from_slice(sum),
                        Onto::AddScaled(factor) => kernel::add_scaled(simd, factor, sum, target),
                    }
                }
            },
        );
    }
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

/// A chunk whose words are projected.
struct Chunk<'a, T> {
    weights: &'a Weights<T>,
    batch: Batch<'a>,
    share: T,
    table: &'a [T],
    distinct: &'a Distinct,
    order: &'a [usize],
    widths: Widths,
}

impl<T: Num> Chunk<'_, T> {
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
        let Chunk { weights, batch, share, table, distinct, widths, .. } = *self;
        let order = &self.order[*first_rank..][..losses.len()];
        let shape = weights.shape();
        let layer = weights.dense.layer();
        let (n, sentences) = (pack.rows(), losses.len());
        let (width, stride) = widths.a;
        let (hidden, h_stride) = widths.h;
        let (classes, s_stride) = widths.s;
        let (fed_back_width, fed_back_stride) = widths.fed_back;
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
        // The first steps get h0; in a Jordan network the loop goes on from there.
        for row in fed_back.chunks_exact_mut(fed_back_stride).take(sentences) {
            row[..fed_back_width].copy_from_slice(&weights.dense.h0);
        }
        let (w, w_padded) = (weights.dense.w.view(), weights.dense.w.view_padded());
        let is_jordan = shape.feedback == Feedback::Output;
        let first = View::new(&weights.dense.h0, sentences, layer.wh.rows(), 0, 1);
        let output = is_jordan.then_some(Output {
            w,
            w_padded,
            s: &mut *s,
            fed_back: &mut *fed_back,
            stride: s_stride,
        });
        let states = ViewMut::new(h, n, hidden, h_stride);
        layer::forward(simd, pack, &layer, first, ViewMut::new(a, n, width, stride), states, output);
        if !is_jordan {
            for t in 1..pack.steps() {
                for rank in 0..pack.active(t) {
                    let from = &h[(pack.offset(t - 1) + rank) * h_stride..][..hidden];
                    fed_back[(pack.offset(t) + rank) * h_stride..][..hidden].copy_from_slice(from);
                }
            }
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
            Some(Output { w, w_padded, s, fed_back, stride: s_stride })
        } else {
            dh.fill(T::zero());
            let ds = View::new(s, n, classes, s_stride, 1);
            kernel::dot(simd, ds, w_padded, ViewMut::new(dh, n, hidden, h_stride));
            None
        };
        carried.fill(T::zero());
        let rows = Backward {
            a: ViewMut::new(a, n, width, stride),
            h: View::new(h, n, hidden, h_stride, 1),
            dh,
            dh_stride: h_stride,
            carried: ViewMut::new(carried, sentences, fed_back_width, fed_back_stride),
            zeros,
        };
        let first = View::new(&weights.dense.h0, sentences, fed_back_width, 0, 1);
        layer::backward(simd, pack, &layer, first, rows, output);
    }
}
