//! The one place where an implementation of the network is chosen.

use std::sync::Once;
use std::thread;

use elman::{Network, Recurrence};
use elman_fast::{Fast, Isa};
use elman_reference::Reference;
use elman_tagger::Error;

use crate::output::note;

/// The implementations by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// SIMD and threads
    #[default]
    Fast,
    /// Loops that read like the equations; one thread
    Reference,
}

/// What every implementation can do, in both number types.
pub(crate) trait Implementation:
    elman_tagger::Implementation + Network<f64> + Recurrence<f64>
{
}

impl<I: Network<f32> + Network<f64> + Recurrence<f32> + Recurrence<f64>> Implementation for I {}

/// The options that choose an implementation; part of every subcommand.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Computation")]
pub(crate) struct KernelArgs {
    /// The implementation of the network
    #[arg(long, value_enum, default_value_t)]
    kernel: Kernel,
    /// Pins the instruction set of the fast kernel (portable, avx2, avx512, neon, or the slow exact for the bits of the
    /// last three without them) instead of taking the best that the CPU has; the results have the same bits on all but
    /// portable
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Number of threads (of the reference: 1), at most one for each processor; the results have the same bits with any
    /// number [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Runs as many threads as --threads says even where there are fewer processors, which is slower
    #[arg(long, requires = "threads")]
    oversubscribe: bool,
}

impl KernelArgs {
    /// The network that was asked for.
    ///
    /// # Errors
    /// As [`KernelArgs::implementation`].
    pub(crate) fn network(&self) -> Result<Box<dyn elman_tagger::Implementation>, Error> {
        Ok(self.implementation()?)
    }

    /// The implementation that was asked for.
    ///
    /// # Errors
    /// [`elman::Error::Unsupported`] if it does not have what else was asked for.
    pub(crate) fn implementation(&self) -> Result<Box<dyn Implementation>, Error> {
        match self.kernel {
            Kernel::Fast => Ok(Box::new(self.fast()?)),
            Kernel::Reference => Ok(Box::new(self.reference()?)),
        }
    }

    /// The forms of the implementation that promise the same bits, on this CPU: instruction sets (unless one
    /// is pinned) with 1, 2, 3 and 8 threads each. None of the reference, which has one form.
    ///
    /// # Errors
    /// As [`KernelArgs::implementation`].
    pub(crate) fn forms_with_the_same_bits(&self) -> Result<Vec<Box<dyn Implementation>>, Error> {
        let mut forms: Vec<Box<dyn Implementation>> = Vec::new();
        if self.kernel == Kernel::Fast {
            let sets = match &self.isa {
                Some(name) => vec![name.parse::<Isa>()?],
                None => Isa::available().into_iter().filter(|isa| isa.is_fused()).collect(),
            };
            for isa in sets {
                for threads in [1, 2, 3, 8] {
                    forms.push(Box::new(Fast::with(isa)?.threads(threads)?));
                }
            }
        }
        Ok(forms)
    }

    /// The instruction sets whose bits the standard fixes: those of this CPU, or the one that is pinned.
    ///
    /// # Errors
    /// [`elman::Error::Unsupported`] if it is not one of them.
    pub(crate) fn promised(&self) -> Result<Vec<Isa>, Error> {
        let what = "computation for --same-bits";
        refuse(
            what,
            "the kernel fast",
            (self.kernel == Kernel::Reference).then_some("the kernel reference"),
        )?;
        let Some(name) = &self.isa else { return Ok(Isa::promised()) };
        let isa = Fast::with(name.parse()?)?.isa();
        refuse(what, "an instruction set under the promise", (!isa.is_fused()).then_some(isa))?;
        Ok(vec![isa])
    }

    fn reference(&self) -> Result<Reference, Error> {
        refuse("threads of the kernel reference", "1", self.threads.filter(|threads| *threads > 1))?;
        refuse("instruction set of the kernel reference", "none", self.isa.as_ref())?;
        Ok(Reference::new())
    }

    fn fast(&self) -> Result<Fast, Error> {
        let fast = match &self.isa {
            Some(name) => Fast::with(name.parse::<Isa>()?)?,
            None => Fast::new(),
        };
        Ok(fast.threads(self.bounded_threads())?)
    }

    /// The number of threads: what was asked for, but not more than there are processors. Threads in turns on one
    /// processor wait for each other at every step: 26 s an epoch with 7 threads on two processors, 5 s with two.
    pub(crate) fn bounded_threads(&self) -> usize {
        static SAID: Once = Once::new();
        let asked = self.threads.unwrap_or(1);
        let threads = if self.oversubscribe { asked } else { asked.min(processors()) };
        if threads < asked {
            SAID.call_once(|| {
                note(&format!(
                    "--threads {asked}: {threads} are used, one for each processor; --oversubscribe runs all of them"
                ));
            });
        }
        threads
    }

    /// How many jobs with so many threads each run at the same time: what was asked for, bounded in the same way.
    pub(crate) fn bounded_jobs(&self, asked: Option<usize>) -> usize {
        let most = (processors() / self.bounded_threads()).max(1);
        match asked {
            Some(jobs) if self.oversubscribe => jobs,
            Some(jobs) if jobs > most => {
                note(&format!("--jobs {jobs}: {most} run at the same time, for {} processors", processors()));
                most
            }
            asked => asked.unwrap_or(most),
        }
    }
}

/// The processors that this program may use.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn refuse(what: &str, expected: &str, found: Option<impl ToString>) -> Result<(), Error> {
    found.map_or(Ok(()), |found| Err(Error::unsupported(what, expected, found.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_jobs_are_no_more_than_processors_unless_forced() {
        let most = processors();
        let args =
            |threads, oversubscribe| KernelArgs { kernel: Kernel::Fast, isa: None, threads, oversubscribe };
        for asked in [1, 2, most, most + 5, 1024] {
            assert_eq!(args(Some(asked), false).bounded_threads(), asked.min(most));
            assert_eq!(args(Some(asked), true).bounded_threads(), asked);
        }
        assert_eq!(args(None, false).bounded_threads(), 1);
        assert_eq!(args(None, false).bounded_jobs(None), most);
        assert_eq!(args(None, false).bounded_jobs(Some(most + 1)), most);
        assert_eq!(args(Some(most), false).bounded_jobs(Some(7)), 1);
        assert_eq!(args(Some(1), true).bounded_jobs(Some(most + 1)), most + 1);
    }
}
