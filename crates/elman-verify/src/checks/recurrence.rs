use elman::ndarray::{Array, Array2, ArrayD, ArrayView2};
use elman::{Cell, CellGradient, Error, Recurrence, Sequences};
use elman_reference::Reference;

use crate::differences::{Difference, derivative};
use crate::duals::{cell_tensors, cell_tensors_mut, slot};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Sequenced, Sizes, sequenced};
use crate::tolerance::{self, Unit};
use crate::{Number, Options, Report, duals, equations};

/// The recurrence alone: the states, and the gradients of the inputs, wx, wh, bh and h0, for packed
/// sequences of different lengths and any `dh`.
///
/// Small cases are checked against dual numbers and finite differences, by every input and every entry of
/// the cell; larger ones against the `f64` reference. Every sequence of a pack must come out as it does
/// alone, a trace must give the same gradient each time, and what does not fit must be refused.
pub fn check_recurrence<T: Number>(name: &str, recurrence: &dyn Recurrence<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("recurrence", name.to_string(), options);
    part.fixed("doors", (), |(), trial| doors(recurrence, trial));
    part.fixed("subnormal", (), |(), trial| subnormal(recurrence, trial));
    let tutorial =
        Sequenced { input: 350, hidden: 200, lengths: vec![15, 3], fills: [Fill::Small; 6], seed: 4 };
    part.fixed("tutorial", tutorial, |problem, trial| {
        agrees(recurrence, problem, trial)?;
        alone(recurrence, problem, trial)
    });
    let mut large = Part::new::<T>("recurrence-large", name.to_string(), options);
    large.random(options.cases / 2, sequenced(Sizes::Full), |problem, trial| {
        agrees(recurrence, problem, trial)?;
        alone(recurrence, problem, trial)
    });
    part.report.extend(large.report);
    part.random(options.cases.div_ceil(2), sequenced(Sizes::Small), |problem, trial| {
        every_entry(recurrence, problem, trial)
    });
    part.report
}

/// [`check_recurrence`] on one problem, against the `f64` reference and each sequence alone, for searches that
/// make their own.
pub fn check_recurrence_on<T: Number>(
    name: &str,
    recurrence: &dyn Recurrence<T>,
    problem: Sequenced,
    options: &Options,
) -> Report {
    let mut part = Part::new::<T>("recurrence", name.to_string(), options);
    part.fixed("given", problem, |problem, trial| {
        agrees(recurrence, problem, trial)?;
        alone(recurrence, problem, trial)
    });
    part.report
}

fn exact_cell<T: Number>(cell: &Cell<T>) -> Cell<f64> {
    Cell {
        wx: cell.wx.mapv(|v| v.to_f64()),
        wh: cell.wh.mapv(|v| v.to_f64()),
        bh: cell.bh.mapv(|v| v.to_f64()),
        h0: cell.h0.mapv(|v| v.to_f64()),
    }
}

fn agrees<T: Number>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (cell, rows, dh) = problem.draw::<T>();
    let xs = Sequences::new(rows.view(), &problem.lengths)?;
    let (exact, exact_rows, exact_dh) =
        (exact_cell(&cell), rows.mapv(|v| v.to_f64()), dh.mapv(|v| v.to_f64()));
    let exact_xs = Sequences::new(exact_rows.view(), &problem.lengths)?;
    let allowed =
        tolerance::recurrence(Unit::of::<T>(), &exact, exact_rows.view(), &problem.lengths, exact_dh.view());
    let reference = Reference::new().vjp(&exact, &exact_xs)?;
    let h = recurrence.forward(&cell, &xs)?;
    trial.compare(Against::Reference, "h", h.view(), reference.h(), allowed.h.view());
    let trace = recurrence.vjp(&cell, &xs)?;
    trial.compare(Against::Reference, "h", trace.h(), reference.h(), allowed.h.view());
    let found = trace.backward(dh.view())?;
    let expected = reference.backward(exact_dh.view())?;
    trial.compare(Against::Reference, "xs", found.xs.view(), expected.xs.view(), allowed.xs.view());
    for (((name, found), (_, expected)), (_, allowed)) in cell_tensors(&found.cell)
        .into_iter()
        .zip(cell_tensors(&expected.cell))
        .zip(cell_tensors(&allowed.cell))
    {
        trial.compare(Against::Reference, name, found, expected, allowed);
    }
    // Another dh in between, then the first again: nothing of it may be left in the trace.
    let other = dh.mapv(|v| T::one() - v);
    let mut over_other = trace.backward(other.view())?;
    let again = trace.backward(dh.view())?;
    // Written over a gradient of the same shapes, over none, and over one of other shapes.
    trace.backward_into(dh.view(), &mut over_other)?;
    let mut over_none = CellGradient::default();
    trace.backward_into(dh.view(), &mut over_none)?;
    let (input, hidden) = cell.dim()?;
    let mut over_larger =
        CellGradient { xs: Array2::ones((1, input + 1)), cell: Cell::zeros(hidden + 1, hidden + 2) };
    trace.backward_into(dh.view(), &mut over_larger)?;
    for (what, again) in [
        ("the trace was asked again", &again),
        ("written over another gradient", &over_other),
        ("written over a gradient without entries", &over_none),
        ("written over a gradient of other shapes", &over_larger),
    ] {
        trial.same_bits(what, "xs", again.xs.view(), found.xs.view());
        for ((name, again), (_, found)) in
            cell_tensors(&again.cell).into_iter().zip(cell_tensors(&found.cell))
        {
            trial.same_bits(what, name, again, found);
        }
    }
    Ok(())
}

/// Each sequence alone, against its part of the pack.
fn alone<T: Number>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (cell, rows, dh) = problem.draw::<T>();
    let xs = Sequences::new(rows.view(), &problem.lengths)?;
    let trace = recurrence.vjp(&cell, &xs)?;
    let packed = trace.backward(dh.view())?;
    let allowed = tolerance::recurrence(
        Unit::of::<T>(),
        &exact_cell(&cell),
        rows.mapv(|v| v.to_f64()).view(),
        &problem.lengths,
        dh.mapv(|v| v.to_f64()).view(),
    );
    for range in xs.ranges() {
        let length = [range.len()];
        let part = |matrix| equations::rows(matrix, range.clone());
        let one = equations::rows(rows.view(), range.clone());
        let one = Sequences::new(one, &length)?;
        let one_trace = recurrence.vjp(&cell, &one)?;
        let expected = one_trace.h().mapv(|v| v.to_f64());
        let twice = 2.0 * &part(allowed.h.view());
        trial.compare(
            Against::Itself,
            "h",
            equations::rows(trace.h(), range.clone()),
            expected.view(),
            twice.view(),
        );
        let expected = one_trace.backward(equations::rows(dh.view(), range.clone()))?.xs.mapv(|v| v.to_f64());
        let twice = 2.0 * &part(allowed.xs.view());
        trial.compare(
            Against::Itself,
            "xs",
            equations::rows(packed.xs.view(), range.clone()),
            expected.view(),
            twice.view(),
        );
    }
    Ok(())
}

fn every_entry<T: Number>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (cell, rows, dh) = problem.draw::<T>();
    let lengths = &problem.lengths;
    let xs = Sequences::new(rows.view(), lengths)?;
    let (exact, exact_rows, exact_dh) =
        (exact_cell(&cell), rows.mapv(|v| v.to_f64()), dh.mapv(|v| v.to_f64()));
    let allowed = tolerance::recurrence(Unit::of::<T>(), &exact, exact_rows.view(), lengths, exact_dh.view());
    let trace = recurrence.vjp(&cell, &xs)?;
    let expected_h = equations::packed_states(&exact, exact_rows.view(), lengths);
    trial.compare(Against::Differences, "h", trace.h(), expected_h.view(), allowed.h.view());

    let found = trace.backward(dh.view())?;
    let (dual_xs, dual_cell) = duals::recurrence(&exact, exact_rows.view(), lengths, exact_dh.view())?;
    let size: f64 = exact_dh.iter().map(|v| v.abs()).sum();
    let mut compare = |name,
                       found: elman::ndarray::ArrayViewD<'_, T>,
                       duals: ArrayD<f64>,
                       allowed: ArrayD<f64>,
                       differences: ArrayD<Difference>| {
        trial.compare(Against::Duals, name, found.view(), duals.view(), allowed.view());
        let scale = duals.fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let expected = differences.mapv(|difference| difference.value);
        let allowed = &allowed + &differences.mapv(|found| tolerance::difference(scale, size, found));
        trial.compare(Against::Differences, name, found, expected.view(), allowed.view());
    };
    let value = |cell: &Cell<f64>, rows: &Array2<f64>| {
        (equations::packed_states(cell, rows.view(), lengths) * &exact_dh).sum()
    };
    let mut moved = exact_rows.clone();
    let by_xs = each(exact_rows.view().into_dyn(), |entry, value_there| {
        *slot(&mut moved.view_mut().into_dyn(), entry) = value_there;
        value(&exact, &moved)
    });
    compare("xs", found.xs.view().into_dyn(), dual_xs.into_dyn(), allowed.xs.clone().into_dyn(), by_xs);
    let mut moved = exact.clone();
    for (tensor, (name, values)) in cell_tensors(&exact).into_iter().enumerate() {
        let by_tensor = each(values, |entry, value_there| {
            *slot(&mut cell_tensors_mut(&mut moved)[tensor], entry) = value_there;
            value(&moved, &exact_rows)
        });
        compare(
            name,
            cell_tensors(&found.cell)[tensor].1.view(),
            cell_tensors(&dual_cell)[tensor].1.to_owned(),
            cell_tensors(&allowed.cell)[tensor].1.to_owned(),
            by_tensor,
        );
    }
    Ok(())
}

/// The derivative of `f(entry, value there)` by every entry of a tensor.
fn each(
    values: elman::ndarray::ArrayViewD<'_, f64>,
    mut f: impl FnMut(usize, f64) -> f64,
) -> ArrayD<Difference> {
    let entries = values.iter().enumerate().map(|(entry, value)| {
        let found = derivative(|step| f(entry, value + step));
        f(entry, *value);
        found
    });
    match Array::from_shape_vec(values.raw_dim(), entries.collect()) {
        Ok(differences) => differences,
        Err(error) => unreachable!("one difference for each entry: {error}"),
    }
}

/// A subnormal weight is a number like any other: multiplied by a large gradient it makes a normal one.
fn subnormal<T: Number>(recurrence: &dyn Recurrence<T>, trial: &mut Trial<'_>) -> Result<(), Error> {
    let weight = T::from_f64(T::SUBNORMAL);
    let factor = T::one() / T::from_f64(T::FLOOR.sqrt());
    let mut cell = Cell::zeros(3, 17);
    cell.wh.fill(weight);
    cell.wx.fill(weight);
    let rows = Array2::from_elem((2, 3), T::one());
    let lengths = [2];
    let xs = Sequences::new(rows.view(), &lengths)?;
    let dh = Array2::from_elem((2, 17), factor);
    let found = recurrence.vjp(&cell, &xs)?.backward(dh.view())?;
    // h is 1/2 and its slope 1/4, but for what rounds away; 17 products reach each input, and each h0.
    let expected = 17.0 * weight.to_f64() * factor.to_f64() / 4.0;
    let allowed = 64.0 * T::EPSILON * expected;
    let (xs, h0) = (found.xs.view().into_dyn(), found.cell.h0.view().into_dyn());
    for (name, found) in [("xs", xs), ("h0", h0)] {
        let filled = |value| ArrayD::from_elem(found.raw_dim(), value);
        trial.compare(
            Against::Reference,
            name,
            found.view(),
            filled(expected).view(),
            filled(allowed).view(),
        );
    }
    Ok(())
}

fn doors<T: Number>(recurrence: &dyn Recurrence<T>, trial: &mut Trial<'_>) -> Result<(), Error> {
    let problem = Sequenced { input: 3, hidden: 5, lengths: vec![2, 1], fills: [Fill::Small; 6], seed: 5 };
    let (cell, rows, dh) = problem.draw::<T>();
    let xs = Sequences::new(rows.view(), &problem.lengths)?;
    let wide = Array2::zeros((3, 4));
    let wide = Sequences::new(wide.view(), &problem.lengths)?;
    type Break<T> = fn(&mut Cell<T>);
    let broken: [(&str, Break<T>); 6] = [
        ("wh of another height", |c| c.wh = Array2::zeros((4, 5))),
        ("wh of another width", |c| c.wh = Array2::zeros((5, 6))),
        ("bh of another length", |c| c.bh = elman::ndarray::Array1::zeros(4)),
        ("h0 of another length", |c| c.h0 = elman::ndarray::Array1::zeros(6)),
        ("an empty wx", |c| c.wx = Array2::zeros((0, 5))),
        ("a wh that is not row-major", |c| c.wh = c.wh.clone().reversed_axes()),
    ];
    trial.refused("forward of inputs wider than wx", recurrence.forward(&cell, &wide));
    trial.refused("vjp of inputs wider than wx", recurrence.vjp(&cell, &wide).map(drop));
    for (what, break_it) in broken {
        let mut broken = cell.clone();
        break_it(&mut broken);
        let xs = Sequences::new(rows.view(), &problem.lengths)?;
        trial.refused(&format!("forward with {what}"), recurrence.forward(&broken, &xs));
        trial.refused(&format!("vjp with {what}"), recurrence.vjp(&broken, &xs).map(drop));
    }
    let trace = recurrence.vjp(&cell, &xs)?;
    let found = trace.backward(dh.view())?;
    for (what, shape) in [("short", (2, 5)), ("long", (4, 5)), ("narrow", (3, 4)), ("wide", (3, 6))] {
        trial.refused(&format!("a dh that is too {what}"), trace.backward(Array2::zeros(shape).view()));
    }
    let turned: ArrayView2<'_, T> = dh.view();
    let turned = turned.t().as_standard_layout().into_owned();
    trial.refused("a dh that is not row-major", trace.backward(turned.t()));
    let again = trace.backward(dh.view())?;
    trial.same_bits("after a refusal", "xs", again.xs.view(), found.xs.view());
    Ok(())
}
