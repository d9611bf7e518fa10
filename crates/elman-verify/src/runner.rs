//! The cases: which are run, from which seed, what fails in them, and how a failure is made smaller.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use elman::ndarray::{Array, ArrayView, Dimension, arr0};
use elman::{Cell, Error, Feedback, Float, Head, Layout, Params, Shape};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::report::{Against, Entry, Failure, Histogram, Measurement, Report};
use crate::rounded::{Arithmetic, smallest};
use crate::strategies::{Networks, Problem, Sequenced, Sizes, networks, problems, sequenced};
use crate::tolerance::{Gradient, Judged};

/// What to run.
///
/// ```
/// let options = elman_verify::Options::new().seed(7).cases(1000);
/// let one_again = elman_verify::Options::new().seed(7).only("gradient/17");
/// # let _ = (options, one_again);
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) seed: u64,
    pub(crate) cases: usize,
    pub(crate) only: Option<String>,
    pub(crate) shrink: usize,
    pub(crate) adam: bool,
    cells: Vec<Cell>,
    stacked: bool,
    crf: bool,
    feedbacks: Vec<Feedback>,
    pub(crate) arithmetic: Option<Arithmetic>,
    pub(crate) repeatable: bool,
    pub(crate) subnormals: bool,
    again: Option<String>,
    slack: f64,
    threads: usize,
    progress: Option<Progress>,
}

type Progress = Arc<dyn Fn(&str) + Send + Sync>;

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, cases, only, shrink, slack, .. } = self;
        f.debug_struct("Options")
            .field("seed", seed)
            .field("cases", cases)
            .field("only", only)
            .field("shrink", shrink)
            .field("networks", &self.networks())
            .field("slack", slack)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Seed 42, 350 random cases of all networks, all of them, shrunk when they fail.
    pub fn new() -> Self {
        Options {
            seed: 42,
            cases: 350,
            only: None,
            shrink: 200,
            adam: true,
            cells: Cell::ALL.to_vec(),
            stacked: true,
            crf: true,
            feedbacks: Feedback::ALL.to_vec(),
            arithmetic: None,
            repeatable: true,
            subnormals: true,
            again: None,
            slack: 1.0,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            progress: None,
        }
    }

    /// The seed of the random cases. The same seed gives the same cases on every machine.
    pub fn seed(self, seed: u64) -> Self {
        Options { seed, ..self }
    }

    /// The number of random cases; [`check`](crate::check) divides them over its parts, rounded up. Fixed cases, the
    /// tutorial's full shape among them, come on top: of one network for four random cases of a part.
    pub fn cases(self, cases: usize) -> Self {
        Options { cases, ..self }
    }

    /// Runs one case alone, by the name that a report gives it, for example `gradient/17`.
    pub fn only(self, case: impl Into<String>) -> Self {
        Options { only: Some(case.into()), ..self }
    }

    /// How many smaller problems to try when one fails; 0 keeps the one that was found.
    pub fn shrink(self, tries: usize) -> Self {
        Options { shrink: tries, ..self }
    }

    /// Takes the problems of these cells alone, for an implementation that has no others.
    pub fn cells(self, cells: &[Cell]) -> Self {
        Options { cells: cells.to_vec(), ..self }
    }

    /// Takes the problems of networks with these feedbacks alone, for an implementation that has no Jordan network.
    pub fn feedbacks(self, feedbacks: &[Feedback]) -> Self {
        Options { feedbacks: feedbacks.to_vec(), ..self }
    }

    /// Leaves out [`check_adam`](crate::check_adam), for an implementation that has gradient descent alone.
    pub fn without_adam(self) -> Self {
        Options { adam: false, ..self }
    }

    /// Takes the problems of networks of one layer, forward, alone, for an implementation that has no others.
    pub fn single_layers(self) -> Self {
        Options { stacked: false, ..self }
    }

    /// Takes the problems of networks with a softmax alone, for an implementation that has no CRF.
    pub fn without_crf(self) -> Self {
        Options { crf: false, ..self }
    }

    /// The networks whose problems are taken.
    pub(crate) fn networks(&self) -> Networks {
        let asked =
            |(cell, feedback): &(_, _)| self.cells.contains(cell) && self.feedbacks.contains(feedback);
        let cells = networks().cells.into_iter().filter(asked).collect();
        Networks { cells, stacked: self.stacked, crf: self.crf }
    }

    /// Whether this cell is among those that are asked for.
    pub(crate) fn include(&self, cell: Cell) -> bool {
        self.cells.contains(&cell)
    }

    fn restricted(&self) -> Option<String> {
        let networks = (self.networks().cells != networks().cells)
            .then(|| format!(".cells(&{:?}).feedbacks(&{:?})", self.cells, self.feedbacks));
        let single = (!self.stacked).then(|| ".single_layers()".to_string());
        let crf = (!self.crf).then(|| ".without_crf()".to_string());
        let adam = (!self.adam).then(|| ".without_adam()".to_string());
        let calls: Vec<String> = [networks, single, crf, adam].into_iter().flatten().collect();
        (!calls.is_empty()).then(|| calls.concat())
    }

    /// Judges a kernel that computes in a narrower arithmetic than its numbers have, by that one's unit roundoff.
    /// [`check_kernel`](crate::check_kernel) alone reads it.
    pub fn arithmetic(self, arithmetic: Option<Arithmetic>) -> Self {
        Options { arithmetic, ..self }
    }

    /// Whether a kernel must give the same bits each time that it is asked the same; true by default. With `false` it
    /// may give others within what is allowed (atomic additions, for example), and the report says whether it does.
    /// [`check_kernel`](crate::check_kernel) alone reads it.
    pub fn repeatable(self, repeatable: bool) -> Self {
        Options { repeatable, ..self }
    }

    /// Whether a kernel must take subnormal numbers for what they are; true by default. With `false` it may take them for
    /// zero, as a CPU does whose flag for that is set. [`check_kernel`](crate::check_kernel) alone reads it.
    pub fn subnormals(self, subnormals: bool) -> Self {
        Options { subnormals, ..self }
    }

    /// The line that runs a case again, for reports, with `{seed}` and `{case}` in the places of these.
    pub fn again(self, line: impl Into<String>) -> Self {
        Options { again: Some(line.into()), ..self }
    }

    /// Multiplies the allowance of every entry; 1 by default.
    pub fn slack(self, slack: f64) -> Self {
        Options { slack, ..self }
    }

    /// The number of cases that run at once, each in a thread; by default as many as the machine has cores. The report
    /// does not depend on it. [`check_kernel`](crate::check_kernel) asks its kernel one question at a time.
    pub fn threads(self, threads: usize) -> Self {
        Options { threads: threads.max(1), ..self }
    }

    /// A function that is called with the name of each case before it is run, from any thread.
    pub fn progress(self, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Options { progress: Some(Arc::new(progress)), ..self }
    }
}

/// What one case found.
pub(crate) struct Trial<'a> {
    case: &'a str,
    slack: f64,
    report: Report,
}

impl Trial<'_> {
    /// Compares a tensor entry by entry.
    pub(crate) fn compare<T: Float, D: Dimension>(
        &mut self,
        against: Against,
        tensor: &'static str,
        found: ArrayView<'_, T, D>,
        expected: ArrayView<'_, f64, D>,
        allowed: ArrayView<'_, f64, D>,
    ) {
        if found.shape() != expected.shape() {
            return self.fail(format!(
                "{tensor} has the shape {:?}, expected {:?}",
                found.shape(),
                expected.shape()
            ));
        }
        let scale = expected.fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let histogram = self.report.histograms.entry((against, tensor)).or_insert_with(Histogram::new);
        let mut worst: Option<(usize, Entry, f64)> = None;
        let (mut blind, mut error) = (0, 0.0);
        for (i, ((found, expected), allowed)) in found.iter().zip(&expected).zip(allowed).enumerate() {
            // An allowance that is no number comes from a network that amplifies without bound.
            let allowed = if allowed.is_nan() { f64::INFINITY } else { self.slack * allowed };
            let entry = Entry { index: Vec::new(), found: found.to_f64(), expected: *expected, allowed };
            let ratio = entry.ratio();
            histogram.add(ratio);
            error = f64::max(error, (entry.found - entry.expected).abs());
            blind += usize::from(allowed >= scale && scale > 1e3 * smallest::<T>());
            if worst.as_ref().is_none_or(|(_, _, most)| ratio > *most) {
                worst = Some((i, entry, ratio));
            }
        }
        let Some((i, mut entry, ratio)) = worst else {
            return self.fail(format!("{tensor} is empty"));
        };
        entry.index = position(i, expected.shape());
        if ratio > 1.0 {
            let place = self.report.place(tensor, &entry);
            self.fail_at(format!("{place} ({against})"), format!("{tensor} {against}"));
        }
        self.report.measurements.push(Measurement {
            case: self.case.to_string(),
            against,
            tensor,
            entries: found.len(),
            blind,
            scale,
            relative: if error == 0.0 { 0.0 } else { error / scale },
            worst: entry,
        });
    }

    /// Compares a tensor with its judgement.
    pub(crate) fn judge<T: Float, D: Dimension>(
        &mut self,
        tensor: &'static str,
        found: ArrayView<'_, T, D>,
        judged: &Judged<Array<f64, D>>,
    ) {
        self.compare(Against::Reference, tensor, found, judged.expected.view(), judged.allowed.view());
    }

    /// Compares one number.
    pub(crate) fn compare_number(
        &mut self,
        against: Against,
        tensor: &'static str,
        found: impl Float,
        expected: f64,
        allowed: f64,
    ) {
        self.compare(against, tensor, arr0(found).view(), arr0(expected).view(), arr0(allowed).view());
    }

    /// Compares a loss and its gradient.
    pub(crate) fn judge_gradient<T: Float>(
        &mut self,
        against: Against,
        (loss, grad): (T, &Params<T>),
        (expected_loss, expected): &Gradient,
    ) {
        self.compare_number(against, "loss", loss, expected_loss.expected, expected_loss.allowed);
        self.judge_params(against, grad, expected);
    }

    /// Compares all tensors of parameters or of a gradient.
    pub(crate) fn judge_params<T: Float, S: Layout>(
        &mut self,
        against: Against,
        found: &Params<T, S>,
        judged: &Judged<Params<f64, S>>,
    ) {
        let judged = judged.expected.tensors().zip(judged.allowed.tensors());
        for ((name, found), ((_, expected), (_, allowed))) in found.tensors().zip(judged) {
            self.compare(against, name.as_str(), found, expected, allowed);
        }
    }

    /// Requires that parameters, or gradients, have the same bits.
    pub(crate) fn same_params<T: Float, S: Layout>(
        &mut self,
        why: &str,
        found: &Params<T, S>,
        expected: &Params<T, S>,
    ) {
        for ((name, found), (_, expected)) in found.tensors().zip(expected.tensors()) {
            self.same_bits(why, name.as_str(), found, expected);
        }
    }

    /// Requires that two numbers have the same bits.
    pub(crate) fn same_number<T: Float>(&mut self, why: &str, what: &str, found: T, expected: T) {
        self.same_bits(why, what, arr0(found).view(), arr0(expected).view());
    }

    /// Requires that two results have the same bits.
    pub(crate) fn same_bits<T: Float, D: Dimension>(
        &mut self,
        why: &str,
        tensor: &str,
        found: ArrayView<'_, T, D>,
        expected: ArrayView<'_, T, D>,
    ) {
        self.report.requirements += 1;
        if found.shape() != expected.shape() {
            return self.fail(format!(
                "{tensor} has the shape {:?}, expected {:?}: {why}",
                found.shape(),
                expected.shape()
            ));
        }
        let differs =
            found.iter().zip(&expected).position(|(found, expected)| found.bits() != expected.bits());
        if let Some(i) = differs {
            let entry = Entry {
                index: position(i, found.shape()),
                found: found.iter().nth(i).map_or(f64::NAN, |v| v.to_f64()),
                expected: expected.iter().nth(i).map_or(f64::NAN, |v| v.to_f64()),
                allowed: 0.0,
            };
            let place = self.report.place(tensor, &entry);
            self.fail_at(format!("{place}: {why}"), format!("{tensor} {why}"));
        }
    }

    /// Notes whether two results that need not have the same bits do.
    pub(crate) fn note_bits<T: Float, D: Dimension>(
        &mut self,
        kind: &'static str,
        found: ArrayView<'_, T, D>,
        expected: ArrayView<'_, T, D>,
    ) {
        let same = found.shape() == expected.shape()
            && found.iter().zip(&expected).all(|(found, expected)| found.bits() == expected.bits());
        let bits = self.report.bits.entry(kind).or_default();
        bits.same += usize::from(same);
        bits.compared += 1;
    }

    /// The name of the case.
    pub(crate) fn case(&self) -> &str {
        self.case
    }

    /// Whether something is wrong.
    pub(crate) fn failed(&self) -> bool {
        !self.report.failures.is_empty()
    }

    /// Requires that something holds.
    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.report.requirements += 1;
        if !holds {
            self.fail(what());
        }
    }

    /// Requires an error.
    pub(crate) fn refused<R>(&mut self, what: &str, result: Result<R, Error>) {
        self.require(result.is_err(), || format!("{what} was accepted, expected an error"));
    }

    fn fail(&mut self, what: String) {
        self.fail_at(format!("{}: {what}, seed {}", self.report.name, self.report.seed), what);
    }

    /// Numbers do not count in the kind of a failure.
    fn fail_at(&mut self, message: String, kind: String) {
        self.report.failures.push(Failure {
            case: self.case.to_string(),
            message,
            kind: kind.chars().filter(|c| c.is_alphabetic()).collect(),
            problem: String::new(),
            smallest: None,
        });
    }
}

fn position(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let at = i % size;
            i /= size;
            at
        })
        .collect();
    index.reverse();
    index
}

/// One part of the suite, about one implementation.
pub(crate) struct Part<'a> {
    pub(crate) name: &'static str,
    pub(crate) options: &'a Options,
    pub(crate) report: Report,
}

impl<'a> Part<'a> {
    pub(crate) fn new<T: Float>(name: &'static str, implementation: String, options: &'a Options) -> Self {
        let mut report = Report::new(implementation, T::NAME, options.seed, options.restricted());
        report.checks = Some(name);
        report.again = options.again.clone();
        Part { name, options, report }
    }

    /// Random problems of the networks that are asked for.
    pub(crate) fn problems(
        &mut self,
        sizes: Sizes,
        test: impl Fn(&Problem, &mut Trial<'_>) -> Result<(), Error> + Sync,
    ) {
        if !self.options.networks().cells.is_empty() {
            self.random(self.options.cases, problems(sizes, self.options.networks()), test);
        }
    }

    /// So many random packs of sequences for the cells that are asked for.
    pub(crate) fn packs(
        &mut self,
        cases: usize,
        sizes: Sizes,
        test: impl Fn(&Sequenced, &mut Trial<'_>) -> Result<(), Error> + Sync,
    ) {
        if !self.options.cells.is_empty() {
            self.random(cases, sequenced(sizes, self.options.cells.clone()), test);
        }
    }

    /// The cells or networks that fixed cases are made of: all from so many random cases on, with fewer the first and
    /// some others, which the seed chooses.
    fn some<A>(&self, mut all: Vec<A>) -> Vec<A> {
        let count = self.options.cases.div_ceil(4).max(1);
        if self.options.only.is_none() && count < all.len() {
            let others = &mut all[1..];
            others.rotate_left(self.options.seed as usize % others.len());
            all.truncate(count);
        }
        all
    }

    /// [`Part::fixed`] for each cell that is asked for.
    pub(crate) fn each_cell(&mut self, id: &str, test: impl Fn(&Cell, &mut Trial<'_>) -> Result<(), Error>) {
        for cell in self.some(self.options.cells.clone()) {
            let id = if cell == Cell::default() { id.to_string() } else { format!("{id}-{cell}") };
            self.fixed(&id, cell, &test);
        }
    }

    /// [`Part::fixed`] for a problem of [`Problem::tutorial`], of each network that is asked for.
    pub(crate) fn tutorial(
        &mut self,
        id: &str,
        shape: Shape,
        (lengths, seed): (&[usize], u64),
        test: impl Fn(&Problem, &mut Trial<'_>) -> Result<(), Error> + Sync,
    ) {
        let networks = self.options.networks();
        let single =
            networks.cells.iter().map(|(cell, feedback)| Shape { cell: *cell, feedback: *feedback, ..shape });
        // Of layers, directions and heads one cell each.
        let others = [
            Shape { bidirectional: true, ..shape },
            Shape { cell: Cell::Lstm, layers: 2, bidirectional: true, ..shape },
            Shape { cell: Cell::Gru, layers: 3, ..shape },
            Shape { head: Head::Crf, ..shape },
            Shape { cell: Cell::Lstm, bidirectional: true, head: Head::Crf, ..shape },
        ];
        let others = others.into_iter().filter(|shape| {
            (networks.stacked || shape.is_single())
                && (networks.crf || shape.head == Head::Softmax)
                && networks.cells.contains(&(shape.cell, shape.feedback))
        });
        let first = shape;
        let cases = self.some(single.chain(others).collect()).into_iter().map(|shape| {
            let case = match shape == first {
                true => format!("{}/{id}", self.name),
                false => format!("{}/{id}-{}", self.name, shape.name().replace(' ', "-")),
            };
            match Problem::tutorial(shape, lengths, seed) {
                Ok(problem) => (case, problem),
                Err(error) => unreachable!("{error}"),
            }
        });
        self.run_all(cases.collect(), test);
    }

    /// Runs a case that does not depend on the seed, unless another one has failed.
    pub(crate) fn fixed<P: Debug>(
        &mut self,
        id: &str,
        problem: P,
        test: impl Fn(&P, &mut Trial<'_>) -> Result<(), Error>,
    ) {
        if !self.report.failures.is_empty() {
            return;
        }
        let case = format!("{}/{id}", self.name);
        if let Some(mut found) = self.run(&case, &problem, &test) {
            found.failures.truncate(1);
            self.report.extend(found);
        }
    }

    /// Runs cases in threads. The report is that of one after the other, and ends with the first that fails, whose place
    /// is returned.
    fn run_all<P: Debug + Send + Sync>(
        &mut self,
        cases: Vec<(String, P)>,
        test: impl Fn(&P, &mut Trial<'_>) -> Result<(), Error> + Sync,
    ) -> Option<usize> {
        if !self.report.failures.is_empty() {
            return None;
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let part = &*self;
        let work = || {
            let mut reports = Vec::new();
            loop {
                let place = next.fetch_add(1, Relaxed);
                let Some((case, problem)) = cases.get(place).filter(|_| place < failed.load(Relaxed)) else {
                    return reports;
                };
                let Some(found) = part.run(case, problem, &test) else { continue };
                if !found.failures.is_empty() {
                    failed.fetch_min(place, Relaxed);
                }
                reports.push((place, found));
            }
        };
        let mut reports = match part.options.threads.min(cases.len()) {
            0 | 1 => work(),
            threads => std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                let results = threads.into_iter().map(|thread| thread.join());
                results.flat_map(|found| found.unwrap_or_else(|panic| resume_unwind(panic))).collect()
            }),
        };
        reports.sort_by_key(|(place, _)| *place);
        let failed = failed.into_inner();
        for (_, mut found) in reports.into_iter().filter(|(place, _)| *place <= failed) {
            found.failures.truncate(1);
            self.report.extend(found);
        }
        (failed < usize::MAX).then_some(failed)
    }

    /// Runs random cases. The first one that fails is shrunk, and ends the part.
    pub(crate) fn random<S: Strategy>(
        &mut self,
        cases: usize,
        strategy: S,
        test: impl Fn(&S::Value, &mut Trial<'_>) -> Result<(), Error> + Sync,
    ) where
        S::Value: Send + Sync,
    {
        let cases = (0..cases.max(self.only_index().map_or(0, |i| i + 1)))
            .map(|i| (format!("{}/{i}", self.name), i))
            .filter(|(case, _)| self.options.only.as_ref().is_none_or(|only| only == case));
        let (names, numbers): (Vec<_>, Vec<_>) = cases.unzip();
        let trees = numbers.into_iter().map(|i| strategy.new_tree(&mut self.generator(i)));
        let mut trees = match trees.collect::<Result<Vec<_>, _>>() {
            Ok(trees) => trees,
            Err(reason) => {
                let mut trial = self.trial(self.name);
                trial.fail(format!("no case could be made: {reason}"));
                return self.report.extend(trial.report);
            }
        };
        let problems = names.into_iter().zip(trees.iter().map(ValueTree::current)).collect();
        if let Some(failed) = self.run_all(problems, &test)
            && let Some(mut failure) = self.report.failures.pop()
        {
            failure.smallest = self.shrink(&failure, &mut trees[failed], &test);
            self.report.failures.push(failure);
        }
    }

    /// The number of the only case to be run, if it is a random one of this part.
    fn only_index(&self) -> Option<usize> {
        self.options.only.as_ref()?.strip_prefix(self.name)?.strip_prefix('/')?.parse().ok()
    }

    /// Each case has a generator of its own, so that it can be run again alone.
    fn generator(&self, case: usize) -> TestRunner {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.options.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&(case as u64).to_le_bytes());
        for (byte, name) in seed[16..].iter_mut().zip(self.name.bytes()) {
            *byte = name;
        }
        let config = Config { failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
    }

    fn trial<'c>(&self, case: &'c str) -> Trial<'c> {
        let Report { name, number, seed, restricted, .. } = &self.report;
        let report = Report::new(name.clone(), number, *seed, restricted.clone());
        Trial { case, slack: self.options.slack, report }
    }

    /// Runs one case, unless only another one is asked for. A panic is a failure of the case.
    fn run<P: Debug>(
        &self,
        case: &str,
        problem: &P,
        test: impl Fn(&P, &mut Trial<'_>) -> Result<(), Error>,
    ) -> Option<Report> {
        if self.options.only.as_ref().is_some_and(|only| only != case) {
            return None;
        }
        if let Some(progress) = &self.options.progress {
            progress(case);
        }
        Some(self.attempt(case, problem, test))
    }

    fn attempt<P: Debug>(
        &self,
        case: &str,
        problem: &P,
        test: impl Fn(&P, &mut Trial<'_>) -> Result<(), Error>,
    ) -> Report {
        let mut trial = self.trial(case);
        trial.report.cases = 1;
        match catch_unwind(AssertUnwindSafe(|| test(problem, &mut trial))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => trial.fail(format!("refused what it should accept: {error}")),
            Err(panic) => {
                let message = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("without a message");
                trial.fail(format!("panicked: {message}"));
            }
        }
        for failure in &mut trial.report.failures {
            failure.problem = format!("{problem:?}");
        }
        trial.report
    }

    /// Looks for the smallest problem that fails in the same way: proptest's trees are asked for simpler values as
    /// long as those fail, and for less simple ones when they do not.
    fn shrink<V: ValueTree>(
        &self,
        failure: &Failure,
        tree: &mut V,
        test: impl Fn(&V::Value, &mut Trial<'_>) -> Result<(), Error>,
    ) -> Option<(String, String)>
    where
        V::Value: Debug,
    {
        let mut smallest = None;
        let mut simpler = self.options.shrink > 0 && tree.simplify();
        for _ in 0..self.options.shrink {
            if !simpler {
                break;
            }
            let problem = tree.current();
            let found = self.attempt(&failure.case, &problem, &test);
            simpler = match found.failures.into_iter().find(|found| found.kind == failure.kind) {
                Some(found) => {
                    smallest = Some((found.problem, found.message));
                    tree.simplify()
                }
                None => tree.complicate(),
            };
        }
        smallest
    }
}

#[cfg(test)]
mod tests {
    use elman::ndarray::{arr1, arr2};

    use super::*;

    /// What one case finds that runs `test`.
    fn report_of<T: Float>(options: Options, test: impl Fn(&mut Trial<'_>)) -> Report {
        let mut part = Part::new::<T>("part", "made up".to_string(), &options);
        part.fixed("one", (), |(), trial| {
            test(trial);
            Ok(())
        });
        part.report
    }

    fn refusal() -> Error {
        Error::OutOfRange { what: "label", position: 0, limit: 1, found: 1 }
    }

    fn compare_one<T: Float>(options: Options, found: f64, expected: f64, allowed: f64) -> Report {
        report_of::<T>(options, |trial| {
            trial.compare_number(Against::Reference, "loss", T::from_f64(found), expected, allowed);
        })
    }

    #[test]
    fn only_the_case_and_the_networks_that_are_asked_for_are_run() {
        let options = Options::new().seed(1).cases(2).only("part/3").shrink(4).slack(5.0);
        assert_eq!(options.networks(), networks());
        let jordan = options.cells(&[Cell::Gru, Cell::default()]).feedbacks(&[Feedback::Output]);
        assert_eq!(jordan.networks().cells, [(Cell::default(), Feedback::Output)]);
        // The only case, though it is beyond the number of cases.
        let names = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = names.clone();
        let options = jordan.progress(move |case| sink.lock().unwrap().push(case.to_string()));
        let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
        part.problems(Sizes::Small, |problem, trial| {
            trial.require(problem.shape.name() == "jordan", || unreachable!());
            Ok(())
        });
        part.fixed("other", (), |(), _| unreachable!());
        assert!(part.report.passed() && part.report.cases == 1 && part.report.requirements == 1);
        assert_eq!(*names.lock().unwrap(), ["part/3"]);
        let restricted = part.report.restricted.unwrap();
        assert_eq!(restricted, ".cells(&[Gru, Elman(Sigmoid)]).feedbacks(&[Output])");
    }

    #[test]
    fn a_tutorial_problem_is_one_of_each_network() {
        let seen = std::sync::Mutex::new(Vec::new());
        let options = Options::new();
        let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
        let shape = Shape { vocab: 2, embed: 1, window: 1, hidden: 1, classes: 2, ..Shape::ELMAN };
        part.tutorial("small", shape, (&[2], 1), |problem, trial| {
            seen.lock().unwrap().push(format!("{} {}", trial.case, problem.shape.name()));
            Ok(())
        });
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), networks().cells.len() + 5);
        assert_eq!(seen[..2], ["part/small elman", "part/small-jordan jordan"]);
        assert!(seen.contains(&"part/small-gru gru".to_string()));
        assert!(seen.contains(&"part/small-elman-with-crf elman with crf".to_string()));
        let both = "part/small-bidirectional-lstm-of-2-layers bidirectional lstm of 2 layers";
        assert!(seen.contains(&both.to_string()));
    }

    #[test]
    fn what_has_failed_and_what_was_never_run_has_not_passed() {
        let passes = |holds, cases| {
            let options = Options::new();
            let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
            part.random(cases, 0..9u32, |_, trial| {
                trial.require(holds, || "so it was said".to_string());
                Ok(())
            });
            let report = part.report;
            let asserted = catch_unwind(|| report.assert_passed());
            assert_eq!(asserted.is_ok(), report.passed());
            report.passed()
        };
        assert!(passes(true, 2));
        assert!(!passes(true, 0) && !passes(false, 2) && !passes(false, 0));
    }

    /// The smallest problem that fails in the same way, and what is wrong there.
    #[test]
    fn a_failing_case_is_shrunk() {
        let options = Options::new();
        let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
        part.random(300, 0..1000u32, |number, trial| {
            trial.require(*number < 17, || format!("{number} is too large"));
            Ok(())
        });
        let smallest = part.report.failures[0].smallest.clone();
        assert_eq!(smallest, Some(("17".to_string(), "made up: 17 is too large, seed 42".to_string())));
        assert_eq!(part.report.failures.len(), 1);
    }

    #[test]
    fn the_report_does_not_depend_on_the_number_of_threads() {
        let report = |threads, too_large| {
            let options = Options::new().threads(threads);
            let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
            part.random(40, 0..1000u32, |number, trial| {
                // Some cases end before those that began before them.
                std::thread::sleep(std::time::Duration::from_micros((*number).into()));
                let found = f64::from(*number);
                trial.compare_number(Against::Itself, "loss", found, found + 0.5, 1.0);
                trial.require(*number < too_large, || format!("{number} is too large"));
                Ok(())
            });
            format!("{:?}", part.report)
        };
        for too_large in [1000, 900] {
            assert_eq!(report(7, too_large), report(1, too_large));
        }
    }

    #[test]
    fn an_entry_is_wrong_from_what_is_allowed_on() {
        let passes = |found, expected, allowed| {
            compare_one::<f64>(Options::new(), found, expected, allowed).failures.is_empty()
        };
        assert!(passes(1.25, 1.0, 0.25) && passes(0.75, 1.0, 0.25));
        assert!(!passes(1.2500001, 1.0, 0.25) && !passes(0.7499999, 1.0, 0.25));
        assert!(passes(1.0, 1.0, 0.0) && !passes(1.0 + f64::EPSILON, 1.0, 0.0));
        assert!(passes(5.0, 1.0, f64::NAN) && passes(5.0, 1.0, f64::INFINITY));
        assert!(!passes(f64::NAN, 1.0, 10.0) && !passes(f64::INFINITY, 1.0, f64::INFINITY));
        assert!(!compare_one::<f64>(Options::new().slack(2.0), 1.6, 1.0, 0.25).failures.is_empty());
        assert!(compare_one::<f64>(Options::new().slack(2.0), 1.5, 1.0, 0.25).failures.is_empty());
    }

    #[test]
    fn an_entry_that_may_be_anything_is_counted_as_blind() {
        let blind = |expected, allowed| {
            compare_one::<f32>(Options::new(), expected, expected, allowed).measurements[0].blind
        };
        assert_eq!((blind(2.0, 1.999), blind(2.0, 2.0), blind(2.0, f64::NAN)), (0, 1, 1));
        // Of numbers that small no digit is left.
        assert_eq!((blind(900.0 * smallest::<f32>(), 1.0), blind(1100.0 * smallest::<f32>(), 1.0)), (0, 1));
    }

    #[test]
    fn tensors_of_other_shapes_and_without_entries_are_wrong() {
        let options = Options::new;
        let found = report_of::<f64>(options(), |trial| {
            let (row, column) = (arr2(&[[1.0, 2.0]]), arr2(&[[1.0], [2.0]]));
            trial.compare(Against::Itself, "w", row.view(), column.view(), column.view());
        });
        assert_eq!(found.failures[0].message, "made up: w has the shape [1, 2], expected [2, 1], seed 42");
        let found = report_of::<f64>(options(), |trial| {
            let none = arr1::<f64>(&[]);
            trial.compare(Against::Itself, "b", none.view(), none.view(), none.view());
        });
        assert_eq!(found.failures[0].message, "made up: b is empty, seed 42");
        let found = report_of::<f64>(options(), |trial| {
            trial.same_bits("again", "b", arr1(&[1.0]).view(), arr1(&[1.0, 1.0]).view());
        });
        assert_eq!(found.failures[0].message, "made up: b has the shape [1], expected [2]: again, seed 42");
    }

    #[test]
    fn bits_and_requirements() {
        let found = report_of::<f64>(Options::new(), |trial| {
            trial.same_bits("again", "b", arr1(&[1.0, f64::NAN]).view(), arr1(&[1.0, f64::NAN]).view());
            trial.require(true, || unreachable!());
            trial.refused("nonsense", Err::<(), _>(refusal()));
        });
        assert!(found.passed() && found.requirements == 3 && found.cases == 1);
        let differs = report_of::<f64>(Options::new(), |trial| {
            let [zero, minus] = [0.0, -0.0].map(|last| arr2(&[[1.0, 2.0], [3.0, last]]));
            trial.same_bits("again", "w", zero.view(), minus.view());
        });
        let message = "made up: w[1,1] = 0, expected -0, allowed 0.0e0, seed 42: again";
        assert_eq!(differs.failures[0].message, message);
        let accepted = report_of::<f64>(Options::new(), |trial| trial.refused("nonsense", Ok(())));
        let message = "made up: nonsense was accepted, expected an error, seed 42";
        assert_eq!(accepted.failures[0].message, message);
    }

    #[test]
    fn a_panic_and_an_error_are_failures_of_the_case() {
        let options = Options::new();
        let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
        part.fixed("panics", (), |(), _| panic!("too much"));
        part.fixed("not run any more", (), |(), _| unreachable!());
        assert_eq!(part.report.failures[0].message, "made up: panicked: too much, seed 42");
        let mut part = Part::new::<f64>("part", "made up".to_string(), &options);
        part.random(3, 0..9u32, |_, _| Err(refusal()));
        let failure = &part.report.failures[0];
        assert!(failure.message.starts_with("made up: refused what it should accept: "), "{failure}");
        assert!(failure.case == "part/0" && failure.smallest.is_some() && part.report.cases == 1);
    }

    /// The report as it is printed, with its places, its worst entries and how to run a case again.
    #[test]
    fn a_report_in_print() {
        let options = Options::new().seed(7);
        let mut part = Part::new::<f32>("part", "made up".to_string(), &options);
        for (id, worst) in [("good", 0.05), ("better", 0.025)] {
            part.fixed(id, (), |(), trial| {
                let expected = arr2(&[[1.0, -4.0, 1e-9], [2.0, 0.0, 3.0]]);
                let mut found = expected.mapv(|v| v as f32);
                found[[1, 2]] += worst as f32;
                let allowed = arr2(&[[0.1, 4.0, 0.1], [5.0, 0.1, 0.1]]);
                trial.compare(Against::Duals, "wh", found.view(), expected.view(), allowed.view());
                trial.compare_number(Against::Golden, "loss", 1.0f32, 1.0, 0.0);
                Ok(())
            });
        }
        let good = part.report.to_string();
        part.fixed("bad", (), |(), trial| {
            let expected = arr1(&[1e-5, 2e20]);
            trial.compare(
                Against::Duals,
                "b",
                arr1(&[1e-5f32, 3e20]).view(),
                expected.view(),
                expected.view(),
            );
            trial.compare(
                Against::Duals,
                "b",
                arr1(&[-1e-5f32, 2e20]).view(),
                expected.view(),
                expected.view(),
            );
            Ok(())
        });
        expect_test::expect_file!["report.txt"].assert_eq(&format!("{good}\n{}", part.report));
        let histogram = &part.report.histograms[&(Against::Duals, "wh")];
        let wh = &part.report.measurements[0];
        assert_eq!(
            (wh.entries, wh.blind, wh.scale, wh.relative),
            (6, 2, 4.0, f64::from(3.05f32) / 4.0 - 0.75)
        );
        // 0.5 and 0.25 of what is allowed: between 10^-0.5 and 10^-0.25, and between 10^-0.75 and 10^-0.5.
        assert_eq!((histogram.exact, histogram.counts[30], histogram.counts[29]), (8, 1, 1));
        assert_eq!(histogram.counts.iter().sum::<usize>(), 4);
        assert_eq!((Histogram::lower(29), Histogram::lower(30)), (-0.75, -0.5));
        // The first bin and the last are open.
        let mut histogram = Histogram::new();
        [1e-30, 1e30, f64::INFINITY].into_iter().for_each(|ratio| histogram.add(ratio));
        assert_eq!((histogram.counts[0], histogram.counts[Histogram::BINS - 1]), (1, 2));
    }

    #[test]
    fn an_index_counts_its_last_place_fastest() {
        assert_eq!(position(0, &[]), Vec::<usize>::new());
        assert_eq!(position(5, &[2, 3]), [1, 2]);
        assert_eq!(position(7, &[2, 3, 2]), [1, 0, 1]);
    }
}
