//! One sentence: forward, backward, and the products that its gradient is.
//!
//! The gradient is never stored: its small factors are (the states, and the gradients of the pre-activations and of the
//! logits), and [`Scratch::apply`] adds their products to wherever they belong, be it a sum of gradients or, already
//! scaled by the learning rate, the parameters themselves.

use elman::{Feedback, Shape};
use fearless_simd::Simd;

use crate::kernel::{self, Blocks};
use crate::layer::{self, Backward, Output};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
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
    /// `[words + window - 1, blocks]`: the pre-activations, then their gradients, with rows of zeros on both sides.
    a: Buffer<T>,
    /// `[words + 1, states·hidden]`; row 0 is h0 (in a Jordan network nothing), row t + 1 is h[t]; of an LSTM with c0 and
    /// c[t] beside them.
    h: Buffer<T>,
    /// In a Jordan network `[words, classes]`: row 0 is h0, row t + 1 the probabilities s[t].
    fed_back: Buffer<T>,
    /// `[words, classes]`: logits, then probabilities, then the gradients of the logits.
    s: Buffer<T>,
    /// `[words, hidden]`: the gradients of the states from the logits.
    dh: Buffer<T>,
    /// `[states·hidden]`, in a Jordan network `[classes]`: the gradient that a step carries back; at last that of h0.
    carried: Buffer<T>,
    zeros: Buffer<T>,
    /// `[window, blocks]`: the gradients of the pre-activations summed over the words that see padding, by position
    /// in the window, the last position first.
    a_padding: Buffer<T>,
    /// `[words + 1, embed]`: the gradients of the words' embeddings, then of the padding's.
    dx: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch {
            pack: Pack::default(),
            x: buffer(),
            a: buffer(),
            h: buffer(),
            fed_back: buffer(),
            s: buffer(),
            dh: buffer(),
            carried: buffer(),
            zeros: buffer(),
            a_padding: buffer(),
            dx: buffer(),
        }
    }

    /// The states and the logits of a sentence.
    pub(crate) fn forward<S: Simd>(&mut self, simd: S, weights: &Weights<T>, words: &[u32]) {
        let shape = weights.shape();
        let (embed, half) = (shape.embed, shape.window / 2);
        let x = grow(&mut self.x, (words.len() + shape.window - 1) * embed);
        for (p, row) in x.chunks_exact_mut(embed).enumerate() {
            let word = p.checked_sub(half).and_then(|t| words.get(t)).copied().unwrap_or(shape.padding());
            row.copy_from_slice(&weights.emb.row(word as usize)[..embed]);
        }
        let windows = View::new(x, words.len(), shape.input(), embed, 1);

        let layer = weights.dense.layer();
        let (width, stride) = (layer.width(), row_stride::<T>(layer.width()));
        let a = grow(&mut self.a, (words.len() + shape.window - 1) * stride);
        let a = &mut a[half * stride..][..words.len() * stride];
        for row in a.chunks_exact_mut(stride) {
            row[..width].copy_from_slice(layer.bias);
        }
        layer::project(simd, &layer, windows, ViewMut::new(a, words.len(), width, stride));

        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let s = grow(&mut self.s, words.len() * s_stride);
        for row in s.chunks_exact_mut(s_stride) {
            row[..classes].copy_from_slice(&weights.dense.b);
        }
        let (states, h_stride) = (layer.states(), row_stride::<T>(layer.states()));
        let (h0, h) = grow(&mut self.h, (words.len() + 1) * h_stride).split_at_mut(h_stride);
        let (w, h0_weights) = (weights.dense.w.view(), &weights.dense.h0);
        let output = (shape.feedback == Feedback::Output).then(|| {
            let fed_back = grow(&mut self.fed_back, words.len() * s_stride);
            fed_back[..classes].copy_from_slice(h0_weights);
            let w_backwards = weights.dense.w_backwards();
            Output { w, w_backwards, s: &mut *s, fed_back, stride: s_stride }
        });
        if output.is_none() {
            h0[..states].copy_from_slice(h0_weights);
        }
        let in_loop = output.is_some();
        let first = View::new(h0, 1, layer.wh.rows().min(states), h_stride, 1);
        self.pack.pack(1, |_| words.len());
        let a = ViewMut::new(a, words.len(), width, stride);
        let rows = ViewMut::new(h, words.len(), states, h_stride);
        layer::forward(simd, &self.pack, &layer, first, a, rows, output);
        if !in_loop {
            let states = View::new(h, words.len(), shape.hidden, h_stride, 1);
            kernel::product(simd, states, w, ViewMut::new(s, words.len(), classes, s_stride));
        }
    }

    /// Row t of the logits that [`Scratch::forward`] left, or of the probabilities.
    pub(crate) fn output(&self, shape: &Shape, t: usize) -> &[T] {
        &self.s[t * row_stride::<T>(shape.classes)..][..shape.classes]
    }

    /// After [`Scratch::forward`]: the logits become probabilities.
    pub(crate) fn probabilities<S: Simd>(&mut self, simd: S, shape: &Shape, words: usize) {
        let (classes, stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        simd.vectorize(
            #[inline(always)]
            || {
                for row in self.s[..words * stride].chunks_exact_mut(stride) {
                    kernel::softmax(simd, &mut row[..classes]);
                }
            },
        );
    }

    /// After [`Scratch::forward`]: the loss of the sentence, and the factors of `scale · words ·` its gradient.
    /// (The loss is a mean over the words, so `scale` is usually `1 / words` or `-learning_rate / words`.)
    pub(crate) fn backward<S: Simd>(&mut self, simd: S, weights: &Weights<T>, labels: &[u32], scale: T) -> T {
        let shape = weights.shape();
        let layer = weights.dense.layer();
        let words = labels.len();
        let half = shape.window / 2;

        // ds = scale · (s - onehot(label))
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let s = &mut self.s[..words * s_stride];
        let mut loss = T::zero();
        for (row, label) in s.chunks_exact_mut(s_stride).zip(labels) {
            loss += simd.vectorize(
                #[inline(always)]
                || kernel::derive_softmax(simd, &mut row[..classes], *label as usize, scale),
            );
        }

        let (width, stride) = (layer.width(), row_stride::<T>(layer.width()));
        let (hidden, states, h_stride) = (layer.hidden(), layer.states(), row_stride::<T>(layer.states()));
        let dh_stride = row_stride::<T>(hidden);
        let a = &mut self.a[..(words + shape.window - 1) * stride];
        a[..half * stride].fill(T::zero());
        a[(half + words) * stride..].fill(T::zero());
        let dh = grow(&mut self.dh, words * dh_stride);
        let (w, w_backwards) = (weights.dense.w.view(), weights.dense.w_backwards());
        let (h0, h) = self.h.split_at(h_stride);
        let output = if shape.feedback == Feedback::Output {
            let fed_back = &mut self.fed_back[..words * s_stride];
            Some(Output { w, w_backwards, s, fed_back, stride: s_stride })
        } else {
            dh.fill(T::zero());
            let ds = View::new(s, words, classes, s_stride, 1);
            w_backwards.product(simd, 0, ds, ViewMut::new(dh, words, hidden, dh_stride));
            None
        };
        let first = weights.dense.h0.len();
        let carried = grow(&mut self.carried, first);
        carried.fill(T::zero());
        let zeros = grow(&mut self.zeros, hidden);
        let rows = Backward {
            a: ViewMut::new(&mut a[half * stride..], words, width, stride),
            h: View::new(h, words, states, h_stride, 1),
            dh,
            dh_stride,
            carried: ViewMut::new(carried, 1, first, first),
            zeros,
        };
        let first = View::new(h0, 1, states, h_stride, 1);
        layer::backward(simd, &self.pack, &layer, first, rows, output);

        // The gradient of the embeddings, without dx by window position: for each word one sum over all the
        // windows that see it and over the hidden units; all padding is one word more.
        let gates = layer.gates_width();
        let a_padding = grow(&mut self.a_padding, shape.window * stride);
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
        let dx_stride = row_stride::<T>(shape.embed);
        let dx = grow(&mut self.dx, (words + 1) * dx_stride);
        dx.fill(T::zero());
        // One row for each word, and one for the padding if there is any.
        let rows = words + usize::from(shape.window > 1);
        let (a, a_padding) = (&*a, &*a_padding);
        for part in parts(layer.cell) {
            let (from, gates) = (part.block * hidden, part.gates * hidden);
            let width = (shape.window - 1) * stride + gates;
            kernel::dot_blocks(
                simd,
                #[inline(always)]
                |t| if t < words { &a[t * stride + from..][..width] } else { &a_padding[from..][..width] },
                layer.wx.cols_from(part.gate * hidden, gates),
                Blocks { count: shape.window, a: stride, w: shape.embed },
                ViewMut::new(dx, rows, shape.embed, dx_stride),
            );
        }
        loss / T::from_f64(words as f64)
    }

    /// After [`Scratch::backward`]: adds the gradient of all but the embeddings to `target`, which may be the
    /// parameters themselves.
    pub(crate) fn apply<S: Simd>(&self, simd: S, words: usize, target: &mut Dense<T>) {
        let shape = target.shape;
        let hidden = padded::<T>(shape.hidden);
        let h_stride = row_stride::<T>(shape.cell.states() * hidden);
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        let width = blocks(shape.cell) * hidden;
        let stride = row_stride::<T>(width);
        let from = width - shape.cell.gates() * hidden;
        let h = View::new(&self.h[h_stride..], words, shape.hidden, h_stride, 1).t();
        let fed_back = match shape.feedback {
            Feedback::Hidden => View::new(&self.h, words, shape.hidden, h_stride, 1).t(),
            Feedback::Output => View::new(&self.fed_back, words, shape.classes, s_stride, 1).t(),
        };
        let x = View::new(&self.x, words, shape.input(), shape.embed, 1).t();
        let ds = View::new(&self.s, words, classes, s_stride, 1);
        let a = &self.a[shape.window / 2 * stride..][..words * stride];
        let da = View::new(a, words, width, stride, 1);
        kernel::product(simd, h, ds, target.w.view_mut());
        kernel::product(simd, fed_back, da.cols_from(from, width - from), target.wh.view_mut());
        for part in parts(shape.cell) {
            let gates = part.gates * hidden;
            let da = da.cols_from(part.block * hidden, gates);
            kernel::product(simd, x, da, target.wx.view_mut().cols_from(part.gate * hidden, gates));
        }
        simd.vectorize(
            #[inline(always)]
            || {
                for row in self.s[..words * s_stride].chunks_exact(s_stride) {
                    kernel::add(simd, &row[..classes], &mut target.b);
                }
                for row in a.chunks_exact(stride) {
                    kernel::add(simd, &row[..width], &mut target.bias);
                }
                kernel::add(simd, &self.carried[..target.h0.len()], &mut target.h0);
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
