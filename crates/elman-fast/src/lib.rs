#![doc = include_str!("../README.md")]
#![allow(clippy::needless_range_loop, reason = "the indices of a tile read like its formula")]

mod batch;
mod isa;
mod jordan;
mod kept;
mod kernel;
mod learner;
mod matrix;
mod num;
mod packed;
mod pool;
#[doc(hidden)]
pub mod raw;
mod recurrence;
mod sentence;
mod tagger;
mod team;
mod weights;

use elman::ndarray::Array2;
use elman::{
    Cell, Error, Labelled, Learner, Network, Params, Recurrence, Sentence, Sequences, Shape, Tagger, Trace,
};
use fearless_simd::Simd;

pub use isa::Isa;
pub use num::Num;

use isa::{Cpu, Task};
use kept::Kept;
use pool::Pool;
use team::Member;
use weights::Weights;

/// The network near the hardware's limit, for `f32` and `f64`. The Jordan network runs on the same kernels.
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
    bf16: bool,
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
        Ok(Fast { cpu: isa.detect()?, pool: Pool::new(1)?, bf16: false, kept: Kept::default() })
    }

    /// With this many threads (0 is taken as 1). More than one is used for batches of sentences or
    /// sequences, for labelling in bulk, and for a learner's step of one sentence (not of a Jordan network's).
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the system does not start them.
    pub fn threads(self, threads: usize) -> Result<Self, Error> {
        Ok(Fast { pool: Pool::new(threads)?, ..self })
    }

    /// Whether taggers round wh to 8 bits of mantissa, as bf16 does: one sentence is then labelled in about two
    /// thirds of the time (by a Jordan network in the same time), and where two labels are almost equally probable
    /// the other one may win (on ATIS about one word in 50,000). For `f32` only; everything else is computed as
    /// without, and so is all if wh has an entry that is infinite or NaN.
    pub fn bf16(self, bf16: bool) -> Self {
        Fast { bf16, ..self }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.cpu.isa()
    }
}

/// Refuses an empty batch, and words and labels that the network does not have.
fn check_batch(batch: &[Labelled], shape: &Shape) -> Result<(), Error> {
    if batch.is_empty() {
        return Err(Error::shape("batch", "at least 1 sentence", 0));
    }
    batch.iter().try_for_each(|sentence| sentence.check(shape))
}

// Not one generic implementation: these are compiled here, once, and not again in every crate that uses them.
macro_rules! implement {
    ($($t:ty),*) => {$(
        impl Network<$t> for Fast {
            fn name(&self) -> String {
                format!("fast/{}", self.cpu.isa())
            }

            fn predict(&self, params: &Params<$t>, sentence: &Sentence) -> Result<Array2<$t>, Error> {
                let weights = Weights::new(params)?;
                sentence.check(&weights.shape)?;
                Ok(self.cpu.run(Predict { weights: &weights, words: sentence.words() }))
            }

            fn gradient(
                &self,
                params: &Params<$t>,
                batch: &[Labelled],
                grad: &mut Params<$t>,
            ) -> Result<$t, Error> {
                let weights = Weights::new(params)?;
                grad.check(&weights.shape)?;
                check_batch(batch, &weights.shape)?;
                let mut target = Weights::zeros(weights.shape);
                let (cpu, threads) = (self.cpu, self.pool.threads());
                let task = Gradient { weights: &weights, batch, target: &mut target, threads };
                let loss = self.pool.run(|| cpu.run(task));
                target.copy_to(grad);
                Ok(loss)
            }

            fn learner(&self, params: Params<$t>) -> Result<Box<dyn Learner<$t>>, Error> {
                Ok(Box::new(learner::FastLearner::new(self.cpu, self.pool.clone(), &params)?))
            }

            fn tagger(&self, params: &Params<$t>) -> Result<Box<dyn Tagger>, Error> {
                let pool = self.pool.clone();
                Ok(Box::new(tagger::FastTagger::new(self.cpu, pool, self.bf16, params)?))
            }
        }

        impl Recurrence<$t> for Fast {
            fn forward(&self, cell: &Cell<$t>, xs: &Sequences<'_, $t>) -> Result<Array2<$t>, Error> {
                Ok(self.states(cell, xs)?.1)
            }

            fn vjp<'a>(
                &self,
                cell: &'a Cell<$t>,
                xs: &'a Sequences<'a, $t>,
            ) -> Result<Box<dyn Trace<$t> + 'a>, Error> {
                Ok(Box::new(self.trace(cell, xs)?))
            }
        }
    )*};
}
implement!(f32, f64);

struct Predict<'a, T> {
    weights: &'a Weights<T>,
    words: &'a [usize],
}

impl<T: Num> Task for Predict<'_, T> {
    type Output = Array2<T>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Array2<T> {
        let mut scratch = sentence::Scratch::new();
        let n = self.words.len();
        sentence::forward(simd, &mut Member::alone(), self.weights, self.words, &mut scratch);
        sentence::probabilities(simd, self.weights, n, &mut scratch);
        Array2::from_shape_fn((n, self.weights.shape.classes), |(t, class)| {
            scratch.output(self.weights, t)[class]
        })
    }
}

struct Gradient<'a, T> {
    weights: &'a Weights<T>,
    batch: &'a [Labelled],
    target: &'a mut Weights<T>,
    threads: usize,
}

impl<T: Num> Task for Gradient<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        if let [sentence] = self.batch {
            let mut scratch = sentence::Scratch::new();
            let words = sentence.sentence().words();
            let scale = T::one() / T::from_f64(words.len() as f64);
            sentence::forward(simd, &mut Member::alone(), self.weights, words, &mut scratch);
            let loss = sentence::backward(
                simd,
                &mut Member::alone(),
                self.weights,
                sentence.labels(),
                scale,
                &mut scratch,
            );
            sentence::apply(simd, words, &scratch, self.target);
            return loss;
        }
        let mut scratch = batch::Scratch::new();
        let factor = T::one() / T::from_f64(self.batch.len() as f64);
        let loss =
            batch::forward_backward(simd, self.threads, self.weights, self.batch, factor, &mut scratch);
        batch::apply(simd, self.threads, &scratch, self.target);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stays_set() {
        let isa = Isa::available()[0];
        let fast = Fast::with(isa).unwrap().bf16(true).threads(3).unwrap();
        assert_eq!((fast.isa(), fast.bf16, fast.pool.threads()), (isa, true, 3));
        assert_eq!(Fast::new().threads(0).unwrap().pool.threads(), 1);
        assert_eq!((Fast::new().isa(), Fast::new().pool.threads()), (Isa::best(), 1));
        let fast = Fast::new().threads(2).unwrap().bf16(false);
        assert_eq!((fast.bf16, fast.pool.threads()), (false, 2));
    }
}
