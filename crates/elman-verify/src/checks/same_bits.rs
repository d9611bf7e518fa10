use elman::{Error, Labelled, Network, Recurrence, Sentence, Sequences};

use super::{TUTORIAL, gradient_of};
use crate::checks::learner::same_params;
use crate::duals::cell_tensors;
use crate::equations;
use crate::runner::{Part, Trial};
use crate::strategies::{Fill, Problem, Sequenced, Sizes, sequenced};
use crate::{Number, Options, Report};

/// Several forms of one implementation that promise the same bits: instruction sets, numbers of threads.
///
/// Outputs, loss, gradients, labels and parameters after some steps of the first form are what the others
/// must give, bit by bit. The report bears the names of all.
pub fn check_same_bits<T: Number>(networks: &[&dyn Network<T>], options: &Options) -> Report {
    let names = networks.iter().map(|network| network.name()).collect::<Vec<_>>().join(" = ");
    let mut part = Part::new::<T>("same-bits", names, options);
    if let [first, others @ ..] = networks {
        // More sentences than any reasonable chunk of a batch.
        part.tutorial("tutorial", TUTORIAL, (&[11, 3, 1, 8, 19, 2, 5].repeat(6), 11), |problem, trial| {
            same(*first, others, problem, trial)
        });
        part.random(options.cases, part.problems(Sizes::Full), |problem, trial| {
            same(*first, others, problem, trial)
        });
    }
    part.report
}

fn same<T: Number>(
    first: &dyn Network<T>,
    others: &[&dyn Network<T>],
    problem: &Problem,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let params = problem.params::<T>()?;
    let batch = &problem.batch;
    let sentences: Vec<Sentence> = batch.iter().map(Labelled::sentence).cloned().collect();
    let run = |network: &dyn Network<T>| {
        let s = sentences
            .iter()
            .map(|sentence| network.predict(&params, sentence))
            .collect::<Result<Vec<_>, _>>()?;
        let gradient = gradient_of(network, &params, batch)?;
        let mut learner = network.learner(params.clone())?;
        let mut losses = vec![learner.step(batch, T::from_f64(0.1))?];
        for labelled in batch {
            losses.push(learner.step(std::slice::from_ref(labelled), T::from_f64(0.0625))?);
        }
        let labels = network.tagger(&params)?.label_all(&sentences)?;
        Ok::<_, Error>((s, gradient, learner.params(), losses, labels))
    };
    let (s, (loss, grad), learned, losses, labels) = run(first)?;
    for network in others {
        let name = network.name();
        let found = run(*network)?;
        for (found, s) in found.0.iter().zip(&s) {
            trial.same_bits(&name, "s", found.view(), s.view());
        }
        trial
            .require(found.1.0.bits() == loss.bits(), || format!("{name}: loss {} is not {loss}", found.1.0));
        same_params(trial, &format!("{name}: gradient"), &found.1.1, &grad);
        same_params(trial, &format!("{name}: after some steps"), &found.2, &learned);
        trial.require(found.3.iter().map(|l| l.bits()).eq(losses.iter().map(|l| l.bits())), || {
            format!("{name}: the losses of the steps are {:?}, not {losses:?}", found.3)
        });
        trial.require(found.4 == labels, || format!("{name}: other labels"));
    }
    Ok(())
}

/// Several forms of one recurrence that promise the same bits, each with its name.
///
/// Each sequence of a pack must also have the bits that it has alone, in its states and in the gradient of
/// its inputs, and the states of `forward` must be those of `vjp`.
pub fn check_same_bits_recurrence<T: Number>(
    recurrences: &[(&str, &dyn Recurrence<T>)],
    options: &Options,
) -> Report {
    let names = recurrences.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" = ");
    let mut part = Part::new::<T>("same-bits-recurrence", names, options);
    let large = Sequenced {
        input: 256,
        hidden: 256,
        lengths: vec![9, 1, 17, 4, 4, 2, 30, 3, 1, 12],
        fills: [Fill::Small; 6],
        seed: 12,
    };
    part.fixed("large", large, |problem, trial| same_sequences(recurrences, problem, trial));
    part.random(options.cases, sequenced(Sizes::Full), |problem, trial| {
        same_sequences(recurrences, problem, trial)
    });
    part.report
}

fn same_sequences<T: Number>(
    recurrences: &[(&str, &dyn Recurrence<T>)],
    problem: &Sequenced,
    trial: &mut Trial<'_>,
) -> Result<(), Error> {
    let (cell, rows, dh) = problem.draw::<T>();
    let xs = Sequences::new(rows.view(), &problem.lengths)?;
    let mut first = None;
    for (name, recurrence) in recurrences {
        let trace = recurrence.vjp(&cell, &xs)?;
        let gradient = trace.backward(dh.view())?;
        let h = trace.h().to_owned();
        let forward = recurrence.forward(&cell, &xs)?;
        trial.same_bits(&format!("{name}: forward and vjp"), "h", forward.view(), h.view());
        for range in xs.ranges() {
            let length = [range.len()];
            let alone = Sequences::new(equations::rows(rows.view(), range.clone()), &length)?;
            let alone = recurrence.vjp(&cell, &alone)?;
            let why = format!("{name}: alone and packed");
            trial.same_bits(&why, "h", equations::rows(h.view(), range.clone()), alone.h());
            let alone = alone.backward(equations::rows(dh.view(), range.clone()))?;
            trial.same_bits(&why, "xs", equations::rows(gradient.xs.view(), range), alone.xs.view());
        }
        let Some((first_h, first_gradient)) = &first else {
            first = Some((h, gradient));
            continue;
        };
        trial.same_bits(name, "h", h.view(), first_h.view());
        trial.same_bits(name, "xs", gradient.xs.view(), first_gradient.xs.view());
        for ((tensor, found), (_, expected)) in
            cell_tensors(&gradient.cell).into_iter().zip(cell_tensors(&first_gradient.cell))
        {
            trial.same_bits(name, tensor, found, expected);
        }
    }
    Ok(())
}
