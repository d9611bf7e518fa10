//! The recurrence: one step of a cell, the scan over time, and the scan backwards.

use elman::ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, Slice, concatenate};
use elman::{
    Cell, Error, Layer, LayerParams, Layout, Name, Params, Real, Recurrence, RecurrenceGradient, Sequences,
    States, Trace, check_backward,
};

use crate::Reference;
use crate::linear::{add_outer, mat_vec, stack, vec_mat};
use crate::scan::{Initial, Input, scan};
use crate::unit::{Gru, Lstm, Unit};

/// Splits a vector of `[gates·hidden]` into the gates of one unit.
fn gates<T: Real, const GATES: usize>(z: &Array1<T>, unit: usize) -> [T; GATES] {
    let hidden = z.len() / GATES;
    std::array::from_fn(|gate| z[gate * hidden + unit])
}

/// The value that the product with wh gets: the first of the states, `h`, or the output of a Jordan network.
fn h_of_step<'a, T: Real>(layer: &Layer<'_, T>, before: ArrayView1<'a, T>) -> ArrayView1<'a, T> {
    before.slice_axis_move(Axis(0), Slice::from(..layer.wh().nrows()))
}

/// The gates' parts `zx = x·wx + bh` and `zh = h·wh`, in a GRU's last gate `+ bhn`.
fn products<T: Real>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    before: ArrayView1<'_, T>,
) -> (Array1<T>, Array1<T>) {
    let zx = vec_mat(x, layer.wx()) + layer.bh();
    let mut zh = vec_mat(h_of_step(layer, before), layer.wh());
    if let Some(bhn) = layer.bhn() {
        let mut last_gate = zh.slice_axis_mut(Axis(0), Slice::from(-(bhn.len() as isize)..));
        last_gate += &bhn;
    }
    (zx, zh)
}

/// The states of one unit. (Before a step of a Jordan network there is the output instead; its cell has one gate and does
/// not read the state.)
fn states<T: Real, const STATES: usize>(of: ArrayView1<'_, T>, hidden: usize, unit: usize) -> [T; STATES] {
    std::array::from_fn(|state| of.get(state * hidden + unit).copied().unwrap_or(T::zero()))
}

/// The next states, `[states·hidden]`, from those of the step before, in a Jordan network from its output.
pub(crate) fn step<T: Real>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    before: ArrayView1<'_, T>,
) -> Array1<T> {
    fn each<T: Real, const GATES: usize, const STATES: usize>(
        unit: &impl Unit<GATES, STATES>,
        (zx, zh): (Array1<T>, Array1<T>),
        before: ArrayView1<'_, T>,
    ) -> Array1<T> {
        let hidden = zx.len() / GATES;
        let mut next = Array1::zeros(STATES * hidden);
        for i in 0..hidden {
            let of_unit = unit.forward(gates(&zx, i), gates(&zh, i), states(before, hidden, i));
            of_unit.into_iter().enumerate().for_each(|(state, value)| next[state * hidden + i] = value);
        }
        next
    }
    let z = products(layer, x, before);
    match layer.cell() {
        Cell::Elman(activation) => each(&activation, z, before),
        Cell::Lstm => each(&Lstm, z, before),
        _ => each(&Gru, z, before),
    }
}

/// From the gradient `d` of a step's states: adds the gradients of wx, wh and the biases to `grad`, and returns those
/// of the states before (or of the output that was fed back) and of `x`.
pub(crate) fn step_backward<T: Real, S: Layout>(
    layer: &Layer<'_, T>,
    x: ArrayView1<'_, T>,
    before: ArrayView1<'_, T>,
    d: ArrayView1<'_, T>,
    grad: &mut Params<T, S>,
) -> (Array1<T>, Array1<T>) {
    /// The gradients of zx, zh and of the states before.
    fn each<T: Real, const GATES: usize, const STATES: usize>(
        unit: &impl Unit<GATES, STATES>,
        (zx, zh): (Array1<T>, Array1<T>),
        before: ArrayView1<'_, T>,
        d: ArrayView1<'_, T>,
    ) -> [Array1<T>; 3] {
        let hidden = zx.len() / GATES;
        let [mut dzx, mut dzh] = [Array1::zeros(zx.len()), Array1::zeros(zh.len())];
        let mut dbefore = Array1::zeros(before.len());
        for i in 0..hidden {
            let (zx, zh) = (gates(&zx, i), gates(&zh, i));
            let (by_zx, by_zh, by_before) =
                unit.backward(zx, zh, states(before, hidden, i), states(d, hidden, i));
            for gate in 0..GATES {
                dzx[gate * hidden + i] = by_zx[gate];
                dzh[gate * hidden + i] = by_zh[gate];
            }
            for (state, by_before) in by_before.into_iter().enumerate() {
                if let Some(dbefore) = dbefore.get_mut(state * hidden + i) {
                    *dbefore = by_before;
                }
            }
        }
        [dzx, dzh, dbefore]
    }
    let z = products(layer, x, before);
    let [dzx, dzh, mut dbefore] = match layer.cell() {
        Cell::Elman(activation) => each(&activation, z, before, d),
        Cell::Lstm => each(&Lstm, z, before, d),
        _ => each(&Gru, z, before, d),
    };
    add_outer(&mut grad.matrix_mut(layer.name(Name::Wx)), x, dzx.view());
    add_outer(&mut grad.matrix_mut(layer.name(Name::Wh)), h_of_step(layer, before), dzh.view());
    add(grad.vector_mut(layer.name(Name::Bh)), dzx.view());
    if let Some(dbhn) = grad.vector_mut(layer.name(Name::Bhn)) {
        let last_gate = Slice::from(-(dbhn.len() as isize)..);
        add(Some(dbhn), dzh.slice_axis(Axis(0), last_gate));
    }
    let through_wh = mat_vec(layer.wh(), dzh.view());
    add(Some(dbefore.slice_axis_mut(Axis(0), Slice::from(..through_wh.len()))), through_wh.view());
    (dbefore, mat_vec(layer.wx(), dzx.view()))
}

/// `sum += part`, if there is a sum.
pub(crate) fn add<T: Real>(sum: Option<ArrayViewMut1<'_, T>>, part: ArrayView1<'_, T>) {
    if let Some(mut sum) = sum {
        sum += &part;
    }
}

/// Adds the gradient `dh` of the first of the states, `h`, to that of all.
pub(crate) fn add_to_h<T: Real>(mut states: Array1<T>, dh: ArrayView1<'_, T>) -> Array1<T> {
    add(Some(states.slice_axis_mut(Axis(0), Slice::from(..dh.len()))), dh);
    states
}

/// Adds the gradient of the states before the first step to those of h0 and, of an LSTM, c0.
pub(crate) fn add_initial<T: Real, S: Layout>(
    layer: &Layer<'_, T>,
    grad: &mut Params<T, S>,
    dinitial: ArrayView1<'_, T>,
) {
    let (dh0, dc0) = dinitial.split_at(Axis(0), layer.h0().len());
    add(grad.vector_mut(layer.name(Name::H0)), dh0);
    add(grad.vector_mut(layer.name(Name::C0)), dc0);
}

/// The columns of `h` in rows of states.
pub(crate) fn h_of<T: Real>(states: &Array2<T>, hidden: usize) -> ArrayView2<'_, T> {
    states.slice_axis(Axis(1), Slice::from(..hidden))
}

/// The states of one sequence, `[steps, states·hidden]`.
pub(crate) fn forward<T: Real>(
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
/// each step handed on (its states, or a Jordan network's output), both `[T, _]`, with the initial value `initial`.
///
/// `d(t, carried)` is the gradient of the states of step `t`, where `carried` is the gradient that the step after it
/// has for the value that `t` handed on; after the end that is `after_the_end`. Adds the gradients of the weights to
/// `grad`, and returns those of the initial value and of `x`.
///
/// Earlier steps count as constant: their rows of the gradient of `x` are zero, `d` is not asked for them, and
/// the initial value has a gradient only if the scan reaches step 0.
pub(crate) fn backward<T: Real, S: Layout>(
    layer: &Layer<'_, T>,
    (x, fed_back, initial): (ArrayView2<'_, T>, ArrayView2<'_, T>, ArrayView1<'_, T>),
    after_the_end: Array1<T>,
    steps: usize,
    mut d: impl FnMut(usize, &Array1<T>, &mut Params<T, S>) -> Array1<T>,
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
            let d = d(t, carried, grad);
            step_backward(layer, x, before, d.view(), grad)
        })?;
    let mut gradient = Array2::zeros(x.raw_dim());
    for (mut row, dx) in gradient.rows_mut().into_iter().rev().zip(dx) {
        row.assign(&dx);
    }
    let reached = steps == x.nrows();
    Ok((carried.into_iter().next_back().filter(|_| reached).unwrap_or(none), gradient))
}

impl Reference {
    /// All states of packed sequences, `[sum of lengths, states·hidden]`.
    fn states<T: Real>(&self, layer: &Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<Array2<T>, Error> {
        xs.check(layer)?;
        let mut states = Array2::zeros((xs.rows().nrows(), layer.initial().len()));
        for (i, range) in xs.ranges().enumerate() {
            let part = Slice::from(range);
            let of_sequence =
                forward(layer, xs.rows().slice_axis(Axis(0), part), initial(layer, xs, i).view())?;
            states.slice_axis_mut(Axis(0), part).assign(&of_sequence);
        }
        Ok(states)
    }
}

/// Of all states `h`, and those after the last step of each sequence.
fn h_and_last<T: Real>(states: &Array2<T>, layer: &Layer<'_, T>, xs: &Sequences<'_, T>) -> States<T> {
    let ends: Vec<usize> = xs.ranges().map(|range| range.end - 1).collect();
    let h = h_of(states, layer.shape().hidden).as_standard_layout().into_owned();
    States { h, last: states.select(Axis(0), &ends) }
}

/// The states from which a sequence starts.
fn initial<T: Real>(layer: &Layer<'_, T>, xs: &Sequences<'_, T>, sequence: usize) -> Array1<T> {
    xs.initial().map_or_else(|| layer.initial(), |initial| initial.row(sequence).to_owned())
}

impl<T: Real> Recurrence<T> for Reference {
    fn forward(&self, layer: Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<States<T>, Error> {
        let states = self.states(&layer, xs)?;
        Ok(h_and_last(&states, &layer, xs))
    }

    fn vjp<'a>(
        &self,
        layer: Layer<'a, T>,
        xs: &'a Sequences<'a, T>,
    ) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let all = self.states(&layer, xs)?;
        let states = h_and_last(&all, &layer, xs);
        Ok(Box::new(ReferenceTrace { reference: *self, layer, xs, states, all }))
    }
}

struct ReferenceTrace<'a, T> {
    reference: Reference,
    layer: Layer<'a, T>,
    xs: &'a Sequences<'a, T>,
    states: States<T>,
    /// All states, `[sum of lengths, states·hidden]`.
    all: Array2<T>,
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
            let states = self.all.slice_axis(Axis(0), part);
            let after_the_end = dlast.map_or(Array1::zeros(states.ncols()), |dlast| dlast.row(i).to_owned());
            let (dinitial, dx) = backward(
                layer,
                (rows.slice_axis(Axis(0), part), states, initial(layer, self.xs, i).view()),
                after_the_end,
                steps,
                |t, carried, _| add_to_h(carried.clone(), dh.row(t)),
                &mut grad,
            )?;
            by_xs.slice_axis_mut(Axis(0), part).assign(&dx);
            by_initial.row_mut(i).assign(&dinitial);
        }
        if self.xs.initial().is_none() {
            by_initial.rows().into_iter().for_each(|row| add_initial(layer, &mut grad, row));
        }
        *gradient = RecurrenceGradient { xs: by_xs, initial: by_initial, layer: grad };
        Ok(())
    }
}
