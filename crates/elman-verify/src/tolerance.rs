//! How far a correct implementation may be from the exact result: derived, entry by entry.
//!
//! # What is allowed
//! A sum rounds once a term, each time by up to half a unit in the last place of the partial sum so far, as
//! often up as down: a standard deviation of `ulp / sqrt(12)`. For a product with weights, whose sums are long,
//! the partial sums are followed, and five standard deviations are allowed:
//!
//! ```text
//! 5 · sqrt((sum of ulp(partial sum)² + sum of ulp(term)²) / 12) + n · floor
//! ```
//!
//! The terms are taken in the order of their indices with the bias first and with it last, in the reverse order, and
//! with x·wx and h·wh summed apart, whichever gives most; blocked and pairwise sums round less. (Higham and Mary, *A
//! new approach to probabilistic rounding error analysis*, 2019.) Equal terms may round alike each time: at least
//! `sqrt(sum of m²) · ulp / 2` is allowed, for groups of `m` terms that are equal as far as the last place of the
//! largest partial sum tells. All other sums, over words, labels or a row, are allowed
//!
//! ```text
//! 1.05 · log2(n) · eps · scale + n · floor          scale = sqrt(sum² + sum of terms²)
//! ```
//!
//! and those over words at least `n / 2 · eps · scale`, since equal words may round alike each time; that of a softmax
//! is allowed what groups of equal terms are, as above.
//!
//! - `eps` is the distance from 1 to the next number, 1.2e-7 in `f32`, plus that of `f64`, 2.2e-16, in which
//!   the expected result was computed: an implementation in `f64` is not alone in its roundings. `ulp(v)` is
//!   `eps` times the largest power of two that is not above `v`.
//! - `scale` is what a partial sum amounts to: on its way from 0 to `sum` it strays by a random walk of the
//!   terms. Where the terms cancel, the error is that of the walk, however small the sum.
//! - `log2(n)` is the number of roundings that a term goes through in a pairwise sum; in a sum by order of the
//!   indices it is up to `n`, of which `sqrt(n)` do not cancel. `1.05 log2(n)` is four standard
//!   deviations up to 64 terms, and on top comes what the terms are off by themselves.
//! - `floor` is the smallest normal number in `f32`, where a product below it may lose digits or become zero,
//!   and 1e-150 in `f64`, below which the variances used here would.
//!
//! Functions are granted a relative error: sigmoid, exp and ln 2 eps each, and exp what the rounding of its
//! argument makes of it.
//!
//! # How errors travel
//! A sum's terms are wrong already, because the state they are made of is. The errors of a state are
//! followed to first order as a covariance matrix: a linear map `m` takes a covariance `p` to `m p mᵀ`, and
//! the roundings made there are added to its diagonal. So an error that the recurrence damps is damped, one
//! that it amplifies (large weights make it chaotic) is amplified, and one that saturation stops is stopped,
//! each as the network at hand does it:
//!
//! ```text
//! a[t] = x·wx + h·wh + bh       cov a  = whᵀ cov h wh + roundings²
//! h[t] = sigmoid(a[t])          cov h  = d cov a d + (2 eps h)²              d = diag(h (1 - h))
//! z[t] = h·w + b                cov z  = wᵀ cov h w + roundings²
//! s[t] = softmax(z[t])          cov s  = j cov z j + roundings²              j = diag(s) - s sᵀ
//! ds   = (s - onehot) / n       cov ds = cov s / n² + (2 eps (s + onehot) / n)²
//! dh   = w·ds + wh·da[t+1]      cov dh = w cov ds wᵀ ⊕ wh cov da[t+1] whᵀ + roundings²
//! da   = dh h (1 - h)           cov da = d cov dh d ⊕ e cov h e + (2 eps da)²    e = diag(dh (1 - 2h))
//! ```
//!
//! In a Jordan network `s` takes the place of `h` in what is fed back, and an error passes through the softmax at each
//! step, forwards and backwards:
//!
//! ```text
//! a[t] = x·wx + s·wh + bh       cov a  = whᵀ cov s wh + roundings²
//! ds   = (s - onehot) / n + j·g cov ds = m cov s mᵀ ⊕ j cov g j + roundings²
//!        g = wh·da[t+1]         cov g  = wh cov da[t+1] whᵀ + roundings²
//!                                                      m = 1 / n + diag(g - s·g) - s gᵀ
//! dh   = w·ds                   cov dh = w cov ds wᵀ + roundings²
//! ```
//!
//! Where `⊕` stands, both errors are made of the same roundings, those of the states. Their covariance with
//! each other is not followed; `p ⊕ q = (1 + c) p + (1 + 1/c) q` is not less than the covariance of the sum,
//! whatever `c` is and however they go together.
//!
//! Where an error is not small, its first order says little: the slope `d` is therefore the steepest within the
//! error of `a` (or `h`), `1 - 2h` the largest within that of `h`, and the error of the outputs is
//! multiplied by `(e^m - 1) / m`, where `m` is twice the largest error of the scores. That makes an error larger
//! but leaves its direction; in a chaotic network all errors point the same way, and what is at right angles to it
//! has none. So what is beyond the first order is added at each step as an error of its own, `error²` times half the
//! greatest curvature and the products of two errors (of three where `j·g` is wrong in both): nothing where errors are small. States and outputs are
//! between 0 and 1, and so are their errors; their standard deviations too, and so `cov h` and `cov s` end at 5².
//!
//! Note what saturation does: where `s` is nearly 1, `s - 1` is nearly 0, but its error is that of `s`. A
//! tolerance relative to the gradient would be wrong there; this one is not. The gradient of a weight is a
//! sum over the words of products `h da` (or `x da`, `h ds`); the errors of its terms are added up as if
//! they all pointed the same way, since the same error of one state may be in all of them.
//!
//! Where the network amplifies rounding to the size of the result, the allowance exceeds the result, and
//! nothing is checked in that entry. The report counts such entries as *blind*.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Slice, Zip, aview1, concatenate};
use elman::{Cell, Error, Feedback, Labelled, Params, Sentence};

use crate::Number;
use crate::equations::{log_sum_exp, rows, windows};

/// 1.05 in the formula above.
const SUM: f64 = 1.05;
/// The number of standard deviations allowed to the roundings of a product.
const DEVIATIONS: f64 = 5.0;
/// The relative error that sigmoid, exp and ln are granted, in eps.
const FUNCTION: f64 = 2.0;

/// The greatest curvature of sigmoid, 1 / (6 sqrt 3).
const MOST_CURVATURE: f64 = 0.0963;

/// Beyond e^100, an error of the scores leaves nothing that could be compared.
const MOST_EXPONENT: f64 = 100.0;

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

/// By how much the roundings of a sum of `terms` terms grow.
fn growth(terms: usize) -> f64 {
    (terms.max(2) as f64).log2()
}

/// The rounding of a number type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    eps: f64,
    floor: f64,
}

impl Unit {
    pub(crate) fn of<T: Number>() -> Self {
        // What is expected was itself computed in f64, with that type's roundings.
        Unit { eps: T::EPSILON + f64::EPSILON, floor: T::FLOOR }
    }

    /// The allowance for a sum of so many terms, over the words. One word over and over makes the same term, and
    /// may make the same rounding, each time: the bound of half an eps a term counts where it is more.
    pub(crate) fn sum(self, sum: f64, squares: f64, terms: usize) -> f64 {
        let roundings = (SUM * growth(terms)).max(terms as f64 / 2.0);
        roundings * self.eps * (sum * sum + squares).sqrt() + terms as f64 * self.floor
    }

    /// The relative allowance for the sum of a softmax, from its outputs.
    fn softmax_sum(self, s: &Array1<f64>) -> f64 {
        (SUM * growth(s.len()) * self.eps).max(self.alike(s.view(), 1.0))
    }

    /// What terms that are rounded alike make of a sum whose partial sums have last places up to `eps · most`.
    ///
    /// Added to sums of the same size, terms that differ by less than a part of the sum's last place are rounded
    /// alike, each by half that place or the whole term at most; the roundings of such a group do not cancel.
    fn alike(self, terms: ArrayView1<'_, f64>, most: f64) -> f64 {
        let place = self.eps * most;
        let mut sorted = terms.to_vec();
        sorted.sort_by(f64::total_cmp);
        let groups = sorted.chunk_by(|a, b| b - a < place / 4.0);
        let of_group = |group: &[f64]| group.iter().map(|term| term.abs().min(place / 2.0)).sum::<f64>();
        groups.map(|group| of_group(group).powi(2)).sum::<f64>().sqrt()
    }

    /// The allowances for the entries of `start + v·m`, from their partial sums.
    fn product(self, start: &Array1<f64>, v: &Array1<f64>, m: ArrayView2<'_, f64>) -> Array1<f64> {
        let power_of_two = |v: f64| f64::from_bits(v.to_bits() & f64::INFINITY.to_bits());
        let terms = &m * &v.view().insert_axis(Axis(1));
        let zeros = || Array1::<f64>::zeros(m.ncols());
        let mut most = zeros();
        // The squares of what the terms of the rows round by, and the partial sums they lead to.
        let mut follow = |start: &Array1<f64>, rows: &mut dyn Iterator<Item = usize>| {
            let (mut sum, mut squares) = (start.clone(), zeros());
            for i in rows {
                let row = terms.row(i);
                Zip::from(&mut sum).and(&mut squares).and(&mut most).and(row).for_each(
                    |sum, squares, most, term| {
                        *sum += term;
                        let place = power_of_two(*sum);
                        *most = most.max(place);
                        *squares += place.powi(2) + power_of_two(*term).powi(2);
                    },
                );
            }
            (sum, squares)
        };
        let (_, mut squares) = follow(start, &mut (0..v.len()));
        for order in [&mut (0..v.len()) as &mut dyn Iterator<Item = usize>, &mut (0..v.len()).rev()] {
            let (sum, start_last) = follow(&zeros(), order);
            Zip::from(&mut squares).and(&start_last).and(&sum).and(start).for_each(
                |squares, start_last, sum, start| {
                    *squares = squares.max(start_last + power_of_two(sum + start).powi(2));
                },
            );
        }
        Zip::from(&squares).and(&most).and(terms.columns()).map_collect(|squares, most, terms| {
            let apart = DEVIATIONS * self.eps * (squares / 12.0).sqrt();
            apart.max(self.alike(terms, *most)) + v.len() as f64 * self.floor
        })
    }

    /// The allowance for `p - rate · g` where `g`, a sum over `words` words, may be off by `error`.
    ///
    /// The terms may be subtracted from `p` one by one, so that each rounding is up to half an eps of `p`.
    /// They need not be as often up as down: one word over and over makes the same term, and the same
    /// rounding, each time. So this is the bound, not a standard deviation.
    pub(crate) fn update(self, p: f64, rate: f64, g: f64, words: usize, error: f64) -> f64 {
        let roundings = (words + 2) as f64 / 2.0;
        (rate * error).abs() + roundings * (self.eps * (p.abs() + (rate * g).abs()) + self.floor)
    }

    /// Whether the squares of a row can be added up in the number type. The norm of a smaller row may be anything.
    pub(crate) fn has_norm(self, row: ArrayView1<'_, f64>) -> bool {
        row.dot(&row) >= self.floor / self.eps
    }

    /// The allowances for a row divided by its Euclidean norm, from the row and its own allowances.
    ///
    /// A row [without a norm](Unit::has_norm) may be left alone or normalised, but zeros stay zeros.
    pub(crate) fn normalised(self, row: ArrayView1<'_, f64>, error: ArrayView1<'_, f64>) -> Array1<f64> {
        if row.iter().all(|v| *v == 0.0) {
            return Array1::zeros(row.len());
        }
        if !self.has_norm(row) {
            return Array1::from_elem(row.len(), 2.0);
        }
        let norm = row.dot(&row).sqrt();
        let of_norm: f64 = row.iter().zip(error).map(|(v, e)| v.abs() / norm * e).sum::<f64>() / norm;
        let roundings = self.eps * (2.0 + SUM * growth(row.len()));
        Zip::from(row)
            .and(error)
            .map_collect(|v, e| e / norm + (v / norm).abs() * (of_norm + roundings) + self.floor)
    }
}

/// The allowance for a finite difference: 1e-8 of the tensor's largest entry, what the rounding of the loss
/// makes of the smallest step, and ten times what the extrapolations differ by.
pub(crate) fn difference(scale: f64, loss: f64, found: crate::differences::Difference) -> f64 {
    1e-8 * scale + 8.0 * f64::EPSILON * (1.0 + loss.abs()) / found.step + 10.0 * found.error
}

/// What a batch's results may be off by.
#[derive(Debug)]
pub(crate) struct Tolerances {
    /// Of the loss.
    pub(crate) loss: f64,
    /// Of each entry of the gradient.
    pub(crate) grad: Params<f64>,
    /// The gradient itself, as this file computes it on its way; compared with the reference in a test.
    #[cfg(test)]
    value: Params<f64>,
}

/// What the outputs `s` of a sentence may be off by, `[T, classes]`.
pub(crate) fn predict(unit: Unit, params: &Params<f64>, sentence: &Sentence) -> Result<Array2<f64>, Error> {
    let shape = params.shape()?;
    let cell = Weights::of_network(params);
    let (_, outputs) = forward(unit, params, &cell, sentence)?;
    let mut allowed = Array2::zeros((sentence.words().len(), shape.classes));
    for (mut row, output) in allowed.rows_mut().into_iter().zip(&outputs) {
        row.assign(&at_most_one(&output.cov_s));
    }
    Ok(allowed)
}

/// The states and the outputs of a sentence.
fn forward(
    unit: Unit,
    params: &Params<f64>,
    cell: &Weights<'_>,
    sentence: &Sentence,
) -> Result<(Run, Vec<Output>), Error> {
    let shape = params.shape()?;
    let mut outputs = Vec::new();
    let x = windows(params.emb.view(), sentence.words(), shape.window);
    let run = cell.forward(unit, x, |h, cov_h| {
        let output = Output::new(unit, params, h, cov_h);
        let fed_back = match shape.feedback {
            Feedback::Hidden => (h.clone(), cov_h.clone()),
            Feedback::Output => (output.s.clone(), output.cov_s.clone()),
        };
        outputs.push(output);
        fed_back
    });
    Ok((run, outputs))
}

/// What the loss and the gradient of a batch may be off by.
pub(crate) fn gradient(unit: Unit, params: &Params<f64>, batch: &[Labelled]) -> Result<Tolerances, Error> {
    let shape = params.shape()?;
    let cell = Weights::of_network(params);
    let w_t = standard(params.w.t());
    let mut emb = Sum::new(params.emb.dim());
    let mut sums = CellSums::new(shape.input(), params.wh.dim());
    let (mut sum_w, mut sum_b) = (Sum::new(params.w.dim()), Sum::new((1, shape.classes)));
    let (mut loss, mut loss_error, mut words) = (0.0, 0.0, 0);

    for labelled in batch {
        let (steps, labels) = (labelled.labels().len(), labelled.labels());
        let n = (steps * batch.len()) as f64;
        let (run, outputs) = forward(unit, params, &cell, labelled.sentence())?;
        for (output, label) in outputs.iter().zip(labels) {
            let (value, error) = output.loss(unit, *label);
            loss += value / n;
            loss_error += error / n;
        }
        let mut ds = Array2::zeros((steps, shape.classes));
        let mut ds_error = Array2::zeros((steps, shape.classes));
        // From the gradient by the scores to that by the state.
        let mut through_w = |t: usize, (ds_t, cov): (Array1<f64>, Array2<f64>)| {
            ds_error.row_mut(t).assign(&deviations(&cov));
            let mut cov_dh = transport(params.w.view(), &cov);
            let zero = Array1::zeros(shape.hidden);
            add_independent(&mut cov_dh, &unit.product(&zero, &ds_t, w_t.view()));
            let dh = params.w.dot(&ds_t);
            ds.row_mut(t).assign(&ds_t);
            (dh, cov_dh)
        };
        let back = cell.backward(unit, &run, |t, carried| match shape.feedback {
            Feedback::Hidden => {
                let (dh, cov_dh) = through_w(t, outputs[t].gradient(unit, labels[t], n, None));
                carried.onto(unit, &cell.wh_t, dh, Some(&cov_dh))
            }
            Feedback::Output => {
                let through = (t + 1 < steps).then(|| carried.rounded(unit, &cell.wh_t));
                through_w(t, outputs[t].gradient(unit, labels[t], n, through))
            }
        });
        words += steps;
        sum_w.add_products(run.h.view(), run.errors().view(), &ds, &ds_error);
        sum_b.add_rows(&ds, &ds_error);
        sums.add(&run, &back);
        let half = shape.window / 2;
        for t in 0..steps {
            let parts = [back.dx.row(t), back.dx_error.row(t)];
            for slot in 0..shape.window {
                let position = (t + slot).checked_sub(half);
                let word = position.and_then(|p| labelled.sentence().words().get(p).copied());
                let part = Slice::from(slot * shape.embed..(slot + 1) * shape.embed);
                let [value, error] = parts.map(|row| row.slice_axis_move(Axis(0), part));
                emb.add_row(word.unwrap_or(shape.vocab), value, error);
            }
        }
    }
    loss_error += unit.sum(loss, loss * loss, words);
    let cell = sums.allowed(unit);
    let grad = Params {
        emb: emb.allowed(unit),
        wx: cell.wx,
        wh: cell.wh,
        bh: cell.bh,
        h0: cell.h0,
        w: sum_w.allowed(unit),
        b: sum_b.allowed(unit).remove_axis(Axis(0)),
        feedback: shape.feedback,
    };
    Ok(Tolerances {
        loss: loss_error,
        grad,
        #[cfg(test)]
        value: Params {
            emb: emb.value,
            wx: sums.wx.value,
            wh: sums.wh.value,
            bh: sums.bh.value.remove_axis(Axis(0)),
            h0: sums.h0.value.remove_axis(Axis(0)),
            w: sum_w.value,
            b: sum_b.value.remove_axis(Axis(0)),
            feedback: shape.feedback,
        },
    })
}

/// What the results of the recurrence alone may be off by.
#[derive(Debug)]
pub(crate) struct RecurrenceTolerances {
    /// Of the states.
    pub(crate) h: Array2<f64>,
    /// Of the gradient of the inputs.
    pub(crate) xs: Array2<f64>,
    /// Of the gradient of the cell.
    pub(crate) cell: Cell<f64>,
}

/// What the states and the gradient of `sum(dh ∘ h)` may be off by, for packed sequences.
pub(crate) fn recurrence(
    unit: Unit,
    cell: &Cell<f64>,
    xs: ArrayView2<'_, f64>,
    lengths: &[usize],
    dh: ArrayView2<'_, f64>,
) -> RecurrenceTolerances {
    let weights = Weights::of_cell(cell);
    let (input, hidden) = cell.wx.dim();
    let (mut h, mut allowed_xs) = (Array2::zeros(dh.raw_dim()), Array2::zeros(xs.raw_dim()));
    let mut sums = CellSums::new(input, (hidden, hidden));
    let mut start = 0;
    for length in lengths {
        let range = start..start + length;
        let run =
            weights.forward(unit, rows(xs, range.clone()).to_owned(), |h, cov_h| (h.clone(), cov_h.clone()));
        let dh = rows(dh, range.clone());
        let back = weights
            .backward(unit, &run, |t, carried| carried.onto(unit, &weights.wh_t, dh.row(t).to_owned(), None));
        let part = Slice::from(range);
        h.slice_axis_mut(Axis(0), part).assign(&run.errors());
        allowed_xs.slice_axis_mut(Axis(0), part).assign(&back.dx_error);
        sums.add(&run, &back);
        start += length;
    }
    RecurrenceTolerances { h, xs: allowed_xs, cell: sums.allowed(unit) }
}

/// The weights of the recurrence, and some of them in the form in which products are followed.
struct Weights<'a> {
    wx: ArrayView2<'a, f64>,
    wh: ArrayView2<'a, f64>,
    bh: ArrayView1<'a, f64>,
    h0: ArrayView1<'a, f64>,
    /// wx, wh and bh one above the other.
    all: Array2<f64>,
    wx_t: Array2<f64>,
    wh_t: Array2<f64>,
}

/// A sequence's states, and what was fed back into each step.
struct Run {
    x: Array2<f64>,
    h: Array2<f64>,
    /// The covariances of the errors of the states.
    cov: Vec<Array2<f64>>,
    /// `h0` first.
    fed_back: Array2<f64>,
    fed_back_error: Array2<f64>,
}

impl Run {
    fn errors(&self) -> Array2<f64> {
        let mut errors = Array2::zeros(self.h.raw_dim());
        for (mut row, cov) in errors.rows_mut().into_iter().zip(&self.cov) {
            row.assign(&at_most_one(cov));
        }
        errors
    }
}

/// The gradient that a step carries back to what was fed into it, `wh·da`, the covariance of its errors (without the
/// roundings of this product), and `da` itself.
struct Carried {
    value: Array1<f64>,
    cov: Array2<f64>,
    da: Array1<f64>,
}

impl Carried {
    /// Added to a gradient from elsewhere, which has errors of its own (or is exact).
    fn onto(
        self,
        unit: Unit,
        wh_t: &Array2<f64>,
        other: Array1<f64>,
        other_cov: Option<&Array2<f64>>,
    ) -> (Array1<f64>, Array2<f64>) {
        let roundings = unit.product(&other, &self.da, wh_t.view());
        let mut cov = match other_cov {
            Some(other_cov) => dependent(self.cov, other_cov),
            None => self.cov,
        };
        add_independent(&mut cov, &roundings);
        (other + self.value, cov)
    }

    /// Alone.
    fn rounded(self, unit: Unit, wh_t: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
        let zero = Array1::zeros(self.value.len());
        self.onto(unit, wh_t, zero, None)
    }
}

/// The gradients of the pre-activations and the inputs of a sequence and of `h0`, with their errors.
struct Back {
    da: Array2<f64>,
    da_error: Array2<f64>,
    dx: Array2<f64>,
    dx_error: Array2<f64>,
    dh0: Array1<f64>,
    dh0_error: Array1<f64>,
}

impl<'a> Weights<'a> {
    fn of_network(params: &'a Params<f64>) -> Self {
        Self::new(params.wx.view(), params.wh.view(), params.bh.view(), params.h0.view())
    }

    fn of_cell(cell: &'a Cell<f64>) -> Self {
        Self::new(cell.wx.view(), cell.wh.view(), cell.bh.view(), cell.h0.view())
    }

    fn new(
        wx: ArrayView2<'a, f64>,
        wh: ArrayView2<'a, f64>,
        bh: ArrayView1<'a, f64>,
        h0: ArrayView1<'a, f64>,
    ) -> Self {
        let all = concatenate![Axis(0), wx, wh, bh.insert_axis(Axis(0))];
        Weights { wx, wh, bh, h0, all, wx_t: standard(wx.t()), wh_t: standard(wh.t()) }
    }

    /// `feed` says what of a state and its errors is fed back.
    fn forward(
        &self,
        unit: Unit,
        x: Array2<f64>,
        mut feed: impl FnMut(&Array1<f64>, &Array2<f64>) -> (Array1<f64>, Array2<f64>),
    ) -> Run {
        let (steps, hidden, fed) = (x.nrows(), self.bh.len(), self.h0.len());
        let mut h = Array2::zeros((steps, hidden));
        let (mut fed_back, mut fed_back_error) = (Array2::zeros((steps, fed)), Array2::zeros((steps, fed)));
        let mut cov = Vec::new();
        let (mut h_prev, mut cov_prev) = (self.h0.to_owned(), Array2::zeros((fed, fed)));
        let from_x = x.dot(&self.wx) + self.bh;
        for t in 0..steps {
            fed_back.row_mut(t).assign(&h_prev);
            fed_back_error.row_mut(t).assign(&at_most_one(&cov_prev));
            let a = &from_x.row(t) + &h_prev.dot(&self.wh);
            let terms = concatenate![Axis(0), x.row(t), h_prev, aview1(&[1.0])];
            // One chain over all terms, or one over x·wx and one over h·wh, whichever rounds more.
            let zero = Array1::zeros(hidden);
            let together = unit.product(&zero, &terms, self.all.view());
            let of_x = unit.product(&zero, &x.row(t).to_owned(), self.wx);
            let of_h = unit.product(&zero, &h_prev, self.wh);
            let apart = Zip::from(&of_x)
                .and(&of_h)
                .and(&a)
                .map_collect(|of_x, of_h, a| of_x.hypot(*of_h).hypot(2.0 * unit.eps * a));
            let roundings = Zip::from(&together).and(&apart).map_collect(|a: &f64, b| a.max(*b));
            let mut cov_a =
                if t == 0 { Array2::zeros((hidden, hidden)) } else { transport(self.wh.t(), &cov_prev) };
            add_independent(&mut cov_a, &roundings);
            let h_t = a.mapv(sigmoid);
            let a_error = deviations(&cov_a);
            let steepest = Zip::from(&a).and(&a_error).map_collect(|a, error| {
                let h = sigmoid(-(a.abs() - error).max(0.0));
                h * (1.0 - h)
            });
            let mut cov_h = scale(cov_a, &steepest);
            // The curvature is h (1 - h) (1 - 2h), never more than the slope.
            let second_order = Zip::from(&steepest)
                .and(&a_error)
                .map_collect(|slope, error| slope.min(MOST_CURVATURE) * error * error / 2.0);
            add_independent(&mut cov_h, &second_order);
            add_independent(&mut cov_h, &h_t.mapv(|h| FUNCTION * unit.eps * h + unit.floor));
            h.row_mut(t).assign(&h_t);
            cov.push(bounded(cov_h));
            (h_prev, cov_prev) = feed(&h_t, &cov[t]);
        }
        Run { x, h, cov, fed_back, fed_back_error }
    }

    /// `dh_of` makes of what the step after carries back the gradient of a state and the covariance of its errors.
    fn backward(
        &self,
        unit: Unit,
        run: &Run,
        mut dh_of: impl FnMut(usize, Carried) -> (Array1<f64>, Array2<f64>),
    ) -> Back {
        let (steps, hidden) = run.h.dim();
        let (fed, input) = (self.h0.len(), self.wx.nrows());
        let mut da = Array2::zeros((steps, hidden));
        let mut da_error = Array2::zeros((steps, hidden));
        let mut dx_error = Array2::zeros((steps, input));
        let mut dx_roundings = Array2::zeros((steps, input));
        let mut carried =
            Carried { value: Array1::zeros(fed), cov: Array2::zeros((fed, fed)), da: Array1::zeros(hidden) };
        for t in (0..steps).rev() {
            let h = run.h.row(t);
            let (dh, cov) = dh_of(t, carried);
            let da_t = &dh * &h.mapv(|h| h * (1.0 - h));
            let h_error = at_most_one(&run.cov[t]);
            let steepest = Zip::from(h).and(&h_error).map_collect(|h, error| {
                let h = (h.min(1.0 - h) + error).min(0.5);
                h * (1.0 - h)
            });
            let bend = Zip::from(&dh)
                .and(h)
                .and(&h_error)
                .map_collect(|dh, h, error| dh * ((1.0 - 2.0 * h).abs() + error).min(1.0).copysign(0.5 - h));
            // h (1 - h) bends by -2: its second order is the square of the error of h.
            let second_order = Zip::from(&dh)
                .and(&deviations(&cov))
                .and(&h_error)
                .map_collect(|dh, dh_error, h_error| h_error * (dh_error + dh.abs() * h_error));
            let mut cov_da = dependent(scale(cov, &steepest), &scale(run.cov[t].clone(), &bend));
            add_independent(&mut cov_da, &second_order);
            add_independent(&mut cov_da, &da_t.mapv(|da| FUNCTION * unit.eps * da.abs() + unit.floor));

            let no_start = Array1::zeros(input);
            dx_roundings.row_mut(t).assign(&unit.product(&no_start, &da_t, self.wx_t.view()));
            let from_da = (&self.wx.dot(&cov_da) * &self.wx).sum_axis(Axis(1));
            dx_error.row_mut(t).assign(&from_da.mapv(deviation));
            da_error.row_mut(t).assign(&deviations(&cov_da));
            da.row_mut(t).assign(&da_t);
            carried = Carried { value: self.wh.dot(&da_t), cov: transport(self.wh, &cov_da), da: da_t };
        }
        dx_error += &dx_roundings;
        let h0_roundings = unit.product(&Array1::zeros(fed), &carried.da, self.wh_t.view());
        let dh0_error = deviations(&carried.cov) + h0_roundings;
        let dx = da.dot(&self.wx.t());
        Back { da, da_error, dx, dx_error, dh0: carried.value, dh0_error }
    }
}

/// The outputs of one step with the covariances of their errors.
struct Output {
    z: Array1<f64>,
    /// The class of the largest score.
    max: usize,
    s: Array1<f64>,
    /// What the sum of the softmax may be off by, relative to it.
    sum: f64,
    cov_z: Array2<f64>,
    cov_s: Array2<f64>,
    beyond_first_order: f64,
}

impl Output {
    fn new(unit: Unit, params: &Params<f64>, h: &Array1<f64>, cov_h: &Array2<f64>) -> Self {
        let z = h.dot(&params.w) + &params.b;
        let mut cov_z = transport(params.w.t(), cov_h);
        add_independent(&mut cov_z, &unit.product(&params.b, h, params.w.view()));
        let log_sum = log_sum_exp(z.view());
        let max = (0..z.len()).fold(0, |max, k| if z[k] > z[max] { k } else { max });
        let s = z.mapv(|z| (z - log_sum).exp());

        let mut cov_s = through_softmax(&s, &cov_z);
        // An error of the scores that is not small counts exponentially.
        let most = 2.0 * deviations(&cov_z).fold(0.0, |most: f64, error| most.max(*error));
        let grown = most.min(MOST_EXPONENT).exp_m1();
        let beyond_first_order = if most > 0.0 { grown / most } else { 1.0 };
        cov_s *= beyond_first_order * beyond_first_order;
        add_independent(&mut cov_s, &s.mapv(|s| s * (grown - most).max(0.0)));
        let (sum, largest) = (unit.softmax_sum(&s), z[max]);
        // exp, and the rounding of its argument; the sum of all; the division.
        let of_exp = Zip::from(&s)
            .and(&z)
            .map_collect(|s, z| s * (FUNCTION + (z - largest).abs() / 2.0) * unit.eps + unit.floor);
        add_independent(&mut cov_s, &of_exp);
        add_independent(&mut cov_s, &s.mapv(|s| s * sum));
        add_independent(&mut cov_s, &s.mapv(|s| s * unit.eps / 2.0));
        let cov_s = bounded(cov_s);
        Output { z, max, s, sum, cov_z, cov_s, beyond_first_order }
    }

    /// The gradient of the loss by the scores with the covariance of its errors, where `n` terms make the mean;
    /// `through` is the gradient of this output that the step after carries back, with its covariance.
    fn gradient(
        &self,
        unit: Unit,
        label: usize,
        n: f64,
        through: Option<(Array1<f64>, Array2<f64>)>,
    ) -> (Array1<f64>, Array2<f64>) {
        let (s, classes) = (&self.s, self.s.len());
        let mut onehot = Array1::zeros(classes);
        onehot[label] = 1.0;
        let mut ds = (s - &onehot) / n;
        let mut rounding = (s + &onehot) * (2.0 * unit.eps / n) + unit.floor;
        // Duals have 1 minus the sum of all others here, each rounded in f64.
        rounding[self.max] += SUM * growth(classes) * f64::EPSILON / n;
        let mut cov = match through {
            None => &self.cov_s / (n * n),
            Some((g, cov_g)) => {
                let mean = s.dot(&g);
                let from_mean = &g - mean;
                let magnitude = &ds.mapv(f64::abs) + &(s * &from_mean.mapv(f64::abs));
                ds += &(s * &from_mean);
                // By s: 1 / n + diag(g - s·g) - s gᵀ.
                let by_s = Array2::from_diag(&(&from_mean + 1.0 / n))
                    - s.view().insert_axis(Axis(1)).dot(&g.view().insert_axis(Axis(0)));
                let mut cov = dependent(transport(by_s.view(), &self.cov_s), &through_softmax(s, &cov_g));

                // What is not of the first order: s is wrong, and so is g.
                let (s_error, g_error) = (at_most_one(&self.cov_s), deviations(&cov_g));
                let both = s_error.dot(&g_error);
                let of_mean = s_error.dot(&from_mean.mapv(f64::abs)) + s.dot(&g_error) + both;
                add_independent(&mut cov, &(&s_error * &(&g_error + of_mean) + s * both));

                // The sum, the difference and the product, in whichever order.
                let of_sum = unit.sum(mean, (s * &g).mapv(|v| v * v).sum(), classes);
                let apart = g.mapv(|g| FUNCTION * unit.eps * (g.abs() + mean.abs()) + of_sum);
                rounding += &(s * &apart);
                rounding += &(magnitude * (2.0 * unit.eps));
                cov
            }
        };
        add_independent(&mut cov, &rounding);
        (ds, cov)
    }

    /// `-ln s[label]` and its error.
    fn loss(&self, unit: Unit, label: usize) -> (f64, f64) {
        let loss = log_sum_exp(self.z.view()) - self.z[label];
        let mut slope = self.s.clone();
        slope[label] -= 1.0;
        let carried = deviation(slope.dot(&self.cov_z.dot(&slope))) * self.beyond_first_order;
        let max = self.z.fold(0.0, |max: f64, z| max.max(z.abs()));
        (loss, carried + self.sum + unit.eps * (2.0 * FUNCTION + 2.0 * max + 2.0 * loss))
    }
}

/// A sum over the words of products: its value, the squares of its terms, and the errors of its terms.
struct Sum {
    value: Array2<f64>,
    squares: Array2<f64>,
    error: Array2<f64>,
    /// The number of terms of the entries of each row.
    terms: Vec<usize>,
}

impl Sum {
    fn new(dim: (usize, usize)) -> Self {
        let zeros = Array2::zeros(dim);
        Sum { value: zeros.clone(), squares: zeros.clone(), error: zeros, terms: vec![0; dim.0] }
    }

    /// Adds `sum over t of left[t, i] · right[t, j]`.
    fn add_products(
        &mut self,
        left: ArrayView2<'_, f64>,
        left_error: ArrayView2<'_, f64>,
        right: &Array2<f64>,
        right_error: &Array2<f64>,
    ) {
        let magnitude = left.mapv(f64::abs);
        self.value += &left.t().dot(right);
        self.squares += &squares(left).t().dot(&squares(right.view()));
        self.error += &left_error.t().dot(&right.mapv(f64::abs));
        self.error += &(magnitude + left_error).t().dot(right_error);
        self.terms.iter_mut().for_each(|terms| *terms += left.nrows());
    }

    /// Adds the sum of all rows, to the only row.
    fn add_rows(&mut self, rows: &Array2<f64>, error: &Array2<f64>) {
        for (row, error) in rows.rows().into_iter().zip(error.rows()) {
            self.add_row(0, row, error);
        }
    }

    fn add_row(&mut self, row: usize, value: ArrayView1<'_, f64>, error: ArrayView1<'_, f64>) {
        let mut sum = self.value.row_mut(row);
        sum += &value;
        let mut sum = self.squares.row_mut(row);
        sum += &value.mapv(|v| v * v);
        let mut sum = self.error.row_mut(row);
        sum += &error;
        self.terms[row] += 1;
    }

    fn allowed(&self, unit: Unit) -> Array2<f64> {
        let mut allowed = self.error.clone();
        Zip::indexed(&mut allowed).and(&self.value).and(&self.squares).for_each(
            |(row, _), allowed, value, squares| *allowed += unit.sum(*value, *squares, self.terms[row]),
        );
        allowed
    }
}

/// The sums that are the gradient of a cell.
struct CellSums {
    wx: Sum,
    wh: Sum,
    bh: Sum,
    h0: Sum,
}

impl CellSums {
    fn new(input: usize, (fed_back, hidden): (usize, usize)) -> Self {
        CellSums {
            wx: Sum::new((input, hidden)),
            wh: Sum::new((fed_back, hidden)),
            bh: Sum::new((1, hidden)),
            h0: Sum::new((1, fed_back)),
        }
    }

    fn add(&mut self, run: &Run, back: &Back) {
        let exact = Array2::zeros(run.x.raw_dim());
        self.wx.add_products(run.x.view(), exact.view(), &back.da, &back.da_error);
        self.wh.add_products(run.fed_back.view(), run.fed_back_error.view(), &back.da, &back.da_error);
        self.bh.add_rows(&back.da, &back.da_error);
        self.h0.add_row(0, back.dh0.view(), back.dh0_error.view());
    }

    fn allowed(&self, unit: Unit) -> Cell<f64> {
        Cell {
            wx: self.wx.allowed(unit),
            wh: self.wh.allowed(unit),
            bh: self.bh.allowed(unit).remove_axis(Axis(0)),
            h0: self.h0.allowed(unit).remove_axis(Axis(0)),
        }
    }
}

fn squares(m: ArrayView2<'_, f64>) -> Array2<f64> {
    m.mapv(|v| v * v)
}

/// The same entries in row-major layout.
fn standard(m: ArrayView2<'_, f64>) -> Array2<f64> {
    m.as_standard_layout().into_owned()
}

/// The covariance of a sum of errors that are made of the same roundings: however they go together, it is at
/// most `(1 + c) a + (1 + 1/c) b`, for any `c`; here the one that makes the trace least.
fn dependent(mut a: Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    let [of_a, of_b] = [&a, b].map(|cov| cov.diag().sum().max(0.0));
    if of_a > 0.0 && of_b > 0.0 {
        let c = (of_b / of_a).sqrt();
        a *= 1.0 + c;
        a.scaled_add(1.0 + 1.0 / c, b);
        a
    } else {
        a + b
    }
}

/// `m cov mᵀ`.
fn transport(m: ArrayView2<'_, f64>, cov: &Array2<f64>) -> Array2<f64> {
    m.dot(cov).dot(&m.t())
}

/// `j cov j` with `j = diag(s) - s sᵀ`, one factor at a time.
fn through_softmax(s: &Array1<f64>, cov: &Array2<f64>) -> Array2<f64> {
    let left = cov - &s.dot(cov);
    let left = left * s.view().insert_axis(Axis(1));
    let mut through = &left - &left.dot(s).insert_axis(Axis(1));
    through *= s;
    through
}

/// `diag(d) cov diag(d)`.
fn scale(mut cov: Array2<f64>, d: &Array1<f64>) -> Array2<f64> {
    cov *= d;
    cov *= &d.view().insert_axis(Axis(1));
    cov
}

/// The covariance of errors of numbers between 0 and 1, whose standard deviation is at most 1: where it would
/// explode, it ends there. It does not end at 1 itself, since a sum of many such errors is not bounded by one deviation.
fn bounded(cov: Array2<f64>) -> Array2<f64> {
    let shrink = deviations(&cov).mapv(|error| (error / DEVIATIONS).max(1.0).recip());
    scale(cov, &shrink)
}

/// The errors themselves of numbers between 0 and 1.
fn at_most_one(cov: &Array2<f64>) -> Array1<f64> {
    // A little more, for the roundings here.
    deviations(cov).mapv(|error| error.min(1.0 + 1e-9))
}

/// Adds independent errors of the given sizes.
fn add_independent(cov: &mut Array2<f64>, errors: &Array1<f64>) {
    Zip::from(cov.diag_mut()).and(errors).for_each(|cov, error| *cov += error * error);
}

/// The root; what is not a number may be anything.
fn deviation(variance: f64) -> f64 {
    if variance.is_nan() { f64::INFINITY } else { variance.max(0.0).sqrt() }
}

/// The roots of the diagonal.
fn deviations(cov: &Array2<f64>) -> Array1<f64> {
    cov.diag().mapv(deviation)
}

#[cfg(test)]
mod tests {
    use elman::{Network, Shape};
    use elman_reference::Reference;

    use super::*;
    use crate::differences::Difference;
    use crate::duals::cell_tensors;
    use crate::strategies::{Fill, Problem, Sequenced};

    const TUTORIAL: Shape = crate::checks::TUTORIAL;
    const NETWORKS: [Feedback; 2] = [Feedback::Hidden, Feedback::Output];

    fn largest<'a>(entries: impl IntoIterator<Item = &'a f64>) -> f64 {
        entries.into_iter().fold(0.0, |most: f64, v| most.max(v.abs()))
    }

    /// What is allowed, written down: no bound becomes wider or narrower unseen. `UPDATE_EXPECT=1 cargo test` writes
    /// tolerance.txt anew; what changed in it is then to be explained.
    #[test]
    fn what_is_allowed_is_what_was_written_down() {
        let mut found = String::new();
        // In a type so coarse, what is beyond the first order and what is below the smallest number count too.
        let coarse = Unit { eps: 0.01, floor: 1e-6 };
        for (name, unit) in [("f32", Unit::of::<f32>()), ("f64", Unit::of::<f64>()), ("coarse", coarse)] {
            sums(&mut found, name, unit);
            for feedback in NETWORKS {
                networks(&mut found, name, unit, feedback);
            }
            recurrences(&mut found, name, unit);
        }
        expect_test::expect_file!["tolerance.txt"].assert_eq(&found);
    }

    fn line(found: &mut String, what: &str, numbers: impl IntoIterator<Item = f64>) {
        let numbers: Vec<String> = numbers.into_iter().map(|v| format!("{v:.4e}")).collect();
        found.push_str(&format!("{what}: {}\n", numbers.join(" ")));
    }

    /// The sum and the largest of what is allowed to the entries of a tensor.
    fn sum_and_largest<'a>(entries: impl IntoIterator<Item = &'a f64> + Clone) -> [f64; 2] {
        [entries.clone().into_iter().sum(), largest(entries)]
    }

    fn sums(found: &mut String, name: &str, unit: Unit) {
        let terms = [1, 2, 15, 300];
        line(found, &format!("{name} sum that cancels"), terms.map(|n| unit.sum(0.0, 3.0, n)));
        line(found, &format!("{name} sum of equal terms"), terms.map(|n| unit.sum(2.0, 4.0 / n as f64, n)));
        line(found, &format!("{name} sum of zeros"), terms.map(|n| unit.sum(0.0, 0.0, n)));
        let scores = [vec![0.25; 4], vec![0.1, 0.2, 0.3, 0.4], vec![0.0, 1.0], vec![0.005; 200]];
        line(found, &format!("{name} softmax"), scores.map(|s| unit.softmax_sum(&s.into())));
        let m = Array2::from_shape_fn((20, 3), |(i, j)| [1.0, (-1.0f64).powi(i as i32), 1e-160][j]);
        let v = Array1::from_shape_fn(20, |i| (1.0 + i as f64) / 7.0);
        for start in [0.0, 1000.0] {
            let allowed = unit.product(&Array1::from_elem(3, start), &v, m.view());
            line(found, &format!("{name} product from {start}"), allowed);
        }
        let product_of = |start: f64, terms: Array1<f64>| {
            let ones = Array2::ones((terms.len(), 1));
            unit.product(&Array1::from_elem(1, start), &terms, ones.view())[0]
        };
        let two_in_three =
            Array1::from_shape_fn(90, |i| if i % 3 == 0 { 1e-3 * i as f64 - 0.04 } else { 0.01 });
        let equal = [product_of(1.0, two_in_three), product_of(0.0, Array1::from_elem(99, 0.01))];
        line(found, &format!("{name} product of equal terms"), equal);
        let update = |p, g, words, error| unit.update(p, 0.1, g, words, error);
        let updates = [
            update(1.0, 0.0, 1, 1e-5),
            update(0.0, -30.0, 1, 1e-5),
            update(-1.0, 3.0, 9, 0.0),
            update(0.0, 0.0, 9, 0.0),
        ];
        line(found, &format!("{name} update"), updates);
        for row in [[0.0; 3], [1e-200; 3], [1e-70; 3], [1e-17; 3], [3.0, -4.0, 0.0], [1e-3, 2e-3, 1.0]] {
            let allowed = unit.normalised(aview1(&row), aview1(&[1e-7, 2e-7, 3e-7]));
            line(found, &format!("{name} normalised {row:?}"), allowed);
        }
        let differences = [(1.0, 0.0), (0.0, 1e-9)]
            .map(|(scale, error)| difference(scale, -2.0, Difference { value: 1.0, error, step: 1e-3 }));
        line(found, &format!("{name} difference"), differences);
        let exploding = Array2::from_diag(&aview1(&[1e-6, 1.0, 100.0, 1e6]));
        line(found, &format!("{name} bounded"), bounded(exploding.clone()).diag().to_owned());
        line(found, &format!("{name} at most one"), at_most_one(&exploding));
    }

    fn networks(found: &mut String, name: &str, unit: Unit, feedback: Feedback) {
        use Fill::{Huge, Large, Small, Subnormal, Unit as One, Zero};
        let shape = Shape { vocab: 7, embed: 3, window: 3, hidden: 5, classes: 4, feedback };
        let tutorial = Problem::tutorial(shape, &[4, 1, 6], 5).unwrap();
        let one_word = vec![Labelled::new(Sentence::new(vec![2; 24]).unwrap(), vec![1; 24]).unwrap()];
        // How emb, wx, wh, w, bh, b and h0 are filled.
        for (what, fills, batch) in [
            ("as the tutorial", [Small; 7], &tutorial.batch),
            ("one word over and over", [Small; 7], &one_word),
            ("moderate", [One; 7], &tutorial.batch),
            ("large wh", [Small, Small, Large, One, Small, Small, One], &one_word),
            ("large", [One, Large, Large, One, One, One, One], &tutorial.batch),
            ("saturated", [One, One, One, One, Large, One, One], &tutorial.batch),
            ("huge scores", [Small, Small, Small, Small, Small, Huge, Small], &tutorial.batch),
            ("equal scores", [Small, Small, Small, Zero, Small, Zero, Small], &tutorial.batch),
            ("subnormal", [Subnormal, Small, Subnormal, Small, Subnormal, Small, Zero], &tutorial.batch),
        ] {
            let problem = Problem { fills, batch: batch.clone(), ..tutorial.clone() };
            let params = problem.params::<f64>().unwrap();
            let s = predict(unit, &params, problem.batch[0].sentence()).unwrap();
            let of = format!("{name} {feedback} {what}");
            line(found, &format!("{of} s"), sum_and_largest(&s));
            let allowed = gradient(unit, &params, &problem.batch).unwrap();
            line(found, &format!("{of} loss"), [allowed.loss]);
            for (tensor, allowed) in allowed.grad.tensors() {
                line(found, &format!("{of} {tensor}"), sum_and_largest(&allowed));
            }
        }
    }

    fn recurrences(found: &mut String, name: &str, unit: Unit) {
        use Fill::{Large, Small, Subnormal, Unit as One};
        // How wx, wh, bh, h0, the inputs and dh are filled.
        for (what, fills, lengths) in [
            ("small", [Small; 6], vec![3, 1, 5]),
            ("moderate", [One; 6], vec![3, 1, 5]),
            ("saturated", [Large; 6], vec![3, 1, 5]),
            ("large wh", [Small, Large, Small, One, Small, One], vec![30]),
            ("subnormal", [One, One, One, One, One, Subnormal], vec![3, 1, 5]),
        ] {
            let sequenced = Sequenced { input: 3, hidden: 5, lengths, fills, seed: 5 };
            let (cell, xs, dh) = sequenced.draw::<f64>();
            let allowed = recurrence(unit, &cell, xs.view(), &sequenced.lengths, dh.view());
            let of = format!("{name} recurrence {what}");
            line(found, &format!("{of} h"), sum_and_largest(&allowed.h));
            line(found, &format!("{of} xs"), sum_and_largest(&allowed.xs));
            for (tensor, allowed) in cell_tensors(&allowed.cell) {
                line(found, &format!("{of} {tensor}"), sum_and_largest(&allowed));
            }
        }
    }

    #[test]
    fn what_is_allowed_is_little_at_the_tutorials_size() {
        let eps = f64::from(f32::EPSILON);
        // What was found, rounded up.
        for (feedback, most) in NETWORKS.into_iter().zip([24.0, 28.0]) {
            let shape = Shape { feedback, ..TUTORIAL };
            let params = Params::<f32>::init(shape, 42).unwrap().map(f64::from);
            let problem = Problem::tutorial(shape, &[15], 42).unwrap();
            let unit = Unit::of::<f32>();
            let s = Reference::new().predict(&params, problem.batch[0].sentence()).unwrap();
            let allowed = predict(unit, &params, problem.batch[0].sentence()).unwrap();
            let forward = largest(&allowed) / largest(&s) / eps;
            println!("{feedback}: s: {forward:.1} eps of the largest");
            assert!(forward <= most, "{feedback}: {forward:.1}");
            let allowed = gradient(unit, &params, &problem.batch).unwrap();
            for ((name, value), (_, allowed)) in
                allowed.value.tensors().into_iter().zip(allowed.grad.tensors())
            {
                let backward = largest(&allowed) / largest(&value) / eps;
                println!("{feedback}: {name}: {backward:.1} eps of the largest");
                assert!(backward <= 112.0, "{feedback}: {name}: {backward:.1}");
            }
        }
    }

    #[test]
    fn the_gradient_that_errors_are_followed_through_is_the_gradient() {
        for feedback in NETWORKS {
            let shape = Shape { vocab: 9, embed: 4, window: 5, hidden: 17, classes: 6, feedback };
            let problem = Problem::tutorial(shape, &[5, 1, 7], 3).unwrap();
            let params = problem.params::<f64>().unwrap();
            let found = gradient(Unit::of::<f64>(), &params, &problem.batch).unwrap();
            let mut expected = Params::zeros(shape).unwrap();
            Reference::new().gradient(&params, &problem.batch, &mut expected).unwrap();
            for (((name, found), (_, expected)), (_, allowed)) in
                found.value.tensors().into_iter().zip(expected.tensors()).zip(found.grad.tensors())
            {
                for ((found, expected), allowed) in found.iter().zip(expected).zip(allowed) {
                    let close = (found - expected).abs() <= *allowed;
                    assert!(close, "{feedback}: {name}: {found}, expected {expected}");
                }
            }
        }
    }

    /// The errors of what the softmax passes back, against what planted errors of s and g make of it.
    #[test]
    fn covariances_through_the_softmax_are_those_of_planted_errors() {
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{Rng, SeedableRng};

        let shape =
            Shape { vocab: 5, embed: 3, window: 1, hidden: 5, classes: 4, feedback: Feedback::Output };
        let params = Problem::tutorial(shape, &[6], 4).unwrap().params::<f64>().unwrap();
        let unit = Unit::of::<f64>();
        let mut output = Output::new(unit, &params, &Array1::from_elem(5, 0.4), &Array2::zeros((5, 5)));
        output.cov_s = Array2::eye(4) * 1e-12;
        let (s, g) = (output.s.clone(), Array1::from(vec![0.3, -0.2, 0.5, 0.1]));
        let gradient = |s: &Array1<f64>, g: &Array1<f64>| (s / 6.0) + &(s * &(g - s.dot(g)));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut sign = || if rng.next_u32() & 1 == 0 { 1e-6 } else { -1e-6 };
        for (of_s, of_g) in [(1.0, 0.0), (0.0, 1.0)] {
            output.cov_s = Array2::eye(4) * 1e-12 * of_s;
            let cov_g = Array2::eye(4) * 1e-12 * of_g;
            let (_, predicted) = output.gradient(unit, 1, 6.0, Some((g.clone(), cov_g)));
            let mut measured = Array2::<f64>::zeros((4, 4));
            const RUNS: usize = 40_000;
            for _ in 0..RUNS {
                let (moved_s, moved_g) = (s.mapv(|s| s + of_s * sign()), g.mapv(|g| g + of_g * sign()));
                let error = gradient(&moved_s, &moved_g) - gradient(&s, &g);
                for i in 0..4 {
                    for j in 0..4 {
                        measured[[i, j]] += error[i] * error[j] / RUNS as f64;
                    }
                }
            }
            for (found, expected) in predicted.iter().zip(&measured) {
                assert!((found - expected).abs() < 0.05 * largest(&measured), "{found}, measured {expected}");
            }
        }
    }

    #[test]
    fn a_longer_sum_is_allowed_more_and_a_larger_one_too() {
        let unit = Unit::of::<f32>();
        assert!(unit.sum(1.0, 0.1, 200) > unit.sum(1.0, 0.1, 20));
        assert!(unit.sum(2.0, 0.1, 20) > unit.sum(1.0, 0.1, 20));
        assert!(unit.sum(0.0, 4.0, 20) > unit.sum(0.0, 1.0, 20));
        assert!(unit.sum(0.0, 0.0, 20) > 0.0);
        assert!(Unit::of::<f64>().sum(1.0, 1.0, 20) < 1e-8 * unit.sum(1.0, 1.0, 20));
    }

    #[test]
    fn equal_scores_are_rounded_alike_and_allowed_more() {
        let unit = Unit::of::<f32>();
        // A plain sum of 200 equal terms, as a softmax of equal scores makes it, for many values of the term.
        let mut worst = 0.0f64;
        for i in 1..1000 {
            let term = 0.5 + i as f32 / 2000.1;
            let sum: f32 = (0..200).fold(0.0, |sum, _| sum + term);
            worst = worst.max((f64::from(sum) / (200.0 * f64::from(term)) - 1.0).abs());
        }
        let equal = unit.softmax_sum(&Array1::from_elem(200, 1.0 / 200.0));
        let different = unit.softmax_sum(&Array1::from_shape_fn(200, |k| k as f64 / 20_000.0));
        assert!(different < worst && worst < equal, "{different}, {worst}, {equal}");
    }

    #[test]
    fn equal_terms_of_a_product_are_rounded_alike_and_allowed_more() {
        let unit = Unit::of::<f32>();
        // The gradient of a hidden unit where one label was right and 199 others are equally probable.
        let mut worst = 0.0f64;
        for i in 0..1000 {
            let term = 2e-5 + i as f32 * 1e-8;
            let sum: f32 = (0..199).fold(1.0, |sum, _| sum + term);
            worst = worst.max((f64::from(sum) - 1.0 - 199.0 * f64::from(term)).abs());
        }
        let allowed = |terms: Array1<f64>| {
            unit.product(&Array1::from_elem(1, 1.0), &terms, Array2::ones((199, 1)).view())[0]
        };
        let equal = allowed(Array1::from_elem(199, 2e-5));
        let different = allowed(Array1::from_shape_fn(199, |k| k as f64 * 2e-7));
        assert!(different < worst && worst < equal, "{different}, {worst}, {equal}");
        // Terms that vanish in the sum are off by themselves, and no more.
        let vanishing = allowed(Array1::from_elem(199, 1e-10));
        assert!(vanishing < different * 1.01, "{vanishing}, {different}");
    }

    /// The covariance against what planted errors do: each entry of wh moved by random small amounts.
    #[test]
    fn covariances_are_those_of_planted_errors() {
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{Rng, SeedableRng};

        let feedback = Feedback::Hidden;
        let shape = Shape { vocab: 5, embed: 3, window: 1, hidden: 5, classes: 2, feedback };
        let problem = Problem::tutorial(shape, &[6], 4);
        let params = problem.unwrap().params::<f64>().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut sign = || if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 };
        // One step of the recurrence from a state with errors of 1e-6 in each entry.
        let cell = Weights::of_network(&params);
        let x = windows(params.emb.view(), &[1], 1);
        let h_prev = Array1::from_elem(5, 0.4);
        let step = |h: &Array1<f64>| {
            (x.dot(&cell.wx).row(0).to_owned() + h.dot(&cell.wh) + cell.bh).mapv(|a| 1.0 / (1.0 + (-a).exp()))
        };
        let h = step(&h_prev);
        let slope = h.mapv(|h| h * (1.0 - h));
        let predicted = scale(transport(cell.wh.t(), &(Array2::eye(5) * 1e-12)), &slope);
        let mut measured = Array2::<f64>::zeros((5, 5));
        const RUNS: usize = 40_000;
        for _ in 0..RUNS {
            let error = step(&h_prev.mapv(|h| h + 1e-6 * sign())) - &h;
            for i in 0..5 {
                for j in 0..5 {
                    measured[[i, j]] += error[i] * error[j] / RUNS as f64;
                }
            }
        }
        for (found, expected) in predicted.iter().zip(&measured) {
            assert!((found - expected).abs() < 0.05 * largest(&measured), "{found}, measured {expected}");
        }
    }
}
