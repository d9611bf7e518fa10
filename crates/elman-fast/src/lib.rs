#![doc = include_str!("../README.md")]
#![allow(clippy::needless_range_loop, reason = "the indices of a tile read like its formula")]

mod adam;
mod batch;
mod crf;
mod exact;
mod isa;
mod kept;
mod kernel;
mod layer;
mod learner;
mod matrix;
mod num;
mod pack;
mod pool;
#[doc(hidden)]
pub mod raw;
mod recurrence;
mod sentence;
mod tagger;
mod unit;
mod weights;

use elman::{Error, Learner, Network, Params, Tagger};

pub use isa::Isa;
pub use num::Num;

use isa::Cpu;
use kept::Kept;
use pool::Pool;

/// The network near the hardware's limit, for `f32` and `f64`, with every [`elman::Cell`] and [`elman::Head`].
///
/// All results have the same bits for any number of threads, and on every instruction set with fused
/// multiply-add ([`Isa::is_fused`]).
///
/// The recurrence keeps up to 32 buffers of each number type for its next call; they are freed with the last
/// clone, or trace, of this value.
#[derive(Clone, Debug)]
pub struct Fast {
    cpu: Cpu,
    pool: Pool,
    /// For the recurrence: weights in the kernels' layout, and sums.
    kept: Kept,
}

impl Default for Fast {
    fn default() -> Self {
        Fast::new()
    }
}

impl Fast {
    /// On the best instruction set of this CPU, with one thread.
    pub fn new() -> Self {
        Fast::with(Isa::best()).expect("the best of the available instruction sets is available")
    }

    /// On a given instruction set, with one thread.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this CPU does not have it.
    pub fn with(isa: Isa) -> Result<Self, Error> {
        Ok(Fast { cpu: isa.detect()?, pool: Pool::new(1)?, kept: Kept::default() })
    }

    /// With this many threads (0 is taken as 1). More than one is used for batches of sentences or
    /// sequences, and for labelling in bulk.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the system does not start them.
    pub fn threads(self, threads: usize) -> Result<Self, Error> {
        Ok(Fast { pool: Pool::new(threads)?, ..self })
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.cpu.isa()
    }
}

// Not one generic implementation: these are compiled here, once, and not again in every crate that uses them.
macro_rules! implement {
    ($($t:ty),*) => {$(
        impl Network<$t> for Fast {
            fn name(&self) -> String {
                format!("fast/{}", self.cpu.isa())
            }

            fn bits(&self) -> Option<u32> {
                self.isa().is_fused().then_some(elman::BITS)
            }

            fn learner(&self, params: Params<$t>) -> Result<Box<dyn Learner<$t>>, Error> {
                Ok(Box::new(learner::FastLearner::new(self.cpu, self.pool.clone(), &params)?))
            }

            fn tagger(&self, params: &Params<$t>) -> Result<Box<dyn Tagger<$t>>, Error> {
                Ok(Box::new(tagger::FastTagger::new(self.cpu, self.pool.clone(), params)?))
            }
        }
    )*};
}
implement!(f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_set_and_threads_are_kept() {
        let isa = Isa::available()[0];
        let fast = Fast::with(isa).unwrap().threads(3).unwrap();
        assert_eq!((fast.isa(), fast.pool.threads()), (isa, 3));
        assert_eq!(Fast::new().threads(0).unwrap().pool.threads(), 1);
        assert_eq!((Fast::new().isa(), Fast::new().pool.threads()), (Isa::best(), 1));
    }
}
