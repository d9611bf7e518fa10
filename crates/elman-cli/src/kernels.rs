//! The one place where an implementation of the network is chosen.

use elman::{Network, Recurrence};
use elman_fast::{Fast, Isa};
use elman_reference::Reference;
use elman_tagger::Error;

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
    /// Pins the instruction set of the fast kernel (portable, avx2, avx512 or neon) instead of taking the
    /// best that the CPU has; the results have the same bits on all but portable
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Number of threads (of the reference: 1); the results have the same bits with any number [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
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
        Ok(fast.threads(self.threads.unwrap_or(1))?)
    }
}

fn refuse(what: &str, expected: &str, found: Option<impl ToString>) -> Result<(), Error> {
    found.map_or(Ok(()), |found| Err(Error::unsupported(what, expected, found.to_string())))
}
