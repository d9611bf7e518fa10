//! One sentence: forward, backward, and the products that its gradient is.
//!
//! The gradient is never stored: its small factors are (the states, and the gradients of the pre-activations and of the
//! logits), and [`Scratch::apply`] adds their products to wherever they belong, be it a sum of gradients or, already
//! scaled by the learning rate, the parameters themselves.

use elman::{Direction, Feedback, Shape};
use fearless_simd::Simd;

use crate::crf;
use crate::kernel::{self, Blocks};
use crate::layer::{self, Backward, Output};
use crate::matrix::{Buffer, Matrix, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::pack::Pack;
use crate::unit::{blocks, parts};
use crate::weights::{Dense, Weights};

/// The memory of a sentence's steps; grows to the longest sentence and stays.
pub(crate) struct Scratch<T> {
    /// The sentence as the only one of a pack.
    pack: Pack,
    /// The embeddings of the words with the padding's on both sides, `[words + window - 1, embed]`: the
    /// input x[t] is the part from row t on, so the windows are never copied.
    x: Buffer<T>,
    /// The layers in their directions.
    rows: Vec<Rows<T>>,
    /// Where there are two directions, for each layer its h of both side by side, `[words, 2·hidden]`.
    both: Vec<Buffer<T>>,
    /// In a Jordan network `[words, classes]`: row 0 is h0, row t + 1 the probabilities s[t].
    fed_back: Buffer<T>,
    /// `[words, classes]`: logits, then probabilities, then the gradients of the logits.
    s: Buffer<T>,
    /// `[words, hidden]`, of both directions `[words, 2·hidden]`: the gradients of the states from what is above.
    above: Buffer<T>,
    /// `[words, hidden]`: those of one direction.
    dh: Buffer<T>,
    zeros: Buffer<T>,
    /// `[window, blocks]`: the gradients of the pre-activations summed over the words that see padding, by position
    /// in the window, the last position first.
    a_padding: Buffer<T>,
    /// `[words + 1, embed]`: the gradients of the words' embeddings, then of the padding's.
    dx: Buffer<T>,
    crf: crf::Scratch<T>,
    /// `[classes, classes]`: the gradient of the loss by the CRF's transitions, and its factor.
    pairs: Matrix<T>,
    scale: T,
}

/// The rows of a layer in one direction.
struct Rows<T> {
    /// `[words, blocks]`: the pre-activations, then their gradients; of the first layer with `window / 2` rows of zeros on
    /// both sides.
    a: Buffer<T>,
    /// `[words + 1, states·hidden]`, in the order of the words, before those that are read first h0 (in a Jordan network
    /// nothing), of an LSTM with c0 and c[t] beside them.
    h: Buffer<T>,
    /// `[states·hidden]`, in a Jordan network `[classes]`: the gradient that a step carries back; at last that of h0.
    carried: Buffer<T>,
}

/// The place of h0 among the rows of h, and the first of h and of the states before each step.
fn order(direction: Direction, words: usize) -> (usize, usize, usize) {
    match direction {
        Direction::Forward => (0, 1, 0),
        Direction::Reverse => (words, 0, 1),
    }
}

/// The output of layer `number`, `[words, hidden]` or of both directions `[words, 2·hidden]`.
fn layer_below<'a, T: Num>(
    shape: &Shape,
    number: usize,
    rows: &'a [Rows<T>],
    both: &'a [Buffer<T>],
    words: usize,
) -> View<'a, T> {
    if shape.bidirectional {
        return View::new(&both[number], words, shape.top(), row_stride::<T>(shape.top()), 1);
    }
    let stride = row_stride::<T>(shape.cell.states() * padded::<T>(shape.hidden));
    View::new(&rows[number].h[stride..], words, shape.hidden, stride, 1)
}

/// The rows of padding on one side of the rows of a layer.
fn half(shape: &Shape, place: usize) -> usize {
    if place < shape.directions().len() { shape.window / 2 } else { 0 }
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch {
            pack: Pack::default(),
            x: buffer(),
            rows: Vec::new(),
            both: Vec::new(),
            fed_back: buffer(),
            s: buffer(),
            above: buffer(),
            dh: buffer(),
            zeros: buffer(),
            a_padding: buffer(),
            dx: buffer(),
            crf: crf::Scratch::new(),
            pairs: Matrix::zeros(0, 0),
            scale: T::zero(),
        }
    }

    /// The states and the logits of a sentence.
    pub(crate) fn forward<S: Simd>(&mut self, simd: S, weights: &Weights<T>, words: &[u32]) {
        let shape = weights.shape();
        let embed = shape.embed;
        let x = grow(&mut self.x, (words.len() + shape.window - 1) * embed);
        for (p, row) in x.chunks_exact_mut(embed).enumerate() {
            let word = p
                .checked_sub(shape.window / 2)
                .and_then(|t| words.get(t))
                .copied()
                .unwrap_or(shape.padding());
            row.copy_from_slice(&weights.emb.row(word as usize)[..embed]);
        }
        self.rows.resize_with(weights.dense.layers.len(), || Rows {
            a: buffer(),
            h: buffer(),
            carried: buffer(),
        });
        self.both.resize_with(shape.layers, buffer);

        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let s = grow(&mut self.s, words.len() * s_stride);
        for row in s.chunks_exact_mut(s_stride) {
            row[..classes].copy_from_slice(&weights.dense.b);
        }
        self.pack.pack(1, |_| words.len());
        let directions = shape.directions().len();
        for (place, of_layer) in weights.dense.layers.iter().enumerate() {
            let (below, rows) = self.rows.split_at_mut(place);
            let Rows { a, h, .. } = &mut rows[0];
            let layer = of_layer.view();
            let input = match place.checked_sub(directions) {
                None => View::new(&self.x, words.len(), shape.input(), embed, 1),
                Some(_) => layer_below(shape, place / directions - 1, below, &self.both, words.len()),
            };
            let (width, stride) = (layer.width(), row_stride::<T>(layer.width()));
            let half = half(shape, place);
            let a = grow(a, (words.len() + 2 * half) * stride);
            let a = &mut a[half * stride..][..words.len() * stride];
            for row in a.chunks_exact_mut(stride) {
                row[..width].copy_from_slice(layer.bias);
            }
            layer::project(simd, &layer, input, ViewMut::new(a, words.len(), width, stride));

            let (states, h_stride) = (layer.states(), row_stride::<T>(layer.states()));
            let h = grow(h, (words.len() + 1) * h_stride);
            let (h0, from, _) = order(layer.direction, words.len());
            let (left, right) = h.split_at_mut(h0.max(from) * h_stride);
            let (h0, h) = if h0 < from { (left, right) } else { (right, left) };
            let output = (shape.feedback == Feedback::Output).then(|| {
                let fed_back = grow(&mut self.fed_back, words.len() * s_stride);
                fed_back[..classes].copy_from_slice(&of_layer.h0);
                let (w, w_backwards) = (weights.dense.w.view(), weights.dense.w_backwards());
                Output { w, w_backwards, s: &mut *s, fed_back, stride: s_stride }
            });
            if output.is_none() {
                h0[..states].copy_from_slice(&of_layer.h0);
            }
            let first = View::new(h0, 1, layer.wh.rows().min(states), h_stride, 1);
            let a = ViewMut::new(a, words.len(), width, stride);
            let h = ViewMut::new(h, words.len(), states, h_stride);
            layer::forward(simd, &self.pack, &layer, first, a, h, output);
            if directions > 1 {
                let both =
                    grow(&mut self.both[place / directions], words.len() * row_stride::<T>(shape.top()));
                let direction = place % directions;
                for (t, row) in both.chunks_exact_mut(row_stride::<T>(shape.top())).enumerate() {
                    let h = &rows[0].h[(from + t) * h_stride..][..shape.hidden];
                    row[direction * shape.hidden..][..shape.hidden].copy_from_slice(h);
                }
            }
        }
        if shape.feedback == Feedback::Hidden {
            let states = layer_below(shape, shape.layers - 1, &self.rows, &self.both, words.len());
            kernel::product(
                simd,
                states,
                weights.dense.w.view(),
                ViewMut::new(s, words.len(), classes, s_stride),
            );
        }
    }

    /// The rows of the logits that [`Scratch::forward`] left, with their padding.
    pub(crate) fn outputs_mut(&mut self, shape: &Shape, words: usize) -> impl Iterator<Item = &mut [T]> {
        let (classes, stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        self.s[..words * stride].chunks_exact_mut(stride).map(move |row| &mut row[..classes])
    }

    /// After [`Scratch::forward`]: the rows of the logits, one after the other, and memory of a CRF.
    pub(crate) fn chain(&mut self, shape: &Shape, words: usize) -> (&mut crf::Scratch<T>, &mut [T]) {
        (&mut self.crf, &mut self.s[..words * row_stride::<T>(shape.classes)])
    }

    /// After [`Scratch::forward`]: the loss of the sentence, and the factors of `scale · words ·` its gradient.
    /// (The loss is a mean over the words, so `scale` is usually `1 / words` or `-learning_rate / words`.)
    pub(crate) fn backward<S: Simd>(&mut self, simd: S, weights: &Weights<T>, labels: &[u32], scale: T) -> T {
        let shape = weights.shape();
        let words = labels.len();

        // ds = scale · (s - onehot(label))
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let s = &mut self.s[..words * s_stride];
        let mut loss = T::zero();
        if let Some(crf) = &weights.dense.crf {
            if self.pairs.cols() == 0 {
                self.pairs = Matrix::zeros(shape.classes, shape.classes);
            }
            self.pairs.data_mut().fill(T::zero());
            self.scale = scale;
            loss = self.crf.marginals(simd, crf, s, Some((labels, &mut self.pairs)));
            simd.vectorize(
                #[inline(always)]
                || {
                    for (row, label) in s.chunks_exact_mut(s_stride).zip(labels) {
                        row[*label as usize] -= T::one();
                        kernel::scale(simd, scale, &mut row[..classes]);
                    }
                },
            );
        } else {
            for (row, label) in s.chunks_exact_mut(s_stride).zip(labels) {
                loss += simd.vectorize(
                    #[inline(always)]
                    || kernel::derive_softmax(simd, &mut row[..classes], *label as usize, scale),
                );
            }
        }

        let hidden = padded::<T>(shape.hidden);
        let (dh_stride, above_stride) = (row_stride::<T>(hidden), row_stride::<T>(shape.top()));
        let (w, w_backwards) = (weights.dense.w.view(), weights.dense.w_backwards());
        let directions = shape.directions().len();
        let zeros = grow(&mut self.zeros, hidden);
        let dx_stride = row_stride::<T>(shape.embed);
        // One row for each word, and one for the padding if there is any.
        let dx_rows = words + usize::from(shape.window > 1);
        grow(&mut self.dx, (words + 1) * dx_stride).fill(T::zero());
        if shape.feedback == Feedback::Hidden {
            let above = grow(&mut self.above, words * above_stride);
            above.fill(T::zero());
            let ds = View::new(s, words, classes, s_stride, 1);
            w_backwards.product(
                simd,
                0,
                ds,
                ViewMut::new(above, words, padded::<T>(shape.top()), above_stride),
            );
        }
        for number in (0..shape.layers).rev() {
            for place in number * directions..(number + 1) * directions {
                let of_layer = &weights.dense.layers[place];
                let layer = of_layer.view();
                let Rows { a, h, carried } = &mut self.rows[place];
                let (width, stride) = (layer.width(), row_stride::<T>(layer.width()));
                let (states, h_stride) = (layer.states(), row_stride::<T>(layer.states()));
                let half = half(shape, place);
                let a = &mut a[..(words + 2 * half) * stride];
                a[..half * stride].fill(T::zero());
                a[(half + words) * stride..].fill(T::zero());
                // With one direction the gradients from above are those of the states.
                if directions > 1 {
                    let dh = grow(&mut self.dh, words * dh_stride);
                    let from = (place % directions) * shape.hidden;
                    for (dh, above) in
                        dh.chunks_exact_mut(dh_stride).zip(self.above.chunks_exact(above_stride))
                    {
                        dh[..shape.hidden].copy_from_slice(&above[from..][..shape.hidden]);
                        dh[shape.hidden..].fill(T::zero());
                    }
                }
                let dh = if directions == 1 { &mut self.above } else { &mut self.dh };
                let dh = grow(dh, words * dh_stride);
                let output = (shape.feedback == Feedback::Output).then(|| {
                    let fed_back = &mut self.fed_back[..words * s_stride];
                    Output { w, w_backwards, s: &mut *s, fed_back, stride: s_stride }
                });
                let first = of_layer.h0.len();
                let carried = grow(carried, first);
                carried.fill(T::zero());
                let (h0, from, _) = order(layer.direction, words);
                let rows = Backward {
                    a: ViewMut::new(&mut a[half * stride..], words, width, stride),
                    h: View::new(&h[from * h_stride..], words, states, h_stride, 1),
                    dh,
                    dh_stride,
                    carried: ViewMut::new(carried, 1, first, first),
                    zeros,
                };
                let first = View::new(&h[h0 * h_stride..], 1, states, h_stride, 1);
                layer::backward(simd, &self.pack, &layer, first, rows, output);
            }
            if number > 0 {
                let above = grow(&mut self.above, words * above_stride);
                above.fill(T::zero());
                for place in number * directions..(number + 1) * directions {
                    let layer = weights.dense.layers[place].view();
                    let (width, stride) = (layer.width(), row_stride::<T>(layer.width()));
                    let a = View::new(&self.rows[place].a, words, width, stride, 1);
                    for part in parts(layer.cell) {
                        let (gates, block) = (part.gates * hidden, part.block * hidden);
                        let wx = layer.wx.cols_from(part.gate * hidden, gates);
                        let above = ViewMut::new(above, words, shape.top(), above_stride);
                        kernel::dot(simd, a.cols_from(block, gates), wx, above);
                    }
                }
            }
        }
        for (rows, layer) in self.rows.iter().zip(&weights.dense.layers).take(directions) {
            // The gradient of the embeddings, without dx by window position: for each word one sum over all the
            // windows that see it and over the hidden units; all padding is one word more.
            let layer = layer.view();
            let (half, gates, stride) =
                (shape.window / 2, layer.gates_width(), row_stride::<T>(layer.width()));
            let a_padding = grow(&mut self.a_padding, shape.window * stride);
            let a = &rows.a[..(words + shape.window - 1) * stride];
            a_padding.fill(T::zero());
            simd.vectorize(
                #[inline(always)]
                || {
                    for (o, sum) in a_padding.chunks_exact_mut(stride).rev().enumerate() {
                        let sees_padding = if o <= half {
                            0..(half - o).min(words)
                        } else {
                            words.saturating_sub(o - half)..words
                        };
                        for t in sees_padding {
                            kernel::add(simd, &a[(half + t) * stride..][..gates], &mut sum[..gates]);
                        }
                    }
                },
            );
            let a_padding = &*a_padding;
            for part in parts(layer.cell) {
                let (from, gates) = (part.block * hidden, part.gates * hidden);
                let width = (shape.window - 1) * stride + gates;
                kernel::dot_blocks(
                    simd,
                    #[inline(always)]
                    |t| {
                        if t < words { &a[t * stride + from..][..width] } else { &a_padding[from..][..width] }
                    },
                    layer.wx.cols_from(part.gate * hidden, gates),
                    Blocks { count: shape.window, a: stride, w: shape.embed },
                    ViewMut::new(&mut self.dx, dx_rows, shape.embed, dx_stride),
                );
            }
        }
        loss / T::from_f64(words as f64)
    }

    /// After [`Scratch::backward`]: adds the gradient of all but the embeddings to `target`, which may be the
    /// parameters themselves.
    pub(crate) fn apply<S: Simd>(&self, simd: S, words: usize, target: &mut Dense<T>) {
        let shape = target.shape;
        let (hidden, directions) = (padded::<T>(shape.hidden), shape.directions().len());
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let ds = View::new(&self.s, words, classes, s_stride, 1);
        let top = layer_below(&shape, shape.layers - 1, &self.rows, &self.both, words);
        kernel::product(simd, top.t(), ds, target.w.view_mut());
        for (place, (rows, layer)) in self.rows.iter().zip(&mut target.layers).enumerate() {
            let (cell, direction) = (layer.view().cell, layer.view().direction);
            let width = blocks(cell) * hidden;
            let stride = row_stride::<T>(width);
            let from = width - cell.gates() * hidden;
            let h_stride = row_stride::<T>(cell.states() * hidden);
            let (_, _, before) = order(direction, words);
            let fed_back = match shape.feedback {
                Feedback::Hidden => {
                    View::new(&rows.h[before * h_stride..], words, shape.hidden, h_stride, 1).t()
                }
                Feedback::Output => View::new(&self.fed_back, words, shape.classes, s_stride, 1).t(),
            };
            let x = match place.checked_sub(directions) {
                None => View::new(&self.x, words, shape.input(), shape.embed, 1).t(),
                Some(_) => layer_below(&shape, place / directions - 1, &self.rows, &self.both, words).t(),
            };
            let a = &rows.a[half(&shape, place) * stride..][..words * stride];
            let da = View::new(a, words, width, stride, 1);
            kernel::product(simd, fed_back, da.cols_from(from, width - from), layer.wh.view_mut());
            for part in parts(cell) {
                let gates = part.gates * hidden;
                let da = da.cols_from(part.block * hidden, gates);
                kernel::product(simd, x, da, layer.wx.view_mut().cols_from(part.gate * hidden, gates));
            }
            simd.vectorize(
                #[inline(always)]
                || {
                    for row in a.chunks_exact(stride) {
                        kernel::add(simd, &row[..width], &mut layer.bias);
                    }
                    kernel::add(simd, &rows.carried[..layer.h0.len()], &mut layer.h0);
                },
            );
        }
        simd.vectorize(
            #[inline(always)]
            || {
                for row in self.s[..words * s_stride].chunks_exact(s_stride) {
                    kernel::add(simd, &row[..classes], &mut target.b);
                }
                if let Some(crf) = &mut target.crf {
                    let [transitions, start, end] = crf.slices_mut();
                    kernel::add_scaled(simd, self.scale, self.pairs.data(), transitions);
                    kernel::add(simd, &self.s[..classes], start);
                    kernel::add(simd, &self.s[(words - 1) * s_stride..][..classes], end);
                }
            },
        );
    }

    /// After [`Scratch::backward`]: the gradients of the words' embeddings, and of the padding's. A word that occurs
    /// twice has two.
    pub(crate) fn rows<'a>(
        &'a self,
        shape: &Shape,
        words: &'a [u32],
    ) -> impl Iterator<Item = (u32, &'a [T])> + use<'a, T> {
        let (embed, stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
        let padding = (shape.window > 1).then_some(shape.padding());
        let rows = self.dx.chunks_exact(stride).map(move |row| &row[..embed]);
        words.iter().copied().chain(padding).zip(rows)
    }
}
