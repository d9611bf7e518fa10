//! A batch of sentences: what they have in common is computed once.
//!
//! - The products with wx: once for each distinct word and position in the window; a word's input is then a
//!   sum of `window` rows. Backwards likewise: dz is summed by distinct word and position first.
//! - The recurrence: the steps of GROUP sentences together, so that each weight that is read from the
//!   second-level cache is used GROUP times.
//! - The weights' gradients: one product over all words of the batch.
//!
//! Threads take groups of sentences, distinct words, or rows of a gradient; the sums are the same.

use elman::{Feedback, Labelled};
use fearless_simd::Simd;

use crate::jordan;
use crate::kernel::{self, Blocks};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::packed::{self, Packed, Rows};
use crate::pool::Split;
use crate::weights::Weights;

/// Sentences whose steps are computed together.
pub(crate) const GROUP: usize = 8;

/// The words of a batch, each once, and where each occurs.
#[derive(Default)]
pub(crate) struct Distinct {
    words: Vec<usize>,
    /// For each sentence the index in `words` of its words, with the padding's on both sides.
    ids: Vec<usize>,
    starts: Vec<usize>,
    index_of: Vec<usize>,
}

impl Distinct {
    /// Collects the words of sentences; `vocab` is also the padding's id.
    fn collect<'a>(&mut self, sentences: impl Iterator<Item = &'a [usize]>, vocab: usize, window: usize) {
        const ABSENT: usize = usize::MAX;
        for word in self.words.drain(..) {
            self.index_of[word] = ABSENT;
        }
        self.index_of.resize(vocab + 1, ABSENT);
        self.ids.clear();
        self.starts.clear();
        let half = window / 2;
        for sentence in sentences {
            self.starts.push(self.ids.len());
            let padding = std::iter::repeat_n(&vocab, half);
            for word in padding.clone().chain(sentence).chain(padding) {
                let index = &mut self.index_of[*word];
                if *index == ABSENT {
                    *index = self.words.len();
                    self.words.push(*word);
                }
                self.ids.push(*index);
            }
        }
    }

    /// Indices of the words in the window of a sentence's word.
    fn window(&self, sentence: usize, t: usize, window: usize) -> &[usize] {
        &self.ids[self.starts[sentence] + t..][..window]
    }

    /// The distinct words themselves.
    pub(crate) fn words(&self) -> &[usize] {
        &self.words
    }
}

/// What a batch needs between its steps; grows to the largest batch and stays.
pub(crate) struct Scratch<T> {
    /// Sentences by length, the longest first.
    order: Vec<usize>,
    groups: Vec<Group>,
    distinct: Distinct,
    /// `[distinct, embed]`: the embeddings.
    e: Buffer<T>,
    /// `[distinct, window, hidden]`: each embedding times each position's part of wx.
    table: Buffer<T>,
    /// `[distinct, window, hidden]`: dz summed by word and position, the last position first.
    q: Buffer<T>,
    /// `[distinct, embed]`: the derivatives by the embeddings.
    de: Buffer<T>,
    rows: Rows<Buffer<T>>,
    losses: Vec<T>,
}

/// Some sentences whose steps are computed together, and the place of their rows.
#[derive(Default)]
struct Group {
    packed: Packed,
    first_row: usize,
    first_rank: usize,
}

/// The parts of the rows (of which those of a group are together) and of the losses that belong to some groups.
struct Parts<'a, T> {
    groups: &'a [Group],
    rows: Rows<&'a mut [T]>,
    losses: &'a mut [T],
    strides: Strides,
}

#[derive(Clone, Copy)]
struct Strides {
    hidden: usize,
    classes: usize,
    fed_back: usize,
}

impl<T: Num> Split for Parts<'_, T> {
    fn pieces(&self) -> usize {
        self.groups.len()
    }

    fn cut(self, at: usize) -> (Self, Self) {
        let (groups, rest) = self.groups.split_at(at);
        let words = rest[0].first_row - groups[0].first_row;
        let sentences = rest[0].first_rank - groups[0].first_rank;
        let strides = self.strides;
        let (h, h2) = self.rows.h.split_at_mut(words * strides.hidden);
        let (fed_back, fed_back2) = self.rows.fed_back.split_at_mut(words * strides.fed_back);
        let (s, s2) = self.rows.s.split_at_mut(words * strides.classes);
        let (dz, dz2) = self.rows.dz.split_at_mut(words * strides.hidden);
        let (dh0, dh02) = self.rows.dh0.split_at_mut(sentences * strides.fed_back);
        let (losses, losses2) = self.losses.split_at_mut(sentences);
        (
            Parts { groups, rows: Rows { h, fed_back, s, dz, dh0 }, losses, strides },
            Parts {
                groups: rest,
                rows: Rows { h: h2, fed_back: fed_back2, s: s2, dz: dz2, dh0: dh02 },
                losses: losses2,
                strides,
            },
        )
    }
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch {
            order: Vec::new(),
            groups: Vec::new(),
            distinct: Distinct::default(),
            e: buffer(),
            table: buffer(),
            q: buffer(),
            de: buffer(),
            rows: Rows { h: buffer(), fed_back: buffer(), s: buffer(), dz: buffer(), dh0: buffer() },
            losses: Vec::new(),
        }
    }

    pub(crate) fn distinct(&self) -> &Distinct {
        &self.distinct
    }

    /// Sorts the sentences into groups; returns the number of words.
    fn plan(&mut self, batch: &[Labelled], vocab: usize, window: usize) -> usize {
        let length = |i: usize| batch[i].labels().len();
        self.order.clear();
        self.order.extend(0..batch.len());
        self.order.sort_unstable_by_key(|i| (std::cmp::Reverse(length(*i)), *i));
        self.groups.resize_with(batch.len().div_ceil(GROUP), Group::default);
        let mut row = 0;
        for (g, group) in self.groups.iter_mut().enumerate() {
            let (from, to) = (g * GROUP, batch.len().min((g + 1) * GROUP));
            group.packed.pack(from, to, |rank| length(self.order[rank]));
            group.first_row = row;
            group.first_rank = from;
            row += group.packed.rows();
        }
        self.distinct.collect(batch.iter().map(|sentence| sentence.sentence().words()), vocab, window);
        row
    }
}

/// The loss of a batch (the mean over its sentences), and the factors of `factor · batch ·` its gradient:
/// `factor` is usually `1 / batch` or `-learning_rate / batch`.
#[inline(always)]
pub(crate) fn forward_backward<S: Simd, T: Num>(
    simd: S,
    threads: usize,
    weights: &Weights<T>,
    batch: &[Labelled],
    factor: T,
    scratch: &mut Scratch<T>,
) -> T {
    let shape = &weights.shape;
    let words = scratch.plan(batch, shape.vocab, shape.window);
    let distinct = scratch.distinct.words.len();
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (s_stride, fed_back_stride) = (row_stride::<T>(shape.classes), row_stride::<T>(shape.fed_back()));
    let (embed, e_stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
    let word_stride = shape.window * stride;

    let e = grow(&mut scratch.e, distinct * e_stride);
    for (row, word) in e.chunks_exact_mut(e_stride).zip(&scratch.distinct.words) {
        row[..embed].copy_from_slice(weights.emb.row(*word));
    }
    let e = &*e;
    let table = grow(&mut scratch.table, distinct * word_stride);
    ViewMut::new(table, distinct, word_stride, word_stride).each(threads, &|from, table| {
        project(simd, weights, &e[from * e_stride..], e_stride, table);
    });
    let table = &*table;

    // Each group of sentences: forward, loss, backward as far as dz.
    scratch.losses.clear();
    scratch.losses.resize(batch.len(), T::zero());
    let rows = Rows {
        h: grow(&mut scratch.rows.h, words * stride),
        fed_back: grow(&mut scratch.rows.fed_back, words * fed_back_stride),
        s: grow(&mut scratch.rows.s, words * s_stride),
        dz: grow(&mut scratch.rows.dz, words * stride),
        dh0: grow(&mut scratch.rows.dh0, batch.len() * fed_back_stride),
    };
    let strides = Strides { hidden: stride, classes: s_stride, fed_back: fed_back_stride };
    let (order, distinct_words) = (&scratch.order, &scratch.distinct);
    let parts = Parts { groups: &scratch.groups, rows, losses: &mut scratch.losses, strides };
    parts.each(threads, &|_, parts| {
        let (first_row, first_rank) = (parts.groups[0].first_row, parts.groups[0].first_rank);
        for group in parts.groups {
            let n = group.packed.rows();
            let row = group.first_row - first_row;
            let rank = group.first_rank - first_rank;
            let sentences = group.packed.order().len();
            let rows = Rows {
                h: &mut parts.rows.h[row * stride..][..n * stride],
                fed_back: &mut parts.rows.fed_back[row * fed_back_stride..][..n * fed_back_stride],
                s: &mut parts.rows.s[row * s_stride..][..n * s_stride],
                dz: &mut parts.rows.dz[row * stride..][..n * stride],
                dh0: &mut parts.rows.dh0[rank * fed_back_stride..][..sentences * fed_back_stride],
            };
            let losses = &mut parts.losses[rank..][..sentences];
            let inputs = Inputs { table, distinct: distinct_words, order };
            group_of(simd, weights, batch, factor, &group.packed, &inputs, rows, losses);
        }
    });

    // dz summed by distinct word and position in the window.
    let q = grow(&mut scratch.q, distinct * word_stride);
    let dz = &scratch.rows.dz[..words * stride];
    let groups = &scratch.groups;
    ViewMut::new(q, distinct, word_stride, word_stride).each(threads, &|from, mut q| {
        let to = from + q.rows();
        let q = q.as_mut_slice();
        simd.vectorize(
            #[inline(always)]
            || {
                q.fill(T::zero());
                for group in groups {
                    for (row, rank, t) in group.packed.each_row() {
                        let dz = &dz[(group.first_row + row) * stride..][..hidden];
                        let ids = distinct_words.window(order[rank], t, shape.window);
                        for (o, id) in ids.iter().enumerate() {
                            if (from..to).contains(id) {
                                let block = (id - from) * shape.window + shape.window - 1 - o;
                                kernel::add(simd, dz, &mut q[block * stride..][..hidden]);
                            }
                        }
                    }
                }
            },
        );
    });
    let q = &*q;

    let de = grow(&mut scratch.de, distinct * e_stride);
    de.fill(T::zero());
    let blocks = Blocks { count: shape.window, a: stride, w: shape.embed };
    let width = (shape.window - 1) * stride + hidden;
    ViewMut::new(de, distinct, shape.embed, e_stride).each(threads, &|from, de| {
        kernel::dot_blocks(
            simd,
            #[inline(always)]
            |d| &q[(from + d) * word_stride..][..width],
            weights.wx.view(),
            blocks,
            de,
        );
    });

    let sum = scratch.losses.iter().fold(T::zero(), |sum, loss| sum + *loss);
    sum / T::from_f64(batch.len() as f64)
}

/// `table[d, o] = e[d] · wx[o]` for every position o of the window.
#[inline(always)]
pub(crate) fn project<S: Simd, T: Num>(
    simd: S,
    weights: &Weights<T>,
    e: &[T],
    e_stride: usize,
    mut table: ViewMut<'_, T>,
) {
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let rows = table.rows();
    let e = View::new(e, rows, shape.embed, e_stride, 1);
    table.as_mut_slice()[..rows * shape.window * stride].fill(T::zero());
    for o in 0..shape.window {
        let wx = weights.wx.view().rows_from(o * shape.embed, shape.embed);
        kernel::product(simd, e, wx, table.reborrow().cols_from(o * stride, hidden));
    }
}

struct Inputs<'a, T> {
    table: &'a [T],
    distinct: &'a Distinct,
    order: &'a [usize],
}

/// One group: states, probabilities, losses, dz and dh0.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn group_of<S: Simd, T: Num>(
    simd: S,
    weights: &Weights<T>,
    batch: &[Labelled],
    factor: T,
    packed: &Packed,
    inputs: &Inputs<'_, T>,
    mut rows: Rows<&mut [T]>,
    losses: &mut [T],
) {
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let n = packed.rows();
    let first_rank = packed.order().iter().copied().min().unwrap_or(0);
    simd.vectorize(
        #[inline(always)]
        || {
            for (row, rank, t) in packed.each_row() {
                let ids = inputs.distinct.window(inputs.order[rank], t, shape.window);
                let z = &mut rows.h[row * stride..][..hidden];
                kernel::sum_rows(simd, &weights.bh, inputs.table, stride, shape.window, ids, z);
            }
        },
    );
    match shape.feedback {
        Feedback::Hidden => forward_states(simd, packed, weights, &mut rows),
        Feedback::Output => jordan::forward(simd, packed, weights, &mut rows),
    }
    losses.fill(T::zero());
    simd.vectorize(
        #[inline(always)]
        || {
            for (row, rank, t) in packed.each_row() {
                let labels = batch[inputs.order[rank]].labels();
                let words = T::from_f64(labels.len() as f64);
                let scale = factor / words;
                let s = &mut rows.s[row * s_stride..][..classes];
                losses[rank - first_rank] += kernel::derive_softmax(simd, s, labels[t], scale) / words;
            }
        },
    );

    match shape.feedback {
        Feedback::Hidden => {
            rows.dz.fill(T::zero());
            let ds = View::new(rows.s, n, classes, s_stride, 1);
            kernel::dot(simd, ds, weights.w.view_padded(), ViewMut::new(rows.dz, n, hidden, stride));
            rows.dh0.fill(T::zero());
            packed::backward(simd, packed, weights.wh.view_padded(), rows.h, rows.dz, rows.dh0, stride);
        }
        Feedback::Output => jordan::backward(simd, packed, weights, &mut rows),
    }
}

/// The states over z, what is fed back, and the logits of a group.
#[inline(always)]
fn forward_states<S: Simd, T: Num>(
    simd: S,
    packed: &Packed,
    weights: &Weights<T>,
    rows: &mut Rows<&mut [T]>,
) {
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    packed::forward(simd, packed, &weights.h0, weights.wh.view(), rows.h, stride);
    for t in 0..packed.steps() {
        for rank in 0..packed.active(t) {
            let to = &mut rows.fed_back[(packed.offset(t) + rank) * stride..][..hidden];
            match t.checked_sub(1) {
                None => to.copy_from_slice(&weights.h0),
                Some(t) => to.copy_from_slice(&rows.h[(packed.offset(t) + rank) * stride..][..hidden]),
            }
        }
    }
    for row in rows.s.chunks_exact_mut(s_stride) {
        row[..classes].copy_from_slice(&weights.b);
    }
    let n = packed.rows();
    let states = View::new(rows.h, n, shape.hidden, stride, 1);
    kernel::product(simd, states, weights.w.view(), ViewMut::new(rows.s, n, classes, s_stride));
}

/// After [`forward_backward`]: adds the gradient to `target`, which may be the parameters themselves.
#[inline(always)]
pub(crate) fn apply<S: Simd, T: Num>(simd: S, threads: usize, scratch: &Scratch<T>, target: &mut Weights<T>) {
    let shape = target.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let (embed, e_stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
    let word_stride = shape.window * stride;
    let words = scratch.groups.iter().map(|group| group.packed.rows()).sum();
    let distinct = scratch.distinct.words.len();
    let fed_back_stride = row_stride::<T>(shape.fed_back());
    let Rows { h, fed_back, s, dz, dh0 } = &scratch.rows;

    let h = View::new(h, words, shape.hidden, stride, 1).t();
    let fed_back = View::new(fed_back, words, shape.fed_back(), fed_back_stride, 1).t();
    let ds = View::new(s, words, classes, s_stride, 1);
    let dz = View::new(dz, words, hidden, stride, 1);
    target.w.view_mut().each(threads, &|from, w| {
        kernel::weight_product(simd, h.rows_from(from, w.rows()), ds, w);
    });
    target.wh.view_mut().each(threads, &|from, wh| {
        kernel::weight_product(simd, fed_back.rows_from(from, wh.rows()), dz, wh);
    });
    let e = View::new(&scratch.e, distinct, shape.embed, e_stride, 1).t();
    target.wx.view_mut().each(threads, &|from, wx| {
        // Rows of wx, position by position in the window.
        let (mut wx, mut from) = (wx, from);
        while wx.rows() > 0 {
            let (o, first) = (from / shape.embed, from % shape.embed);
            let rows = wx.rows().min(shape.embed - first);
            let block = (shape.window - 1 - o) * stride;
            let q = View::new(&scratch.q[block..], distinct, hidden, word_stride, 1);
            let (now, rest) = wx.cut(rows);
            kernel::product(simd, e.rows_from(first, rows), q, now);
            (wx, from) = (rest, from + rows);
        }
    });

    simd.vectorize(
        #[inline(always)]
        || {
            for row in s[..words * s_stride].chunks_exact(s_stride) {
                kernel::add(simd, &row[..classes], &mut target.b);
            }
            for row in scratch.rows.dz[..words * stride].chunks_exact(stride) {
                kernel::add(simd, &row[..hidden], &mut target.bh);
            }
            let fed_back = padded::<T>(shape.fed_back());
            for row in dh0.chunks_exact(fed_back_stride).take(scratch.order.len()) {
                kernel::add(simd, &row[..fed_back], &mut target.h0);
            }
            for (word, de) in scratch.distinct.words.iter().zip(scratch.de.chunks_exact(e_stride)) {
                kernel::add(simd, &de[..embed], target.emb.row_mut(*word));
            }
        },
    );
}
