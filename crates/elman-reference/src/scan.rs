#![doc = include_str!("scan.md")]

mod outputs;
mod sequences;

use std::convert::Infallible;

use elman::Error;

pub use outputs::{Initial, InitialTaps, Output, OutputInfo, Outputs, OutputsInfo};
pub use sequences::{Extent, Input, InputTaps, Sequence, SequenceInfo, Sequences};

/// Begins the description of a loop: as yet no sequences, and one output that is not fed back.
///
/// The [module](self) has the table from `theano.scan` and the answers to two questions.
pub fn scan() -> Scan<(), Option<Infallible>> {
    Scan { sequences: (), outputs_info: None, n_steps: None, go_backwards: false, name: "scan".into() }
}

/// A loop, to be described further and then run.
#[derive(Clone, Debug)]
#[must_use = "a scan does nothing until it is run"]
pub struct Scan<S, O> {
    sequences: S,
    outputs_info: O,
    n_steps: Option<usize>,
    go_backwards: bool,
    name: String,
}

impl<S, O> Scan<S, O> {
    /// What the loop reads: one sequence, or a tuple of up to six.
    ///
    /// A sequence is a reference to a slice, a `Vec`, an array or an ndarray of one to four dimensions
    /// (whose rows are along the first), a range of numbers, or [`Input`] of one of these with taps.
    pub fn sequences<S2: Sequences>(self, sequences: S2) -> Scan<S2, O> {
        let Scan { outputs_info, n_steps, go_backwards, name, .. } = self;
        Scan { sequences, outputs_info, n_steps, go_backwards, name }
    }

    /// What the step receives of each output's past: [`Initial`] or `None`, or a tuple of up to six.
    pub fn outputs_info<O2: OutputsInfo>(self, outputs_info: O2) -> Scan<S, O2> {
        let Scan { sequences, n_steps, go_backwards, name, .. } = self;
        Scan { sequences, outputs_info, n_steps, go_backwards, name }
    }

    /// The number of steps. Without it, the loop ends with the shortest sequence.
    pub fn n_steps(self, n_steps: usize) -> Self {
        Scan { n_steps: Some(n_steps), ..self }
    }

    /// Whether to read each sequence from its end. The outputs stay in the order of the steps.
    pub fn go_backwards(self, go_backwards: bool) -> Self {
        Scan { go_backwards, ..self }
    }

    /// A name for the messages of errors, in place of `scan`.
    pub fn name(self, name: impl Into<String>) -> Self {
        Scan { name: name.into(), ..self }
    }
}

impl<S: Sequences, O: OutputsInfo> Scan<S, O> {
    /// Runs the loop: `step(items, past)` returns the value of the one output, or a tuple of the values.
    ///
    /// Returns the values of each output, a `Vec` with one entry a step.
    ///
    /// # Errors
    /// [`Error::Shape`], before the first step, if there is neither a sequence nor `n_steps`, if a sequence
    /// is too short for `n_steps`, or if an output's taps or initial values are not what
    /// [`Initial::taps`] asks for.
    pub fn run<R, F>(&self, mut step: F) -> Result<O::Rows, Error>
    where
        O: Outputs<R>,
        F: FnMut(S::Items, O::Past<'_>) -> R,
    {
        self.run_until(|items, past| (step(items, past), until(false)))
    }

    /// Runs the loop until the step says so, but no longer than [`Scan::run`] would: `step` returns what
    /// that of [`Scan::run`] does, and [`until`] of a condition. The values of the step whose condition is
    /// true are the last ones.
    ///
    /// # Errors
    /// As [`Scan::run`].
    pub fn run_until<R, F>(&self, mut step: F) -> Result<O::Rows, Error>
    where
        O: Outputs<R>,
        F: FnMut(S::Items, O::Past<'_>) -> (R, Until),
    {
        self.outputs_info.check(&self.name)?;
        let mut rows = O::Rows::default();
        for t in 0..self.steps()? {
            let items = self.sequences.items(t, self.go_backwards);
            let (values, Until(end)) = step(items, self.outputs_info.past(&rows));
            O::record(&mut rows, values);
            if end {
                break;
            }
        }
        Ok(rows)
    }

    fn steps(&self) -> Result<usize, Error> {
        let extents = self.sequences.extents();
        let Some(n_steps) = self.n_steps else {
            return extents
                .iter()
                .map(Extent::steps)
                .min()
                .ok_or_else(|| Error::shape(&self.name, "n_steps or a sequence", "neither"));
        };
        for (index, extent) in extents.iter().enumerate() {
            if extent.steps() < n_steps {
                let Extent { rows, before, after } = *extent;
                let taps = match before.saturating_add(after) {
                    0 => String::new(),
                    _ => format!(" with taps from -{before} to {after}"),
                };
                let needed = n_steps.saturating_add(before).saturating_add(after);
                return Err(Error::shape(
                    format!("{}: sequence {index}", self.name),
                    format!("at least {needed} rows for {n_steps} steps{taps}"),
                    rows,
                ));
            }
        }
        Ok(n_steps)
    }
}

/// Whether this step is the last one; see [`until`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until(bool);

/// Theano's `until(condition)`: ends [`Scan::run_until`] after the step whose condition is true.
pub fn until(condition: bool) -> Until {
    Until(condition)
}
