//! One sentence: forward, backward, and what its gradient adds to the parameters.
//!
//! The gradient is never stored: the small factors of it are (the states, and the derivatives by the
//! hidden units and by the logits), and [`apply`] adds their products to wherever they belong, be it a
//! gradient or, already scaled by the learning rate, the parameters themselves.

use std::ops::Range;

use elman::{Feedback, Shape};
use fearless_simd::Simd;

use crate::jordan;
use crate::kernel::{self, Blocks};
use crate::matrix::{Buffer, View, ViewMut, buffer, grow, padded, row_stride};
use crate::num::Num;
use crate::packed::{Packed, Rows};
use crate::pool::Split;
use crate::team::{Member, share};
use crate::weights::Weights;

/// What a sentence needs between its steps; grows to the longest sentence and stays.
pub(crate) struct Scratch<T> {
    /// The embeddings of the words with the padding's on both sides, `[words + window - 1, embed]`: the
    /// input x[t] is the part from row t on, so the windows are never copied.
    x: Buffer<T>,
    /// `[words + 1, hidden]`; row 0 is h0 (in a Jordan network nothing), row t + 1 is h[t].
    h: Buffer<T>,
    /// In a Jordan network `[words, classes]`: row 0 is h0, row t + 1 the probabilities s[t].
    fed_back: Buffer<T>,
    /// For a Jordan network: the sentence as the only one of a group.
    packed: Packed,
    /// `[words, classes]`: logits, then probabilities, then the derivatives by the logits.
    s: Buffer<T>,
    /// `[words + window - 1, hidden]`: the derivatives by the hidden units before the sigmoid, with rows of
    /// zeros on both sides.
    dz: Buffer<T>,
    /// `[hidden]`, in a Jordan network `[classes]`: the derivative by h0.
    dh0: Buffer<T>,
    /// `[window, hidden]`: dz summed over the words that see padding, by position in the window, the last
    /// position first.
    dz_padding: Buffer<T>,
    /// `[words + 1, embed]`: the derivatives by the words' embeddings, then by the padding's.
    dx: Buffer<T>,
}

impl<T: Num> Scratch<T> {
    pub(crate) fn new() -> Self {
        Scratch {
            x: buffer(),
            h: buffer(),
            fed_back: buffer(),
            packed: Packed::default(),
            s: buffer(),
            dz: buffer(),
            dh0: buffer(),
            dz_padding: buffer(),
            dx: buffer(),
        }
    }

    /// Row t of what [`forward`] or [`probabilities`] left: logits or probabilities.
    pub(crate) fn output<'a>(&'a self, weights: &Weights<T>, t: usize) -> &'a [T] {
        let stride = row_stride::<T>(weights.shape.classes);
        &self.s[t * stride..][..weights.shape.classes]
    }
}

/// The states and the logits of a sentence. A Jordan network's are computed by one member alone.
#[inline(always)]
pub(crate) fn forward<S: Simd, T: Num>(
    simd: S,
    member: &mut Member<'_, T>,
    weights: &Weights<T>,
    words: &[usize],
    scratch: &mut Scratch<T>,
) {
    let shape = &weights.shape;
    let (embed, half) = (shape.embed, shape.window / 2);
    let x = grow(&mut scratch.x, (words.len() + shape.window - 1) * embed);
    for (p, row) in x.chunks_exact_mut(embed).enumerate() {
        let word = p.checked_sub(half).and_then(|t| words.get(t)).copied().unwrap_or(shape.padding());
        row.copy_from_slice(&weights.emb.row(word)[..embed]);
    }

    // z = bh + x·wx for all words, then h = sigmoid(z + h_prev·wh) word by word.
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let h = grow(&mut scratch.h, (words.len() + 1) * stride);
    for row in h.chunks_exact_mut(stride).skip(1) {
        row[..hidden].copy_from_slice(&weights.bh);
    }
    let windows = View::new(x, words.len(), shape.input(), embed, 1);
    let own = member.vectors(hidden);
    let z = ViewMut::new(&mut h[stride..], words.len(), hidden, stride).cols_from(own.start, own.len());
    kernel::product(simd, windows, weights.wx.view().cols_from(own.start, own.len()), z);

    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let s = grow(&mut scratch.s, words.len() * s_stride);
    if shape.feedback == Feedback::Output {
        scratch.packed.pack(0, 1, |_| words.len());
        let fed_back = grow(&mut scratch.fed_back, words.len() * s_stride);
        let mut rows = Rows { h: &mut h[stride..], fed_back, s, dz: &mut [], dh0: &mut [] };
        return jordan::forward(simd, &scratch.packed, weights, &mut rows);
    }
    h[..hidden].copy_from_slice(&weights.h0);
    let wh = weights.wh.view().cols_from(own.start, own.len());
    for t in 0..words.len() {
        let (before, z) = h.split_at_mut((t + 1) * stride);
        let z = &mut z[..hidden];
        kernel::step(simd, t, &before[t * stride..], wh, &mut z[own.clone()]);
        member.exchange_vectors(z, hidden, hidden);
    }

    for row in s.chunks_exact_mut(s_stride) {
        row[..classes].copy_from_slice(&weights.b);
    }
    let states = View::new(&h[stride..], words.len(), shape.hidden, stride, 1);
    let own = member.vectors(classes);
    let logits = ViewMut::new(s, words.len(), classes, s_stride).cols_from(own.start, own.len());
    kernel::product(simd, states, weights.w.view().cols_from(own.start, own.len()), logits);
    member.exchange_vectors(s, s_stride, classes);
}

/// After [`forward`]: the logits become probabilities.
#[inline(always)]
pub(crate) fn probabilities<S: Simd, T: Num>(
    simd: S,
    weights: &Weights<T>,
    words: usize,
    scratch: &mut Scratch<T>,
) {
    let (classes, stride) = (padded::<T>(weights.shape.classes), row_stride::<T>(weights.shape.classes));
    for row in scratch.s[..words * stride].chunks_exact_mut(stride) {
        kernel::softmax(simd, &mut row[..classes]);
    }
}

/// After [`forward`]: the loss of the sentence, and the factors of `scale · words ·` its gradient.
/// (The loss is a mean over the words, so `scale` is usually `1 / words` or `-learning_rate / words`.)
#[inline(always)]
pub(crate) fn backward<S: Simd, T: Num>(
    simd: S,
    member: &mut Member<'_, T>,
    weights: &Weights<T>,
    labels: &[usize],
    scale: T,
    scratch: &mut Scratch<T>,
) -> T {
    let shape = &weights.shape;
    let words = labels.len();
    let half = shape.window / 2;

    // ds = scale · (s - onehot(label))
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let s = &mut scratch.s[..words * s_stride];
    let mut loss = T::zero();
    for (row, label) in s.chunks_exact_mut(s_stride).zip(labels) {
        loss += kernel::derive_softmax(simd, &mut row[..classes], *label, scale);
    }

    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let dz = grow(&mut scratch.dz, (words + shape.window - 1) * stride);
    dz.fill(T::zero());
    let dh0 = grow(&mut scratch.dh0, row_stride::<T>(shape.fed_back()));
    dh0.fill(T::zero());
    let inner = &mut dz[half * stride..][..words * stride];
    if shape.feedback == Feedback::Output {
        let (h, fed_back) = (&mut scratch.h[stride..], &mut scratch.fed_back[..]);
        jordan::backward(simd, &scratch.packed, weights, &mut Rows { h, fed_back, s, dz: inner, dh0 });
    } else {
        backward_states(simd, member, weights, &scratch.h, s, inner, dh0);
    }

    // The derivative by the embeddings, without dx by window position: for each word one sum over all the
    // windows that see it and over the hidden units; all padding is one word more.
    let dz_padding = grow(&mut scratch.dz_padding, shape.window * stride);
    dz_padding.fill(T::zero());
    for (o, sum) in dz_padding.chunks_exact_mut(stride).rev().enumerate() {
        let sees_padding =
            if o <= half { 0..(half - o).min(words) } else { words.saturating_sub(o - half)..words };
        for t in sees_padding {
            kernel::add(simd, &dz[(half + t) * stride..][..hidden], &mut sum[..hidden]);
        }
    }
    let dx_stride = row_stride::<T>(shape.embed);
    let dx = grow(&mut scratch.dx, (words + 1) * dx_stride);
    dx.fill(T::zero());
    // One row for each word, and one for the padding if there is any.
    let rows = words + usize::from(shape.window > 1);
    let width = (shape.window - 1) * stride + hidden;
    let (dz, dz_padding) = (&*dz, &*dz_padding);
    let own = member.columns(shape.embed);
    let wx = weights.wx.view().rows_from(own.start, (shape.window - 1) * shape.embed + own.len());
    kernel::dot_blocks(
        simd,
        #[inline(always)]
        |t| if t < words { &dz[t * stride..][..width] } else { &dz_padding[..width] },
        wx,
        Blocks { count: shape.window, a: stride, w: shape.embed },
        ViewMut::new(dx, rows, shape.embed, dx_stride).cols_from(own.start, own.len()),
    );
    member.exchange_columns(dx, dx_stride, shape.embed);
    loss / T::from_f64(words as f64)
}

/// From the derivatives ds by the logits, `dh = ds·wᵀ`; then backwards in time `dz = dh ∘ h ∘ (1 - h)`, and dh of the
/// word before `+= dz·whᵀ`. dz and dh0 begin as zeros; row 0 of h is h0.
#[inline(always)]
fn backward_states<S: Simd, T: Num>(
    simd: S,
    member: &mut Member<'_, T>,
    weights: &Weights<T>,
    h: &[T],
    ds: &[T],
    dz: &mut [T],
    dh0: &mut [T],
) {
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let words = dz.len() / stride;
    let dh0 = &mut dh0[..hidden];
    let ds = View::new(ds, words, classes, s_stride, 1);
    let own = member.vectors(hidden);
    let dh = ViewMut::new(dz, words, hidden, stride).cols_from(own.start, own.len());
    kernel::dot(simd, ds, weights.w.view_padded().rows_from(own.start, own.len()), dh);
    let wh = weights.wh.view_padded().rows_from(own.start, own.len());
    for t in (0..words).rev() {
        let (before, now) = dz.split_at_mut(t * stride);
        let now = &mut now[..hidden];
        let h = &h[(t + 1) * stride..][own.clone()];
        kernel::through_sigmoid(simd, h, &mut now[own.clone()]);
        member.exchange_vectors(now, hidden, hidden);
        let dh_prev = if t == 0 { &mut *dh0 } else { &mut before[(t - 1) * stride..][..hidden] };
        kernel::dot_row(simd, t, now, wh, &mut dh_prev[own.clone()]);
    }
    member.exchange_vectors(dh0, hidden, hidden);
}

/// The large part of [`apply`]: some rows of w, wh and wx.
pub(crate) struct Part<'a, T> {
    w: (usize, ViewMut<'a, T>),
    wh: (usize, ViewMut<'a, T>),
    /// For each position of the window the same rows.
    wx: Vec<(usize, ViewMut<'a, T>)>,
}

/// The parts of the members of a team, which only an Elman network has: those rows that each has read last, so that they are still in its
/// caches.
pub(crate) fn parts<T: Num>(target: &mut Weights<T>, members: usize) -> Vec<Part<'_, T>> {
    fn cut<'a, T: Num>(
        rest: &mut Option<ViewMut<'a, T>>,
        from: usize,
        range: Range<usize>,
    ) -> (usize, ViewMut<'a, T>) {
        let (part, others) = rest.take().expect("put back below").cut(range.len());
        *rest = Some(others);
        (from + range.start, part)
    }
    let shape = target.shape;
    let (mut w, mut wh, mut wx) =
        (Some(target.w.view_mut()), Some(target.wh.view_mut()), Some(target.wx.view_mut()));
    let mut parts: Vec<Part<'_, T>> = (0..members)
        .map(|member| {
            // The shares of the hidden units that `backward` takes, without the padding.
            let all = share(padded::<T>(shape.hidden), member, members, T::LANES);
            let rows = all.start.min(shape.hidden)..all.end.min(shape.hidden);
            Part { w: cut(&mut w, 0, rows.clone()), wh: cut(&mut wh, 0, rows), wx: Vec::new() }
        })
        .collect();
    for o in 0..shape.window {
        for (member, part) in parts.iter_mut().enumerate() {
            let range = share(shape.embed, member, members, 1);
            part.wx.push(cut(&mut wx, o * shape.embed, range));
        }
    }
    parts
}

/// After [`backward`], with the scratch of any member: adds to some rows of w, wh and wx.
#[inline(always)]
pub(crate) fn apply_part<S: Simd, T: Num>(
    simd: S,
    shape: &Shape,
    words: usize,
    scratch: &Scratch<T>,
    part: Part<'_, T>,
) {
    let factors = Factors::new(shape, words, scratch);
    let w = [(factors.h, factors.ds, part.w), (factors.fed_back, factors.dz, part.wh)];
    let wx = part.wx.into_iter().map(|wx| (factors.x, factors.dz, wx));
    for (a, b, (from, to)) in w.into_iter().chain(wx) {
        kernel::product(simd, a.rows_from(from, to.rows()), b, to);
    }
}

/// After [`backward`]: adds the gradient to `target`, which may be the parameters themselves.
#[inline(always)]
pub(crate) fn apply<S: Simd, T: Num>(
    simd: S,
    words: &[usize],
    scratch: &Scratch<T>,
    target: &mut Weights<T>,
) {
    let factors = Factors::new(&target.shape, words.len(), scratch);
    kernel::product(simd, factors.h, factors.ds, target.w.view_mut());
    kernel::product(simd, factors.fed_back, factors.dz, target.wh.view_mut());
    kernel::product(simd, factors.x, factors.dz, target.wx.view_mut());
    apply_vectors(simd, words, scratch, target);
}

/// The factors of the gradients of w, wh and wx; those on the left transposed.
struct Factors<'a, T> {
    h: View<'a, T>,
    fed_back: View<'a, T>,
    x: View<'a, T>,
    ds: View<'a, T>,
    dz: View<'a, T>,
}

impl<'a, T: Num> Factors<'a, T> {
    #[inline(always)]
    fn new(shape: &Shape, words: usize, scratch: &'a Scratch<T>) -> Self {
        let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
        let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
        Factors {
            h: View::new(&scratch.h[stride..], words, shape.hidden, stride, 1).t(),
            fed_back: match shape.feedback {
                Feedback::Hidden => View::new(&scratch.h, words, shape.hidden, stride, 1).t(),
                Feedback::Output => View::new(&scratch.fed_back, words, shape.classes, s_stride, 1).t(),
            },
            x: View::new(&scratch.x, words, shape.input(), shape.embed, 1).t(),
            ds: View::new(&scratch.s, words, classes, s_stride, 1),
            dz: View::new(&scratch.dz[shape.window / 2 * stride..], words, hidden, stride, 1),
        }
    }
}

/// The small part of [`apply`]: the biases, h0 and the embeddings.
#[inline(always)]
pub(crate) fn apply_vectors<S: Simd, T: Num>(
    simd: S,
    words: &[usize],
    scratch: &Scratch<T>,
    target: &mut Weights<T>,
) {
    let shape = target.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let (n, half) = (words.len(), shape.window / 2);
    for row in scratch.s[..n * s_stride].chunks_exact(s_stride) {
        kernel::add(simd, &row[..classes], &mut target.b);
    }
    for row in scratch.dz[half * stride..][..n * stride].chunks_exact(stride) {
        kernel::add(simd, &row[..hidden], &mut target.bh);
    }
    kernel::add(simd, &scratch.dh0[..padded::<T>(shape.fed_back())], &mut target.h0);

    let (embed, dx_stride) = (padded::<T>(shape.embed), row_stride::<T>(shape.embed));
    let padding = (shape.window > 1).then_some(shape.padding());
    let rows = words.iter().copied().chain(padding);
    for (word, dx) in rows.zip(scratch.dx.chunks_exact(dx_stride)) {
        kernel::add(simd, &dx[..embed], target.emb.row_mut(word));
    }
}

/// Divides the embeddings of the words and of the padding by their norms, each once.
#[inline(always)]
pub(crate) fn normalise<S: Simd, T: Num>(
    simd: S,
    words: impl Iterator<Item = usize>,
    seen: &mut Seen,
    weights: &mut Weights<T>,
) {
    let padding = (weights.shape.window > 1).then_some(weights.shape.padding());
    seen.begin(weights.shape.vocab + 1);
    for word in words.chain(padding) {
        if seen.first(word) {
            kernel::normalise(simd, weights.emb.row_mut(word));
        }
    }
}

/// A set of words that is emptied at no cost.
pub(crate) struct Seen {
    round: u64,
    last: Vec<u64>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Seen { round: 0, last: Vec::new() }
    }

    /// Empties the set, for words below `limit`.
    pub(crate) fn begin(&mut self, limit: usize) {
        self.round += 1;
        self.last.resize(limit, 0);
    }

    /// Adds a word; whether it was not in the set yet.
    pub(crate) fn first(&mut self, word: usize) -> bool {
        std::mem::replace(&mut self.last[word], self.round) != self.round
    }
}
