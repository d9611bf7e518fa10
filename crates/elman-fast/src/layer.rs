//! The loop over time, forwards and backwards, for any cell and any pack of sequences. One sentence is a pack of one.

use elman::Direction;
use fearless_simd::Simd;

use crate::kernel::{self, Backwards};
use crate::matrix::{View, ViewMut, padded};
use crate::num::Num;
use crate::pack::Pack;
use crate::unit::{backward_row, forward_row, parts, with_function, with_unit};
use crate::weights::LayerView;

/// The output of a Jordan network, which is computed within the loop because it is fed back.
pub(crate) struct Output<'a, T> {
    /// Hidden to output, `[hidden, classes]`.
    pub(crate) w: View<'a, T>,
    pub(crate) w_backwards: Backwards<'a, T>,
    /// `[rows, classes]`: the biases, over which the logits are written; backwards it has the derivatives of the
    /// losses by them, and gets those that the step after carries back.
    pub(crate) s: &'a mut [T],
    /// `[rows, classes]`: the probabilities that a row's step gets from the step before. The caller sets those of the
    /// first steps.
    pub(crate) fed_back: &'a mut [T],
    pub(crate) stride: usize,
}

/// `a += x·wx`, each part of the gates into its blocks: the input's share of the pre-activations.
pub(crate) fn project<S: Simd, T: Num>(
    simd: S,
    layer: &LayerView<'_, T>,
    x: View<'_, T>,
    mut a: ViewMut<'_, T>,
) {
    let hidden = layer.hidden();
    for part in parts(layer.cell) {
        let wx = layer.wx.cols_from(part.gate * hidden, part.gates * hidden);
        let a = a.reborrow().cols_from(part.block * hidden, part.gates * hidden);
        kernel::product(simd, x, wx, a);
    }
}

/// The rows of step t of a pack that follow the same step before in a direction, and that step's row; then those that
/// begin with t.
fn followers(pack: &Pack, direction: Direction, t: usize) -> (usize, Option<usize>) {
    match direction {
        Direction::Forward if t == 0 => (0, None),
        Direction::Forward => (pack.active(t), Some(pack.offset(t - 1))),
        Direction::Reverse if t + 1 == pack.steps() => (0, None),
        Direction::Reverse => (pack.active(t + 1), Some(pack.offset(t + 1))),
    }
}

/// The steps of a pack in the order of a direction.
fn steps(pack: &Pack, direction: Direction) -> impl DoubleEndedIterator<Item = usize> + use<> {
    let steps = pack.steps();
    (0..steps).map(move |step| if direction == Direction::Forward { step } else { steps - 1 - step })
}

/// All steps. `a`, `[rows, blocks]`, has the input's share of the pre-activations and gets the values that
/// [`backward`] needs; `h`, `[rows, states·hidden]`, gets the states. The first steps start from the rows of `first`. In
/// a Jordan network the `output` is fed back, otherwise the state is.
pub(crate) fn forward<S: Simd, T: Num>(
    simd: S,
    pack: &Pack,
    layer: &LayerView<'_, T>,
    first: View<'_, T>,
    mut a: ViewMut<'_, T>,
    mut h: ViewMut<'_, T>,
    mut output: Option<Output<'_, T>>,
) {
    let (a_stride, h_stride) = (a.row_stride(), h.row_stride());
    let (a, h) = (a.as_mut_slice(), h.as_mut_slice());
    for t in steps(pack, layer.direction) {
        let (offset, active) = (pack.offset(t), pack.active(t));
        let (following, before) = followers(pack, layer.direction, t);
        let (left, right) =
            h.split_at_mut((offset + if before > Some(offset) { active } else { 0 }) * h_stride);
        // Those of the step before, and those of this one.
        let (rows_before, now) = match before {
            Some(before) if before > offset => {
                (&right[(before - offset - active) * h_stride..], &mut left[offset * h_stride..])
            }
            Some(before) => (&left[before * h_stride..], right),
            None => (&*left, right),
        };
        // The product with wh gets the columns of h; the unit finds the other states behind them.
        let mut run = |from: usize, rows: usize, fed_back: View<'_, T>| {
            if rows > 0 {
                let now = ViewMut::new(&mut now[from * h_stride..], rows, layer.states(), h_stride);
                let a = &mut a[(offset + from) * a_stride..];
                step(simd, t, layer, fed_back, ViewMut::new(a, rows, layer.width(), a_stride), now);
            }
        };
        if let Some(output) = &output {
            let rows = &output.fed_back[offset * output.stride..];
            run(0, active, View::new(rows, active, layer.wh.rows(), output.stride, 1));
        } else {
            run(0, following, View::new(rows_before, following, layer.wh.rows(), h_stride, 1));
            let beginning = active - following;
            run(following, beginning, first.rows_from(following, beginning).cols_from(0, layer.wh.rows()));
        }
        if let Some(output) = &mut output {
            let now = View::new(&h[offset * h_stride..], active, layer.units, h_stride, 1);
            feed_back(simd, pack, t, now, output);
        }
    }
}

/// One step of some sequences, of each a row.
fn step<S: Simd, T: Num>(
    simd: S,
    t: usize,
    layer: &LayerView<'_, T>,
    fed_back: View<'_, T>,
    mut a: ViewMut<'_, T>,
    mut h: ViewMut<'_, T>,
) {
    let (rows, from, width, states) = (a.rows(), layer.fed_back_from(), layer.width(), layer.states());
    if rows == 1 {
        let (a, h) = (&mut a.as_mut_slice()[..width], &mut h.as_mut_slice()[..states]);
        let fed_back = fed_back.row(0);
        match layer.cell.activation() {
            Some(f) => with_function!(f, f => kernel::step(simd, t, fed_back, layer.wh, a, h, f)),
            None => {
                kernel::step_in_place(simd, t, fed_back, layer.wh, &mut a[from..]);
                with_unit!(layer.cell, unit => simd.vectorize(
                    #[inline(always)]
                    || forward_row(simd, unit, a, fed_back, h),
                ));
            }
        }
        return;
    }
    let gates = a.reborrow().cols_from(from, width - from);
    match layer.wh_panels {
        Some(wh) => kernel::product_panels(simd, fed_back, wh, gates),
        None => kernel::product(simd, fed_back, layer.wh, gates),
    }
    let (a_stride, h_stride) = (a.row_stride(), h.row_stride());
    let (a, h) = (a.as_mut_slice(), h.as_mut_slice());
    with_unit!(layer.cell, unit => simd.vectorize(
        #[inline(always)]
        || {
            for (i, (a, h)) in a.chunks_mut(a_stride).zip(h.chunks_mut(h_stride)).take(rows).enumerate() {
                forward_row(simd, unit, a, fed_back.row(i), &mut h[..states]);
            }
        },
    ));
}

/// The logits of a Jordan network's step, and the probabilities that its next step gets.
fn feed_back<S: Simd, T: Num>(simd: S, pack: &Pack, t: usize, h: View<'_, T>, output: &mut Output<'_, T>) {
    let (classes, stride) = (output.w.cols(), output.stride);
    let s = &mut output.s[pack.offset(t) * stride..];
    kernel::product(simd, h, output.w, ViewMut::new(s, h.rows(), classes, stride));
    if t + 1 < pack.steps() {
        let next = output.fed_back[pack.offset(t + 1) * stride..].chunks_exact_mut(stride);
        let rows = next.zip(s.chunks_exact(stride)).take(pack.active(t + 1));
        simd.vectorize(
            #[inline(always)]
            || {
                for (probabilities, logits) in rows {
                    probabilities[..classes].copy_from_slice(&logits[..classes]);
                    kernel::softmax(simd, &mut probabilities[..classes]);
                }
            },
        );
    }
}

/// The rows of a pack that [`backward`] reads and writes, each with its stride.
pub(crate) struct Backward<'a, T> {
    /// What [`forward`] left, `[rows, blocks]`; the gradients of the pre-activations are written over it.
    pub(crate) a: ViewMut<'a, T>,
    /// The states, `[rows, states·hidden]`.
    pub(crate) h: View<'a, T>,
    /// The gradients of the states from outside the recurrence, `[rows, hidden]`; those of a Jordan network are
    /// written there.
    pub(crate) dh: &'a mut [T],
    pub(crate) dh_stride: usize,
    /// A row for each sequence by rank, `[sequences, states·hidden]`, of a Jordan network as wide as its output: the
    /// gradients of the last states from outside, over which those of the initial values are written.
    pub(crate) carried: ViewMut<'a, T>,
    /// Zeros, `[hidden]`, for a Jordan network.
    pub(crate) zeros: &'a mut [T],
}

/// All steps backwards: from `dh[t]` and the gradient that the step after carries back, the gradients `da[t]` of the
/// pre-activations; what `t` carries back is `da[t]·whᵀ`, and the part that the cell hands on by itself.
pub(crate) fn backward<S: Simd, T: Num>(
    simd: S,
    pack: &Pack,
    layer: &LayerView<'_, T>,
    first: View<'_, T>,
    rows: Backward<'_, T>,
    mut output: Option<Output<'_, T>>,
) {
    let Backward { mut a, h, dh, dh_stride, mut carried, zeros } = rows;
    let (from, width, hidden, states) =
        (layer.fed_back_from(), layer.width(), layer.hidden(), layer.states());
    let a_stride = a.row_stride();
    let (fed_back, carried_stride) = (padded::<T>(layer.wh.rows()), carried.row_stride());
    let (a, carried) = (a.as_mut_slice(), carried.as_mut_slice());
    for t in steps(pack, layer.direction).rev() {
        let (offset, active) = (pack.offset(t), pack.active(t));
        let (following, before) = followers(pack, layer.direction, t);
        let dh = &mut dh[offset * dh_stride..];
        let a = &mut a[offset * a_stride..];
        if let Some(output) = &mut output {
            let dh = ViewMut::new(dh, active, hidden, dh_stride);
            through_output(simd, pack, t, carried, output, dh);
        }
        let before = |i: usize| match before {
            Some(before) if i < following => h.row(before + i),
            _ => first.row(i),
        };
        with_unit!(layer.cell, unit => simd.vectorize(
            #[inline(always)]
            || {
                for i in 0..active {
                    let (a, h, dh) = (&mut a[i * a_stride..], h.row(offset + i), &dh[i * dh_stride..]);
                    let carried = if output.is_some() { &mut zeros[..hidden] } else {
                        &mut carried[i * carried_stride..][..states]
                    };
                    backward_row(simd, unit, a, before(i), h, dh, carried);
                }
            },
        ));
        if output.is_some() {
            carried[..active * carried_stride].fill(T::zero());
        }
        let da = View::new(a, active, width, a_stride, 1).cols_from(from, width - from);
        let carried = ViewMut::new(carried, active, fed_back, carried_stride);
        layer.wh_backwards.product(simd, t, da, carried);
    }
}

/// The gradients of a Jordan network's states: through the logits, which the losses and the steps after have gradients
/// for, `ds[t] += (diag(s[t]) - s[t]·s[t]ᵀ)·carried` and `dh[t] = ds[t]·wᵀ`.
fn through_output<S: Simd, T: Num>(
    simd: S,
    pack: &Pack,
    t: usize,
    carried: &[T],
    output: &mut Output<'_, T>,
    mut dh: ViewMut<'_, T>,
) {
    let (classes, stride) = (output.w.cols(), output.stride);
    let active = pack.active(t);
    let s = &mut output.s[pack.offset(t) * stride..];
    if t + 1 < pack.steps() {
        let probabilities = output.fed_back[pack.offset(t + 1) * stride..].chunks_exact(stride);
        let rows = carried.chunks_exact(stride).zip(probabilities).take(pack.active(t + 1));
        simd.vectorize(
            #[inline(always)]
            || {
                for (ds, (carried, s)) in s.chunks_exact_mut(stride).zip(rows) {
                    kernel::through_softmax(simd, &s[..classes], &carried[..classes], &mut ds[..classes]);
                }
            },
        );
    }
    let dh_stride = dh.row_stride();
    dh.as_mut_slice()[..active * dh_stride].fill(T::zero());
    output.w_backwards.product(simd, t, View::new(s, active, classes, stride, 1), dh);
}
