//! The recurrence alone: `h[t] = sigmoid(x[t]·wx + h[t-1]·wh + bh)`, `h[-1] = h0`, and its gradient.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Slice, concatenate};
use elman::{Cell, CellGradient, Error, Params, Real, Recurrence, Sequences, Trace};

use crate::Reference;
use crate::linear::{add_outer, mat_vec, sigmoid, stack, through_sigmoid, vec_mat};
use crate::scan::{Initial, Input, scan};

/// The four tensors of the recurrence, of a [`Cell`] or of a [`Params`].
pub(crate) struct Weights<'a, T> {
    wx: ArrayView2<'a, T>,
    wh: ArrayView2<'a, T>,
    bh: ArrayView1<'a, T>,
    h0: ArrayView1<'a, T>,
}

impl<'a, T: Real> From<&'a Cell<T>> for Weights<'a, T> {
    fn from(cell: &'a Cell<T>) -> Self {
        Weights { wx: cell.wx.view(), wh: cell.wh.view(), bh: cell.bh.view(), h0: cell.h0.view() }
    }
}

impl<'a, T: Real> From<&'a Params<T>> for Weights<'a, T> {
    fn from(params: &'a Params<T>) -> Self {
        Weights { wx: params.wx.view(), wh: params.wh.view(), bh: params.bh.view(), h0: params.h0.view() }
    }
}

/// Where the gradients of the four tensors are added up.
pub(crate) struct Sums<'a, T> {
    wx: &'a mut Array2<T>,
    wh: &'a mut Array2<T>,
    bh: &'a mut Array1<T>,
    h0: &'a mut Array1<T>,
}

impl<'a, T: Real> From<&'a mut Cell<T>> for Sums<'a, T> {
    fn from(cell: &'a mut Cell<T>) -> Self {
        Sums { wx: &mut cell.wx, wh: &mut cell.wh, bh: &mut cell.bh, h0: &mut cell.h0 }
    }
}

impl<'a, T: Real> From<&'a mut Params<T>> for Sums<'a, T> {
    fn from(params: &'a mut Params<T>) -> Self {
        Sums { wx: &mut params.wx, wh: &mut params.wh, bh: &mut params.bh, h0: &mut params.h0 }
    }
}

impl<T: Real> Weights<'_, T> {
    /// What is fed back into the first step.
    pub(crate) fn h0(&self) -> Array1<T> {
        self.h0.to_owned()
    }

    /// The next state, from what the step before feeds back: its state, or in a Jordan network its output.
    pub(crate) fn step(&self, x: ArrayView1<'_, T>, fed_back: &Array1<T>) -> Array1<T> {
        sigmoid(vec_mat(x, self.wx) + vec_mat(fed_back.view(), self.wh) + self.bh)
    }

    /// From the gradient `dz` before the sigmoid of a step: adds those of wx, wh and bh, and returns those of what
    /// was fed back and of `x`.
    pub(crate) fn step_backward(
        &self,
        x: ArrayView1<'_, T>,
        fed_back: ArrayView1<'_, T>,
        dz: ArrayView1<'_, T>,
        sums: &mut Sums<'_, T>,
    ) -> (Array1<T>, Array1<T>) {
        add_outer(sums.wx, x, dz);
        add_outer(sums.wh, fed_back, dz);
        *sums.bh += &dz;
        (mat_vec(self.wh, dz), mat_vec(self.wx, dz))
    }

    /// The states of one sequence, `[steps, hidden]`.
    fn forward(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>, Error> {
        let h = scan()
            .sequences(&x)
            .outputs_info(Initial(self.h0()))
            .n_steps(x.nrows())
            .run(|x, h_prev| self.step(x, h_prev))?;
        Ok(stack(&h, self.bh.len()))
    }

    /// The scan of one sequence, backwards over its last `steps` steps: from the inputs `x`, the states `h`
    /// and the gradient `dh` that reaches each state from outside the recurrence, all `[T, _]`, adds the
    /// gradients of the weights to `sums` and returns the gradient of `x`, `[T, input]`.
    ///
    /// What lies before those steps counts as constant: its rows of the gradient of `x` are zero, its rows
    /// of `dh` are not read, and `h0` has a gradient only if the scan reaches step 0.
    pub(crate) fn backward(
        &self,
        x: ArrayView2<'_, T>,
        h: ArrayView2<'_, T>,
        dh: ArrayView2<'_, T>,
        steps: usize,
        mut sums: Sums<'_, T>,
    ) -> Result<Array2<T>, Error> {
        let after_the_end = Array1::zeros(self.h0.len());
        let h = concatenate![Axis(0), self.h0.insert_axis(Axis(0)), h];
        let (dh_prev, dx) = scan()
            .sequences((&x, Input(&h).taps([-1, 0]), &dh))
            .outputs_info((Initial(after_the_end), None))
            .n_steps(steps)
            .go_backwards(true)
            .run(|(x, [h_prev, h], dh), (dh_next, ())| {
                let mut dz = &dh + dh_next;
                through_sigmoid(&mut dz, h);
                self.step_backward(x, h_prev, dz.view(), &mut sums)
            })?;
        if steps == x.nrows()
            && let Some(dh_first) = dh_prev.last()
        {
            *sums.h0 += dh_first;
        }
        Ok(in_order(dx, x.dim()))
    }
}

/// The gradient of `x` in the order of its rows, from a scan that went backwards; what it did not come to is zero.
pub(crate) fn in_order<T: Real>(dx: Vec<Array1<T>>, (rows, input): (usize, usize)) -> Array2<T> {
    let mut gradient = Array2::zeros((rows, input));
    for (mut row, dx) in gradient.rows_mut().into_iter().rev().zip(dx) {
        row.assign(&dx);
    }
    gradient
}

impl<T: Real> Recurrence<T> for Reference {
    fn forward(&self, cell: &Cell<T>, xs: &Sequences<'_, T>) -> Result<Array2<T>, Error> {
        let (input, hidden) = cell.dim()?;
        xs.check(input)?;
        let mut states = Array2::zeros((xs.rows().nrows(), hidden));
        for range in xs.ranges() {
            let part = Slice::from(range);
            let h = Weights::from(cell).forward(xs.rows().slice_axis(Axis(0), part))?;
            states.slice_axis_mut(Axis(0), part).assign(&h);
        }
        Ok(states)
    }

    fn vjp<'a>(&self, cell: &'a Cell<T>, xs: &'a Sequences<'a, T>) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let h = self.forward(cell, xs)?;
        Ok(Box::new(ReferenceTrace { reference: *self, cell, xs, h }))
    }
}

struct ReferenceTrace<'a, T> {
    reference: Reference,
    cell: &'a Cell<T>,
    xs: &'a Sequences<'a, T>,
    h: Array2<T>,
}

impl<T: Real> Trace<T> for ReferenceTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.h.view()
    }

    fn backward(&self, dh: ArrayView2<'_, T>) -> Result<CellGradient<T>, Error> {
        if dh.dim() != self.h.dim() {
            return Err(Error::shape("dh", format!("{:?}", self.h.shape()), format!("{:?}", dh.shape())));
        }
        if !dh.is_standard_layout() {
            return Err(Error::shape("dh", "row-major layout", "other strides"));
        }
        let rows = self.xs.rows();
        let mut gradient = CellGradient {
            xs: Array2::zeros(rows.raw_dim()),
            cell: Cell::zeros(rows.ncols(), self.h.ncols()),
        };
        for range in self.xs.ranges() {
            let steps = self.reference.gradient_steps(range.len());
            let part = Slice::from(range);
            let dx = Weights::from(self.cell).backward(
                rows.slice_axis(Axis(0), part),
                self.h.slice_axis(Axis(0), part),
                dh.slice_axis(Axis(0), part),
                steps,
                Sums::from(&mut gradient.cell),
            )?;
            gradient.xs.slice_axis_mut(Axis(0), part).assign(&dx);
        }
        Ok(gradient)
    }
}
