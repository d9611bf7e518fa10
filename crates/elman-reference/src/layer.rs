//! The recurrence: one step of a cell, the scan over time, and the scan backwards.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, Slice, concatenate};
use elman::{
    Cell, Error, Layer, LayerParams, Layout, Params, Real, Recurrence, RecurrenceGradient, Sequences, States,
    Trace, check_backward,
};

use crate::Reference;
use crate::linear::{add_outer, mat_vec, stack, vec_mat};
use crate::scan::{Initial, Input, scan};
use crate::unit::{Gru, Unit};

/// Splits a vector of `[gates·hidden]` into the gates of one unit.
fn gates<T: Real, const GATES: usize>(z: &Array1<T>, unit: usize) -> [T; GATES] {
    let hidden = z.len() / GATES;
    std::array::from_fn(|gate| z[gate * hidden + unit])
}

/// The gates' parts `zx = x·wx + bh` and `zh = fed_back·wh`, in a GRU's last gate `+ bhn`.
fn products<T: Real>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    fed_back: ArrayView1<'_, T>,
) -> (Array1<T>, Array1<T>) {
    let zx = vec_mat(x, layer.wx()) + layer.bh();
    let mut zh = vec_mat(fed_back, layer.wh());
    if let Some(bhn) = layer.bhn() {
        let mut last_gate = zh.slice_axis_mut(Axis(0), Slice::from(-(bhn.len() as isize)..));
        last_gate += &bhn;
    }
    (zx, zh)
}

/// The unit's own state before a step. (In a Jordan network the value that is fed back is another one; its cell has one
/// gate and does not read the state.)
fn before<T: Real>(fed_back: ArrayView1<'_, T>, unit: usize) -> T {
    fed_back.get(unit).copied().unwrap_or(T::zero())
}

/// The next state, from the value that the step before feeds back: its state, or in a Jordan network its output.
pub(crate) fn step<T: Real>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    fed_back: ArrayView1<'_, T>,
) -> Array1<T> {
    fn each<T: Real, const GATES: usize>(
        unit: &impl Unit<GATES>,
        (zx, zh): (Array1<T>, Array1<T>),
        fed_back: ArrayView1<'_, T>,
    ) -> Array1<T> {
        let units = 0..zx.len() / GATES;
        units.map(|i| unit.forward(gates(&zx, i), gates(&zh, i), before(fed_back, i))).collect()
    }
    let z = products(layer, x, fed_back);
    match layer.cell() {
        Cell::Elman(activation) => each(&activation, z, fed_back),
        _ => each(&Gru, z, fed_back),
    }
}

/// From the gradient `dh` of a step's state: adds the gradients of wx, wh and the biases to `grad`, and returns those
/// of the value that was fed back and of `x`.
pub(crate) fn step_backward<T: Real, S: Layout>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    fed_back: ArrayView1<'_, T>,
    dh: ArrayView1<'_, T>,
    grad: &mut Params<T, S>,
) -> (Array1<T>, Array1<T>) {
    /// The gradients of zx, zh and of the state before.
    fn each<T: Real, const GATES: usize>(
        unit: &impl Unit<GATES>,
        (zx, zh): (Array1<T>, Array1<T>),
        fed_back: ArrayView1<'_, T>,
        dh: ArrayView1<'_, T>,
    ) -> [Array1<T>; 3] {
        let hidden = dh.len();
        let [mut dzx, mut dzh] = [Array1::zeros(zx.len()), Array1::zeros(zh.len())];
        let mut dbefore = Array1::zeros(fed_back.len());
        for i in 0..hidden {
            let (zx, zh) = (gates(&zx, i), gates(&zh, i));
            let (by_zx, by_zh, by_before) = unit.backward(zx, zh, before(fed_back, i), dh[i]);
            for gate in 0..GATES {
                dzx[gate * hidden + i] = by_zx[gate];
                dzh[gate * hidden + i] = by_zh[gate];
            }
            if let Some(dbefore) = dbefore.get_mut(i) {
                *dbefore = by_before;
            }
        }
        [dzx, dzh, dbefore]
    }
    let z = products(layer, x, fed_back);
    let [dzx, dzh, dbefore] = match layer.cell() {
        Cell::Elman(activation) => each(&activation, z, fed_back, dh),
        _ => each(&Gru, z, fed_back, dh),
    };
    add_outer(&mut grad.wx_mut(), x, dzx.view());
    add_outer(&mut grad.wh_mut(), fed_back, dzh.view());
    add(grad.bh_mut(), dzx.view());
    if let Some(dbhn) = grad.bhn_mut() {
        let last_gate = Slice::from(-(dbhn.len() as isize)..);
        add(dbhn, dzh.slice_axis(Axis(0), last_gate));
    }
    (mat_vec(layer.wh(), dzh.view()) + dbefore, mat_vec(layer.wx(), dzx.view()))
}

/// `sum += part`.
pub(crate) fn add<T: Real>(mut sum: ArrayViewMut1<'_, T>, part: ArrayView1<'_, T>) {
    sum += &part;
}

/// The states of one sequence, `[steps, hidden]`.
fn forward<T: Real>(
    layer: &Layer<'_, T>,
    x: ArrayView2<'_, T>,
    initial: ArrayView1<'_, T>,
) -> Result<Array2<T>, Error> {
    let h = scan()
        .sequences(&x)
        .outputs_info(Initial(initial.to_owned()))
        .n_steps(x.nrows())
        .run(|x, h_prev| step(layer, x, h_prev.view()))?;
    Ok(stack(&h, initial.len()))
}

/// The scan backwards over the last `steps` steps of a sequence, from the inputs `x` and the values `fed_back` that
/// each step fed back, both `[T, _]`, with the initial value `initial`.
///
/// `dh(t, carried)` is the gradient of the state of step `t`, where `carried` is the gradient that the step after it
/// has for the value that `t` fed back; after the end that is `after_the_end`. Adds the gradients of the weights to
/// `grad`, and returns those of the initial value and of `x`.
///
/// Earlier steps count as constant: their rows of the gradient of `x` are zero, `dh` is not asked for them, and
/// the initial value has a gradient only if the scan reaches step 0.
pub(crate) fn backward<T: Real, S: Layout>(
    layer: &Layer<'_, T>,
    (x, fed_back, initial): (ArrayView2<'_, T>, ArrayView2<'_, T>, ArrayView1<'_, T>),
    after_the_end: Array1<T>,
    steps: usize,
    mut dh: impl FnMut(usize, &Array1<T>, &mut Params<T, S>) -> Array1<T>,
    grad: &mut Params<T, S>,
) -> Result<(Array1<T>, Array2<T>), Error> {
    let none = Array1::zeros(initial.len());
    let before = concatenate![Axis(0), initial.insert_axis(Axis(0)), fed_back];
    let (carried, dx) = scan()
        .sequences((0..x.nrows(), &x, Input(&before).taps([-1])))
        .outputs_info((Initial(after_the_end), None))
        .n_steps(steps)
        .go_backwards(true)
        .run(|(t, x, [before]), (carried, ())| {
            let dh = dh(t, carried, grad);
            step_backward(layer, x, before, dh.view(), grad)
        })?;
    let mut gradient = Array2::zeros(x.raw_dim());
    for (mut row, dx) in gradient.rows_mut().into_iter().rev().zip(dx) {
        row.assign(&dx);
    }
    let reached = steps == x.nrows();
    Ok((carried.into_iter().next_back().filter(|_| reached).unwrap_or(none), gradient))
}

impl<T: Real> Recurrence<T> for Reference {
    fn forward(&self, layer: Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<States<T>, Error> {
        xs.check(&layer)?;
        let hidden = layer.shape().hidden;
        let mut h = Array2::zeros((xs.rows().nrows(), hidden));
        let mut last = Array2::zeros((xs.lengths().len(), hidden));
        for (i, range) in xs.ranges().enumerate() {
            let part = Slice::from(range);
            let initial = xs.initial().map_or(layer.h0(), |initial| initial.index_axis_move(Axis(0), i));
            let states = forward(&layer, xs.rows().slice_axis(Axis(0), part), initial)?;
            last.row_mut(i).assign(&states.row(states.nrows() - 1));
            h.slice_axis_mut(Axis(0), part).assign(&states);
        }
        Ok(States { h, last })
    }

    fn vjp<'a>(
        &self,
        layer: Layer<'a, T>,
        xs: &'a Sequences<'a, T>,
    ) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let states = Recurrence::forward(self, layer, xs)?;
        Ok(Box::new(ReferenceTrace { reference: *self, layer, xs, states }))
    }
}

struct ReferenceTrace<'a, T> {
    reference: Reference,
    layer: Layer<'a, T>,
    xs: &'a Sequences<'a, T>,
    states: States<T>,
}

impl<T: Real> Trace<T> for ReferenceTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.states.h.view()
    }

    fn last(&self) -> ArrayView2<'_, T> {
        self.states.last.view()
    }

    fn backward_into(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
        gradient: &mut RecurrenceGradient<T>,
    ) -> Result<(), Error> {
        check_backward((self.h(), self.last()), dh, dlast)?;
        let (layer, rows) = (&self.layer, self.xs.rows());
        let mut grad = LayerParams::zeros(layer.shape())?;
        let mut by_xs = Array2::zeros(rows.raw_dim());
        let mut by_initial = Array2::zeros(self.states.last.raw_dim());
        for (i, range) in self.xs.ranges().enumerate() {
            let steps = self.reference.gradient_steps(range.len());
            let part = Slice::from(range);
            let dh = dh.slice_axis(Axis(0), part);
            let initial = self.xs.initial().map_or(layer.h0(), |initial| initial.index_axis_move(Axis(0), i));
            let h = self.states.h.slice_axis(Axis(0), part);
            let after_the_end = dlast.map_or(Array1::zeros(h.ncols()), |dlast| dlast.row(i).to_owned());
            let (dinitial, dx) = backward(
                layer,
                (rows.slice_axis(Axis(0), part), h, initial),
                after_the_end,
                steps,
                |t, carried, _| &dh.row(t) + carried,
                &mut grad,
            )?;
            by_xs.slice_axis_mut(Axis(0), part).assign(&dx);
            by_initial.row_mut(i).assign(&dinitial);
        }
        if self.xs.initial().is_none() {
            by_initial.rows().into_iter().for_each(|row| add(grad.h0_mut(), row));
        }
        *gradient = RecurrenceGradient { xs: by_xs, initial: by_initial, layer: grad };
        Ok(())
    }
}
