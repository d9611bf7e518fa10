//! Several forms of one implementation that promise the same bits.

use elman::{Error, Float, Network, Recurrence, RecurrenceGradient};

use super::TUTORIAL;
use super::invariance::same_results;
use crate::equations::rows;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Sequenced, Sizes};
use crate::{Options, Report};

/// Several forms of one implementation that promise the same bits: instruction sets, numbers of threads.
///
/// Outputs, loss, gradients, labels and parameters after some steps of the first form are those that the others
/// must give, bit by bit. The report bears the names of all.
pub fn check_same_bits<T: Float>(networks: &[&dyn Network<T>], options: &Options) -> Report {
    let names = joined(networks.iter().map(|network| network.name()));
    let mut part = Part::new::<T>("same-bits", names, options);
    if networks.len() > 1 {
        // Several chunks of a batch.
        let lengths = [11, 3, 1, 8, 19, 2, 5].repeat(6);
        part.tutorial("tutorial", TUTORIAL, (&lengths, 11), |problem, trial| {
            same_results(networks, problem, trial)
        });
        part.problems(Sizes::Full, |problem, trial| same_results(networks, problem, trial));
    }
    part.report
}

/// The different names, with the number of forms of each: `fast/avx2 (4) = fast/avx512 (4)`.
fn joined(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let forms = names.chunk_by(|a, b| a == b).map(|same| match same.len() {
        1 => same[0].clone(),
        forms => format!("{} ({forms})", same[0]),
    });
    forms.collect::<Vec<_>>().join(" = ")
}

/// Several forms of one recurrence that promise the same bits, each with its name.
///
/// Each sequence of a pack must also have the bits that it has alone, in its states and in the gradients of
/// its inputs and of its initial state, and the states of `forward` must be those of `vjp`.
pub fn check_same_bits_recurrence<T: Float>(
    recurrences: &[(&str, &dyn Recurrence<T>)],
    options: &Options,
) -> Report {
    let names = joined(recurrences.iter().map(|(name, _)| (*name).to_owned()));
    let mut part = Part::new::<T>("same-bits-recurrence", names, options);
    part.each_cell("large", |cell, trial| {
        let large = Sequenced {
            shape: elman::LayerShape { input: 256, hidden: 256, cell: *cell },
            lengths: vec![9, 1, 17, 4, 4, 2, 30, 3, 1, 12],
            ends: (true, true),
            fills: [Fill::Small; 5],
            data: [Fill::Small; 3],
            seed: 12,
        };
        same_sequences(recurrences, &large, trial)
    });
    part.packs(options.cases, Sizes::Full, |problem, trial| same_sequences(recurrences, problem, trial));
    part.report
}

fn same_sequences<T: Float>(
    recurrences: &[(&str, &dyn Recurrence<T>)],
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let drawn = problem.draw::<T>()?;
    let xs = drawn.xs()?;
    let mut first = None;
    for (name, recurrence) in recurrences {
        let trace = recurrence.vjp(drawn.layer.layer(), &xs)?;
        let gradient = trace.backward(drawn.dh.view(), drawn.dlast())?;
        let states = recurrence.forward(drawn.layer.layer(), &xs)?;
        let why = format!("{name}: forward and vjp");
        trial.same_bits(&why, "h", states.h.view(), trace.h());
        trial.same_bits(&why, "last", states.last.view(), trace.last());
        for (i, range) in xs.ranges().enumerate() {
            let one = drawn.sequence(i);
            let one_xs = one.xs()?;
            let alone = recurrence.vjp(one.layer.layer(), &one_xs)?;
            let why = format!("{name}: alone and packed");
            trial.same_bits(&why, "h", rows(trace.h(), range.clone()), alone.h());
            let alone = alone.backward(one.dh.view(), one.dlast())?;
            trial.same_bits(&why, "xs", rows(gradient.xs.view(), range), alone.xs.view());
            trial.same_bits(&why, "initial", rows(gradient.initial.view(), i..i + 1), alone.initial.view());
        }
        match &first {
            None => first = Some((states, gradient)),
            Some((first, first_gradient)) => {
                trial.same_bits(name, "h", states.h.view(), first.h.view());
                trial.same_gradient(name, &gradient, first_gradient);
            }
        }
    }
    Ok(())
}

impl Trial<'_> {
    /// Requires that two gradients of a recurrence have the same bits.
    pub(super) fn same_gradient<T: Float>(
        &mut self,
        why: &str,
        found: &RecurrenceGradient<T>,
        expected: &RecurrenceGradient<T>,
    ) {
        self.same_bits(why, "xs", found.xs.view(), expected.xs.view());
        self.same_bits(why, "initial", found.initial.view(), expected.initial.view());
        self.same_params(why, &found.layer, &expected.layer);
    }
}
