//! A kernel that is known by its arrays alone.

use std::rc::Rc;

use elman::ndarray::{ArrayView2, ArrayViewD};
use elman::{Cell, Error, Float, LayerShape, Recurrence, RecurrenceGradient};

use super::recurrence::{derivatives, gradient_of, subnormals};
use crate::equations::rows;
use crate::kernel::{ByArrays, FailingCase, Kernel};
use crate::report::Against;
use crate::runner::{Part, Trial};
use crate::strategies::{Drawn, Fill, Sequenced, Sizes};
use crate::tolerance::{self, States};
use crate::{Arithmetic, Options, Report};

/// The cases, references and tolerances of [`check_recurrence`](crate::check_recurrence) for a kernel that is asked by
/// arrays: the report, and the smallest problem at which it failed.
///
/// It is judged by what it can do ([`Abilities`](crate::Abilities)): states alone, or gradients too; sequences from h0,
/// or also from states of their own. Asked the same again, after 200 calls and from four threads at once if it can be,
/// it must give the same bits, unless [`Options::repeatable`] says otherwise. Whether it gives the same bits for a
/// sequence alone and among others is reported, not required. [`Options::arithmetic`] is that of the kernel.
///
/// # Errors
/// [`Error::Unsupported`] for an arithmetic of kernels on `f32` where the numbers are of another type.
pub fn check_kernel<T: Float>(
    kernel: Box<dyn Kernel<T>>,
    options: &Options,
) -> Result<(Report, Option<FailingCase<T>>), Error> {
    if let (Some(arithmetic), true) = (options.arithmetic, T::EPSILON < f64::from(f32::EPSILON)) {
        let found = format!("{} for {}", arithmetic.name(), T::NAME);
        return Err(Error::unsupported("arithmetic", "one of kernels on f32", found));
    }
    let name = kernel.name();
    let options = &options.clone().threads(1);
    let judge = Judge { kernel: ByArrays::new(kernel), options };
    let mut part = Part::new::<T>("recurrence", name.clone(), options);
    let subnormal = judge.kernel.abilities().gradients && options.subnormals && options.arithmetic.is_none();
    if subnormal && options.include(Cell::default()) {
        part.fixed("subnormal", (), |(), trial| judge.watch(trial, None, |t| subnormals(&judge.kernel, t)));
    }
    let sequenced = |cell, input, hidden, lengths, ends| {
        let shape = LayerShape { input, hidden, cell };
        Sequenced { shape, lengths, ends, fills: [Fill::Small; 5], data: [Fill::Small; 3], seed: 4 }
    };
    part.each_cell("history", |cell, trial| {
        judge.history(&sequenced(*cell, 5, 9, vec![4, 3, 4], (true, true)), trial)
    });
    part.each_cell("zero", |cell, trial| {
        let sequenced = sequenced(*cell, 3, 4, vec![3, 1], (false, true));
        judge.agrees(&Sequenced { fills: [Fill::Zero; 5], ..sequenced }, false, trial)
    });
    part.each_cell("seventy", |cell, trial| {
        let lengths = (0..70).map(|i| 1 + i % 8).collect();
        judge.agrees(&sequenced(*cell, 5, 9, lengths, (false, false)), false, trial)
    });
    part.each_cell("wide", |cell, trial| {
        judge.agrees(&sequenced(*cell, 257, 256, vec![2, 1], (false, true)), false, trial)
    });
    let mut large = Part::new::<T>("recurrence-large", name, options);
    large.packs(options.cases / 2, Sizes::Full, |problem, trial| judge.agrees(problem, false, trial));
    part.report.extend(large.report);
    part.packs(options.cases.div_ceil(2), Sizes::Small, |problem, trial| judge.agrees(problem, true, trial));
    let failing = judge.kernel.failing_case(options.arithmetic)?;
    Ok((part.report, failing))
}

struct Judge<'a, T> {
    kernel: ByArrays<T>,
    options: &'a Options,
}

impl<T: Float> Judge<'_, T> {
    /// Runs a test, keeps the problem if it fails, and says what the kernel's trouble was.
    fn watch(
        &self,
        trial: &mut Trial<'_>,
        drawn: Option<&Drawn<T>>,
        test: impl FnOnce(&mut Trial<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Only to make a failure smaller: it counts already.
        if self.kernel.is_hopeless() {
            return Ok(());
        }
        let result = test(trial);
        let result = match self.kernel.trouble() {
            Some(message) => {
                trial.require(false, || message);
                Ok(())
            }
            None => result,
        };
        if let (true, Some(drawn)) = (trial.failed() || result.is_err(), drawn) {
            self.kernel.keep(trial.case(), drawn.clone());
        }
        result
    }

    /// The numbers of a problem, as far as the kernel takes them.
    fn draw(&self, problem: &Sequenced) -> Result<Drawn<T>, Error> {
        let mut problem = problem.clone();
        if !self.kernel.abilities().initial {
            problem.ends = (false, false);
        }
        let fills = problem.fills.iter_mut().chain(&mut problem.data);
        if !self.options.subnormals {
            fills.filter(|fill| **fill == Fill::Subnormal).for_each(|fill| *fill = Fill::Zero);
        }
        if self.options.arithmetic == Some(Arithmetic::F16) {
            // Sums of large numbers are beyond its range.
            let fills = problem.fills.iter_mut().chain(&mut problem.data);
            fills.filter(|fill| **fill == Fill::Large).for_each(|fill| *fill = Fill::Unit);
        }
        problem.draw::<T>()
    }

    /// The expectations and allowances. Where subnormal numbers may be taken for zero, some of the smallest normal number is
    /// allowed on top.
    fn judged(&self, drawn: &Drawn<T>) -> Result<Rc<States>, Error> {
        let mut judged = tolerance::recurrence(drawn, self.options.arithmetic)?;
        if !self.options.subnormals {
            let States { h, last, xs, initial, layer } = Rc::make_mut(&mut judged);
            let matrices = [h, last, xs, initial].map(|matrix| &mut matrix.allowed);
            let entries = matrices.into_iter().flatten().chain(layer.allowed.as_mut_slice());
            entries.for_each(|allowed| *allowed += 1024.0 * T::MIN_POSITIVE);
        }
        Ok(judged)
    }

    fn agrees(&self, problem: &Sequenced, every_entry: bool, trial: &mut Trial<'_>) -> Result<(), Error> {
        let drawn = self.draw(problem)?;
        let judged = self.judged(&drawn)?;
        self.watch(trial, Some(&drawn), |trial| {
            self.states(&drawn, &judged, trial)?;
            let gradient = match self.kernel.abilities().gradients {
                true => Some(self.gradient(&drawn, &judged, trial)?),
                false => None,
            };
            if let (true, Some(gradient)) = (every_entry, &gradient) {
                derivatives(gradient, &drawn, &judged, self.kernel.abilities().initial, trial)?;
            }
            self.alone(&drawn, &judged, gradient.as_ref(), trial)
        })
    }

    fn states(
        &self,
        drawn: &Drawn<T>,
        judged: &States,
        trial: &mut Trial<'_>,
    ) -> Result<elman::States<T>, Error> {
        let states = self.kernel.forward(drawn.layer.layer(), &drawn.xs()?)?;
        trial.judge("h", states.h.view(), &judged.h);
        if self.kernel.abilities().initial {
            trial.judge("last", states.last.view(), &judged.last);
        }
        Ok(states)
    }

    /// Judges a gradient and the states that come with it.
    fn gradient(
        &self,
        drawn: &Drawn<T>,
        judged: &States,
        trial: &mut Trial<'_>,
    ) -> Result<RecurrenceGradient<T>, Error> {
        let found = gradient_of(&self.kernel, drawn)?;
        let (h, last) = self.kernel.beside();
        trial.judge("h", h.view(), &judged.h);
        trial.judge("xs", found.xs.view(), &judged.xs);
        if self.kernel.abilities().initial {
            trial.judge("last", last.view(), &judged.last);
            trial.judge("initial", found.initial.view(), &judged.initial);
        }
        trial.judge_params(Against::Reference, &found.layer, &judged.layer);
        Ok(found)
    }

    /// Some of the sequences alone, against their parts of the pack.
    fn alone(
        &self,
        drawn: &Drawn<T>,
        judged: &States,
        gradient: Option<&RecurrenceGradient<T>>,
        trial: &mut Trial<'_>,
    ) -> Result<(), Error> {
        if drawn.lengths.len() == 1 {
            return Ok(());
        }
        let states = self.kernel.forward(drawn.layer.layer(), &drawn.xs()?)?;
        for (i, range) in drawn.xs()?.ranges().enumerate().take(3) {
            let one = drawn.sequence(i);
            let mut compare =
                |name, packed: ArrayView2<'_, T>, alone: ArrayView2<'_, T>, allowed: ArrayView2<'_, f64>| {
                    let expected = alone.mapv(|v| v.to_f64());
                    let packed = rows(packed, range.clone());
                    let twice = 2.0 * &rows(allowed, range.clone());
                    trial.compare(Against::Itself, name, packed, expected.view(), twice.view());
                    trial.note_bits("batch", packed, alone);
                };
            let h = self.kernel.forward(one.layer.layer(), &one.xs()?)?.h;
            compare("h", states.h.view(), h.view(), judged.h.allowed.view());
            if let Some(gradient) = gradient {
                let xs = gradient_of(&self.kernel, &one)?.xs;
                compare("xs", gradient.xs.view(), xs.view(), judged.xs.allowed.view());
            }
        }
        Ok(())
    }

    /// The same question 200 times, with another one in between, and in four threads.
    fn history(&self, problem: &Sequenced, trial: &mut Trial<'_>) -> Result<(), Error> {
        let drawn = self.draw(problem)?;
        let other = self.draw(&Sequenced { seed: problem.seed + 1, ..problem.clone() })?;
        let judged = self.judged(&drawn)?;
        self.watch(trial, Some(&drawn), |trial| {
            let (first, of_other) = (self.all(&drawn)?, self.all(&other)?);
            for call in 0..200 {
                let again = self.all(&drawn)?;
                let beside = self.all(&other)?;
                self.repeats("repeat", &format!("call {call}"), &again, &first, trial);
                self.repeats("repeat", &format!("call {call} of another problem"), &beside, &of_other, trial);
                if !self.options.repeatable && call < 20 {
                    self.states(&drawn, &judged, trial)?;
                    if self.kernel.abilities().gradients {
                        self.gradient(&drawn, &judged, trial)?;
                    }
                }
                if trial.failed() {
                    return Ok(());
                }
            }
            if !self.kernel.abilities().threads {
                return Ok(());
            }
            let found = std::thread::scope(|scope| {
                let run = |drawn| scope.spawn(move || (0..25).map(|_| self.all(drawn)).collect::<Vec<_>>());
                let threads = [run(&drawn), run(&other), run(&drawn), run(&other)];
                threads.map(|thread| thread.join())
            });
            for (found, expected) in found.into_iter().zip([&first, &of_other].repeat(2)) {
                for found in found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                    self.repeats("threads", "four threads at once", &found?, expected, trial);
                }
            }
            Ok(())
        })
    }

    /// All results of a problem in one list of matrices.
    fn all(&self, drawn: &Drawn<T>) -> Result<Everything<T>, Error> {
        let states = self.kernel.forward(drawn.layer.layer(), &drawn.xs()?)?;
        let gradient = match self.kernel.abilities().gradients {
            true => Some(gradient_of(&self.kernel, drawn)?),
            false => None,
        };
        Ok((states, gradient))
    }

    fn repeats(
        &self,
        kind: &'static str,
        why: &str,
        (states, gradient): &Everything<T>,
        (first, first_gradient): &Everything<T>,
        trial: &mut Trial<'_>,
    ) {
        let mut same = |name: &str, found: ArrayViewD<'_, T>, expected: ArrayViewD<'_, T>| {
            trial.note_bits(kind, found.view(), expected.view());
            if self.options.repeatable {
                trial.same_bits(why, name, found, expected);
            }
        };
        same("h", states.h.view().into_dyn(), first.h.view().into_dyn());
        if let (Some(gradient), Some(first)) = (gradient, first_gradient) {
            same("xs", gradient.xs.view().into_dyn(), first.xs.view().into_dyn());
            same("initial", gradient.initial.view().into_dyn(), first.initial.view().into_dyn());
            for ((name, found), (_, expected)) in gradient.layer.tensors().zip(first.layer.tensors()) {
                same(name.as_str(), found, expected);
            }
        }
    }
}

type Everything<T> = (elman::States<T>, Option<RecurrenceGradient<T>>);
