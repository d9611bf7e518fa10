//! The recurrence alone.

use elman::ndarray::{Array2, ArrayView2, Axis, concatenate};
use elman::{
    Activation, Cell, Error, Float, LayerParams, LayerShape, Layout, Name, Recurrence, RecurrenceGradient,
    Sequences,
};

use super::gradient::differences;
use crate::equations::{self, rows};
use crate::report::Against;
use crate::rounded::smallest;
use crate::runner::{Part, Trial};
use crate::strategies::{Drawn, Fill, Sequenced, Sizes, subnormal};
use crate::tolerance::Judged;
use crate::{Options, Report, duals, tolerance};

/// The recurrence alone: the states, and the gradients of the inputs, the initial states and the layer, for packed
/// sequences of any lengths, any `dh` and any `dlast`.
///
/// Small cases are checked against dual numbers and finite differences, by every input, every initial state and every
/// entry of the layer; larger ones against the `f64` reference. Every sequence of a pack must come out as it does
/// alone, and if it is cut anywhere, bit for bit. A trace must give the same gradient each time, beside other traces
/// and after 200 calls; a call in a thread must give what it gives alone; and sequences that do not fit must be refused.
pub fn check_recurrence<T: Float>(name: &str, recurrence: &dyn Recurrence<T>, options: &Options) -> Report {
    let mut part = Part::new::<T>("recurrence", name.to_string(), options);
    part.each_cell("doors", |cell, trial| doors(recurrence, *cell, trial));
    if options.include(Cell::default()) {
        part.fixed("subnormal", (), |(), trial| subnormals(recurrence, trial));
    }
    if options.include(Cell::Elman(Activation::Relu)) {
        part.fixed("subnormal-state", (), |(), trial| subnormal_state(recurrence, trial));
    }
    let sequenced = |cell, input, hidden, lengths, ends| {
        let shape = LayerShape { input, hidden, cell };
        Sequenced { shape, lengths, ends, fills: [Fill::Small; 5], data: [Fill::Small; 3], seed: 4 }
    };
    part.each_cell("history", |cell, trial| {
        history(recurrence, &sequenced(*cell, 5, 9, vec![4, 3, 4], (true, true)), trial)
    });
    // Without weights every argument of an activation is exactly 0.
    part.each_cell("zero", |cell, trial| {
        let sequenced = sequenced(*cell, 3, 4, vec![3, 1], (false, true));
        agrees(recurrence, &Sequenced { fills: [Fill::Zero; 5], ..sequenced }, trial)
    });
    // The e^a of such a gate overflows.
    part.each_cell("saturated", |cell, trial| {
        let mut problem = sequenced(*cell, 3, 4, vec![3, 1], (false, true));
        let bh = problem.shape.table().position(|tensor| tensor.name == Name::Bh);
        bh.into_iter().for_each(|bh| problem.fills[bh] = Fill::Huge);
        agrees(recurrence, &problem, trial)
    });
    part.each_cell("seventy", |cell, trial| {
        let lengths = (0..70).map(|i| 1 + i % 8).collect();
        agrees(recurrence, &sequenced(*cell, 5, 9, lengths, (false, false)), trial)
    });
    part.each_cell("wide", |cell, trial| {
        agrees(recurrence, &sequenced(*cell, 257, 256, vec![2, 1], (false, true)), trial)
    });
    let mut large = Part::new::<T>("recurrence-large", name.to_string(), options);
    large.packs(options.cases / 2, Sizes::Full, |problem, trial| agrees(recurrence, problem, trial));
    part.report.extend(large.report);
    part.packs(options.cases.div_ceil(2), Sizes::Small, |problem, trial| {
        every_entry(recurrence, problem, trial)
    });
    part.report
}

/// [`check_recurrence`] on one problem, against the `f64` reference and each sequence alone and in parts, for searches
/// that make their own.
pub fn check_recurrence_on<T: Float>(
    name: &str,
    recurrence: &dyn Recurrence<T>,
    problem: Sequenced,
    options: &Options,
) -> Report {
    let mut part = Part::new::<T>("recurrence", name.to_string(), options);
    part.fixed("given", problem, |problem, trial| agrees(recurrence, problem, trial));
    part.report
}

pub(super) fn gradient_of<T: Float>(
    recurrence: &dyn Recurrence<T>,
    drawn: &Drawn<T>,
) -> Result<RecurrenceGradient<T>, Error> {
    recurrence.vjp(drawn.layer.layer(), &drawn.xs()?)?.backward(drawn.dh.view(), drawn.dlast())
}

fn agrees<T: Float>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let drawn = problem.draw::<T>()?;
    let xs = drawn.xs()?;
    let judged = tolerance::recurrence(&drawn, None)?;
    let states = recurrence.forward(drawn.layer.layer(), &xs)?;
    trial.judge("h", states.h.view(), &judged.h);
    trial.judge("last", states.last.view(), &judged.last);
    let trace = recurrence.vjp(drawn.layer.layer(), &xs)?;
    trial.judge("h", trace.h(), &judged.h);
    trial.judge("last", trace.last(), &judged.last);
    let found = trace.backward(drawn.dh.view(), drawn.dlast())?;
    trial.judge("xs", found.xs.view(), &judged.xs);
    trial.judge("initial", found.initial.view(), &judged.initial);
    trial.judge_params(Against::Reference, &found.layer, &judged.layer);
    // Another dh in between, then the first again: nothing of it may be left in the trace. Written over a gradient of
    // the same shapes, over one without entries, and over one of other shapes.
    let other = drawn.dh.mapv(|v| T::one() - v);
    let over_other = trace.backward(other.view(), None)?;
    let again = trace.backward(drawn.dh.view(), drawn.dlast())?;
    trial.same_gradient("the trace was asked again", &again, &found);
    let over_larger = RecurrenceGradient {
        xs: Array2::ones((1, problem.shape.input + 1)),
        initial: Array2::ones((1, 1)),
        layer: LayerParams::zeros(LayerShape { input: problem.shape.hidden + 1, ..problem.shape })?,
    };
    for mut old in [over_other, RecurrenceGradient::default(), over_larger] {
        trace.backward_into(drawn.dh.view(), drawn.dlast(), &mut old)?;
        trial.same_gradient("written over another gradient", &old, &found);
    }
    alone(recurrence, &drawn, (&judged, &found), trial)?;
    cut(recurrence, &drawn, problem.seed, trial)
}

/// Some of the sequences alone, against their parts of the pack.
fn alone<T: Float>(
    recurrence: &dyn Recurrence<T>,
    drawn: &Drawn<T>,
    (judged, packed): (&tolerance::States, &RecurrenceGradient<T>),
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let states = recurrence.forward(drawn.layer.layer(), &drawn.xs()?)?;
    for (i, range) in drawn.xs()?.ranges().enumerate().take(8) {
        let one = drawn.sequence(i);
        let h = recurrence.forward(one.layer.layer(), &one.xs()?)?.h;
        let gradient = gradient_of(recurrence, &one)?;
        let mut compare = |name,
                           packed: ArrayView2<'_, T>,
                           alone: ArrayView2<'_, T>,
                           allowed: &Array2<f64>,
                           part: std::ops::Range<usize>| {
            let expected = alone.mapv(|v| v.to_f64());
            let twice = 2.0 * &rows(allowed.view(), part.clone());
            trial.compare(Against::Itself, name, rows(packed, part), expected.view(), twice.view());
        };
        compare("h", states.h.view(), h.view(), &judged.h.allowed, range.clone());
        compare("xs", packed.xs.view(), gradient.xs.view(), &judged.xs.allowed, range);
        compare("initial", packed.initial.view(), gradient.initial.view(), &judged.initial.allowed, i..i + 1);
    }
    Ok(())
}

/// Every sequence of the pack, cut in two where it has two steps, against the whole: the same bits.
fn cut<T: Float>(
    recurrence: &dyn Recurrence<T>,
    drawn: &Drawn<T>,
    seed: u64,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let longest = drawn.lengths.iter().max().copied().unwrap_or(0);
    if longest < 2 || drawn.lengths.iter().any(|length| *length < 2) && drawn.lengths.len() > 1 {
        // A part without steps is no sequence: cut the longest one alone.
        let Some(i) = drawn.lengths.iter().position(|length| *length == longest && *length > 1) else {
            return Ok(());
        };
        return cut(recurrence, &drawn.sequence(i), seed, trial);
    }
    let at: Vec<usize> = drawn.lengths.iter().map(|length| 1 + seed as usize % (length - 1)).collect();
    let whole = drawn.with_initial();
    let xs = whole.xs()?;
    let trace = recurrence.vjp(whole.layer.layer(), &xs)?;
    let gradient = trace.backward(whole.dh.view(), whole.dlast())?;
    // The first parts of all sequences, and their second parts.
    let parts = |second: bool, matrix: ArrayView2<'_, T>| {
        let parts: Vec<_> = xs
            .ranges()
            .zip(&at)
            .map(
                |(range, at)| {
                    if second { range.start + at..range.end } else { range.start..range.start + at }
                },
            )
            .map(|range| matrix.slice_axis_move(Axis(0), range.into()))
            .collect();
        concatenate(Axis(0), &parts).expect("parts of one width")
    };
    let part = |second: bool, initial, dlast| Drawn {
        layer: whole.layer.clone(),
        lengths: whole.lengths.iter().zip(&at).map(|(n, at)| if second { n - at } else { *at }).collect(),
        rows: parts(second, whole.rows.view()),
        initial,
        dh: parts(second, whole.dh.view()),
        dlast,
    };
    let mut first = part(false, whole.initial.clone(), None);
    let states = recurrence.forward(first.layer.layer(), &first.xs()?)?;
    let second = part(true, Some(states.last), whole.dlast.clone());
    let second_states = recurrence.forward(second.layer.layer(), &second.xs()?)?;
    let by_second = gradient_of(recurrence, &second)?;
    first.dlast = Some(by_second.initial);
    let by_first = gradient_of(recurrence, &first)?;

    let why = format!("sequences cut after {at:?} steps");
    trial.same_bits(&why, "h", states.h.view(), parts(false, trace.h()).view());
    trial.same_bits(&why, "h", second_states.h.view(), parts(true, trace.h()).view());
    trial.same_bits(&why, "last", second_states.last.view(), trace.last());
    trial.same_bits(&why, "xs", by_first.xs.view(), parts(false, gradient.xs.view()).view());
    trial.same_bits(&why, "xs", by_second.xs.view(), parts(true, gradient.xs.view()).view());
    trial.same_bits(&why, "initial", by_first.initial.view(), gradient.initial.view());
    Ok(())
}

fn every_entry<T: Float>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let drawn = problem.draw::<T>()?;
    let judged = tolerance::recurrence(&drawn, None)?;
    derivatives(&gradient_of(recurrence, &drawn)?, &drawn, &judged, true, trial)?;
    agrees(recurrence, problem, trial)
}

/// Compares a gradient with dual numbers and with finite differences.
pub(super) fn derivatives<T: Float>(
    found: &RecurrenceGradient<T>,
    drawn: &Drawn<T>,
    judged: &tolerance::States,
    initial: bool,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let exact = drawn.map(|v| v.to_f64());
    let duals = duals::recurrence(&exact)?;
    let mut compare = |name,
                       found: ArrayView2<'_, T>,
                       duals: &Array2<f64>,
                       allowed: &Array2<f64>,
                       moved: Drawn<f64>,
                       of: fn(&mut Drawn<f64>) -> &mut [f64]| {
        let mut moved = moved;
        let values = of(&mut moved).to_vec();
        let differences = differences(&values, |entry, value| {
            of(&mut moved)[entry] = value;
            equations::recurrence(&moved)
        });
        trial.derivatives(
            name,
            found.into_dyn(),
            (duals.view().into_dyn(), differences),
            allowed.view().into_dyn(),
        );
    };
    compare("xs", found.xs.view(), &duals.xs, &judged.xs.allowed, exact.clone(), |at| {
        duals::entries(&mut at.rows)
    });
    if initial {
        compare(
            "initial",
            found.initial.view(),
            &duals.initial,
            &judged.initial.allowed,
            exact.with_initial(),
            duals::initial_entries,
        );
    }
    let mut moved = exact.clone();
    let mut differences = differences(exact.layer.as_slice(), |entry, value| {
        moved.layer.as_mut_slice()[entry] = value;
        equations::recurrence(&moved)
    })
    .into_iter();
    for ((name, found), ((_, duals), (_, allowed))) in
        found.layer.tensors().zip(duals.layer.tensors().zip(judged.layer.allowed.tensors()))
    {
        let differences = differences.by_ref().take(found.len()).collect();
        trial.derivatives(name.as_str(), found, (duals, differences), allowed);
    }
    Ok(())
}

/// A trace after 200 calls and beside another one, and calls in four threads.
fn history<T: Float>(
    recurrence: &dyn Recurrence<T>,
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let drawn = problem.draw::<T>()?;
    let other = Sequenced { seed: problem.seed + 1, ..problem.clone() }.draw::<T>()?;
    let (expected, of_other) = (gradient_of(recurrence, &drawn)?, gradient_of(recurrence, &other)?);
    let (xs, other_xs) = (drawn.xs()?, other.xs()?);
    let trace = recurrence.vjp(drawn.layer.layer(), &xs)?;
    let beside = recurrence.vjp(other.layer.layer(), &other_xs)?;
    let h = trace.h().to_owned();
    let mut over = RecurrenceGradient::default();
    for call in 0..200 {
        let why = format!("call {call} of the same trace");
        trace.backward_into(drawn.dh.view(), drawn.dlast(), &mut over)?;
        trial.same_gradient(&why, &over, &expected);
        trial.same_gradient("a trace beside", &beside.backward(other.dh.view(), other.dlast())?, &of_other);
        trial.same_bits(&why, "h", trace.h(), h.view());
        let states = recurrence.forward(drawn.layer.layer(), &xs)?;
        trial.same_bits(&format!("call {call} of forward"), "h", states.h.view(), h.view());
    }
    let states = |drawn: &Drawn<T>| Ok(recurrence.forward(drawn.layer.layer(), &drawn.xs()?)?.h);
    let calls = |drawn: &Drawn<T>| {
        let calls = (0..50).map(|_| Ok((states(drawn)?, gradient_of(recurrence, drawn)?)));
        calls.collect::<Result<Vec<_>, Error>>()
    };
    let of_other = (states(&other)?, of_other);
    let expected = (h, expected);
    let found = std::thread::scope(|scope| {
        let run = |drawn| scope.spawn(move || calls(drawn));
        [run(&drawn), run(&other), run(&drawn), run(&other)].map(|thread| thread.join())
    });
    let why = "four threads at once";
    for (found, expected) in found.into_iter().zip([&expected, &of_other].repeat(2)) {
        for (h, gradient) in found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
            trial.same_bits(why, "h", h.view(), expected.0.view());
            trial.same_gradient(why, &gradient, &expected.1);
        }
    }
    Ok(())
}

/// Subnormal numbers are numbers like any others: weights, inputs and gradients, multiplied by large factors, make normal
/// ones. h is 1/2 and its slope 1/4, but for errors below the last place.
pub(super) fn subnormals<T: Float>(
    recurrence: &dyn Recurrence<T>,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (small, large) = (subnormal::<T>(), T::MIN_POSITIVE.sqrt().recip());
    let shape = LayerShape { input: 3, hidden: 17, cell: Cell::default() };
    let run = |weight: f64, x: f64, dh: f64, trial: &mut Trial<'_>| {
        let mut layer = LayerParams::zeros(shape)?;
        layer.wh_mut().fill(T::from_f64(weight));
        layer.wx_mut().fill(T::from_f64(weight));
        let filled = |rows, cols, value| Array2::from_elem((rows, cols), T::from_f64(value));
        let (rows, dh) = (filled(1, 3, x), filled(1, 17, dh));
        let gradient =
            recurrence.vjp(layer.layer(), &Sequences::new(rows.view(), &[1])?)?.backward(dh.view(), None)?;
        // The product of the rounded numbers: of x·dh / 4 in wx, and of 17 weights with dh / 4 in xs and initial.
        let [weight, x, dh] = [weight, x, dh[[0, 0]].to_f64()].map(|v| T::from_f64(v).to_f64());
        let by_weights = 17.0 * weight * dh / 4.0;
        for (name, found, expected) in [
            ("xs", gradient.xs.view(), by_weights),
            ("initial", gradient.initial.view(), by_weights),
            ("wx", gradient.layer.wx(), x * dh / 4.0),
        ] {
            let filled = |value: f64| Array2::from_elem(found.raw_dim(), value);
            let judged = Judged {
                expected: filled(expected),
                allowed: filled(64.0 * T::EPSILON * expected + smallest::<T>()),
            };
            trial.judge(name, found, &judged);
        }
        Ok::<_, Error>(())
    };
    run(small, 0.5, large, trial)?;
    run(0.0, small, large, trial)?;
    // The state does not notice the weights: large weights would saturate it, so they come alone.
    let mut layer = LayerParams::zeros(shape)?;
    layer.wh_mut().fill(T::from_f64(large));
    let rows = Array2::zeros((1, 3));
    let dh = Array2::from_elem((1, 17), T::from_f64(small));
    let xs = Sequences::new(rows.view(), &[1])?;
    let found = recurrence.vjp(layer.layer(), &xs)?.backward(dh.view(), None)?.initial;
    let expected = 17.0 * T::from_f64(small / 4.0).to_f64() * T::from_f64(large).to_f64();
    let filled = |value: f64| Array2::from_elem(found.raw_dim(), value);
    // A quarter of a subnormal number loses digits.
    let allowed = (4.0 * T::EPSILON.sqrt() + 64.0 * T::EPSILON) * expected;
    trial.judge("initial", found.view(), &Judged { expected: filled(expected), allowed: filled(allowed) });
    Ok(())
}

/// A ReLU lets a subnormal number pass as it is.
fn subnormal_state<T: Float>(recurrence: &dyn Recurrence<T>, trial: &mut Trial<'_>) -> Result<(), Error> {
    let shape = LayerShape { input: 3, hidden: 17, cell: Cell::Elman(Activation::Relu) };
    let mut layer = LayerParams::zeros(shape)?;
    let small = T::from_f64(subnormal::<T>());
    layer.bh_mut().fill(small);
    let rows = Array2::zeros((2, 3));
    let states = recurrence.forward(layer.layer(), &Sequences::new(rows.view(), &[2])?)?;
    for (name, found) in [("h", states.h.view()), ("last", states.last.view())] {
        let filled = |value: f64| Array2::from_elem(found.raw_dim(), value);
        trial.judge(name, found, &Judged { expected: filled(small.to_f64()), allowed: filled(0.0) });
    }
    Ok(())
}

fn doors<T: Float>(recurrence: &dyn Recurrence<T>, cell: Cell, trial: &mut Trial<'_>) -> Result<(), Error> {
    let shape = LayerShape { input: 3, hidden: 5, cell };
    let problem = Sequenced {
        shape,
        lengths: vec![2, 1],
        ends: (false, true),
        fills: [Fill::Small; 5],
        data: [Fill::Small; 3],
        seed: 5,
    };
    let drawn = problem.draw::<T>()?;
    let layer = drawn.layer.layer();
    let wide = Array2::zeros((3, 4));
    let wide = Sequences::new(wide.view(), &problem.lengths)?;
    let states = cell.states() * 5;
    let wide_states = Array2::zeros((2, states + 1));
    let wide_states = drawn.xs()?.starting_from(wide_states.view())?;
    let network =
        elman::Shape { vocab: 1, embed: 3, window: 1, hidden: 5, classes: 4, ..elman::Shape::ELMAN };
    let jordan = elman::Params::zeros(elman::Shape { feedback: elman::Feedback::Output, ..network })?;
    let xs = drawn.xs()?;
    for (what, layer, xs) in [
        ("inputs wider than wx", layer, &wide),
        ("initial states wider than the hidden state", layer, &wide_states),
        ("the layer of a Jordan network", jordan.layer(), &xs),
    ] {
        trial.refused(&format!("forward of {what}"), recurrence.forward(layer, xs));
        trial.refused(&format!("vjp of {what}"), recurrence.vjp(layer, xs).map(drop));
    }
    let trace = recurrence.vjp(layer, &xs)?;
    let found = trace.backward(drawn.dh.view(), drawn.dlast())?;
    let mut kept = found.clone();
    for (rows, cols) in [(2, 5), (4, 5), (3, 4), (3, 6)] {
        let wrong = Array2::zeros((rows, cols));
        trial.refused(&format!("a dh of {rows}x{cols}"), trace.backward_into(wrong.view(), None, &mut kept));
    }
    for (rows, cols) in [(1, states), (3, states), (2, states - 1), (2, states + 1)] {
        let wrong = Array2::zeros((rows, cols));
        let refused = trace.backward_into(drawn.dh.view(), Some(wrong.view()), &mut kept);
        trial.refused(&format!("a dlast of {rows}x{cols}"), refused);
    }
    let turned = drawn.dh.t().as_standard_layout().into_owned();
    trial.refused("a dh that is not row-major", trace.backward_into(turned.t(), None, &mut kept));
    trial.same_gradient("a gradient after refusals", &kept, &found);
    let again = trace.backward(drawn.dh.view(), drawn.dlast())?;
    trial.same_gradient("after refusals", &again, &found);
    Ok(())
}
