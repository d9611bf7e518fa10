//! The sequential part of the Jordan network: a step begins with the probabilities of the step before.
//!
//! What comes before it (the products with wx) and after it (the sums of the gradient) is the Elman network's.

use fearless_simd::Simd;

use crate::kernel;
use crate::matrix::{View, ViewMut, padded, row_stride};
use crate::num::Num;
use crate::packed::{self, Packed, Rows};
use crate::weights::Weights;

/// All steps of packed sequences: `h[t] = sigmoid(z[t] + s[t-1]·wh)`, h written over z; into s the logits
/// `h[t]·w + b`; and into row t of `fed_back` the probabilities `s[t-1]`, h0 in the first.
#[inline(always)]
pub(crate) fn forward<S: Simd, T: Num>(
    simd: S,
    packed: &Packed,
    weights: &Weights<T>,
    rows: &mut Rows<&mut [T]>,
) {
    let shape = &weights.shape;
    let stride = row_stride::<T>(shape.hidden);
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let Rows { h, fed_back, s, .. } = rows;
    for row in fed_back.chunks_exact_mut(s_stride).take(packed.active(0)) {
        row[..classes].copy_from_slice(&weights.h0);
    }
    for row in s.chunks_exact_mut(s_stride) {
        row[..classes].copy_from_slice(&weights.b);
    }
    for t in 0..packed.steps() {
        let (offset, active) = (packed.offset(t), packed.active(t));
        let h = &mut h[offset * stride..];
        let s_prev = View::new(&fed_back[offset * s_stride..], active, shape.classes, s_stride, 1);
        packed::step(simd, t, s_prev, weights.wh.view(), h, stride);
        let s = &mut s[offset * s_stride..];
        let logits = ViewMut::new(s, active, classes, s_stride);
        kernel::product(simd, View::new(h, active, shape.hidden, stride, 1), weights.w.view(), logits);
        if t + 1 < packed.steps() {
            let next = fed_back[packed.offset(t + 1) * s_stride..].chunks_exact_mut(s_stride);
            let probabilities = next.zip(s.chunks_exact(s_stride)).take(packed.active(t + 1));
            simd.vectorize(
                #[inline(always)]
                || {
                    for (row, logits) in probabilities {
                        row[..classes].copy_from_slice(&logits[..classes]);
                        kernel::softmax(simd, &mut row[..classes]);
                    }
                },
            );
        }
    }
}

/// All steps backwards. s has the derivatives of the losses by the logits; what the steps after carry back is added to
/// them: `ds[t] += J·wh·dz[t+1]` with `J = diag(s[t]) - s[t]·s[t]ᵀ`, and `dz[t] = w·ds[t] ∘ h[t] ∘ (1 - h[t])`. Into
/// dh0 the derivatives by h0, a row for each sequence by rank.
#[inline(always)]
pub(crate) fn backward<S: Simd, T: Num>(
    simd: S,
    packed: &Packed,
    weights: &Weights<T>,
    rows: &mut Rows<&mut [T]>,
) {
    let shape = &weights.shape;
    let (hidden, stride) = (padded::<T>(shape.hidden), row_stride::<T>(shape.hidden));
    let (classes, s_stride) = (padded::<T>(shape.classes), row_stride::<T>(shape.classes));
    let Rows { h, fed_back, s, dz, dh0 } = rows;
    for t in (0..packed.steps()).rev() {
        let (offset, active) = (packed.offset(t), packed.active(t));
        let s = &mut s[offset * s_stride..];
        if t + 1 < packed.steps() {
            // dh0 still has what the step after has carried back, for the sequences that have one.
            let probabilities = fed_back[packed.offset(t + 1) * s_stride..].chunks_exact(s_stride);
            let carried = dh0.chunks_exact(s_stride).zip(probabilities).take(packed.active(t + 1));
            simd.vectorize(
                #[inline(always)]
                || {
                    for (ds, (carried, s)) in s.chunks_exact_mut(s_stride).zip(carried) {
                        kernel::through_softmax(simd, &s[..classes], &carried[..classes], &mut ds[..classes]);
                    }
                },
            );
        }
        let dz = &mut dz[offset * stride..][..active * stride];
        dz.fill(T::zero());
        let ds = View::new(s, active, classes, s_stride, 1);
        kernel::dot(simd, ds, weights.w.view_padded(), ViewMut::new(dz, active, hidden, stride));
        simd.vectorize(
            #[inline(always)]
            || {
                for (dz, h) in dz.chunks_exact_mut(stride).zip(h[offset * stride..].chunks_exact(stride)) {
                    kernel::through_sigmoid(simd, &h[..hidden], &mut dz[..hidden]);
                }
            },
        );
        let carried = &mut dh0[..active * s_stride];
        carried.fill(T::zero());
        let dz = View::new(dz, active, hidden, stride, 1);
        kernel::dot(simd, dz, weights.wh.view_padded(), ViewMut::new(carried, active, classes, s_stride));
    }
}
