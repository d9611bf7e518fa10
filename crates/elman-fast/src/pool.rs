//! Threads: work that is split in two until there is a part for each thread.
//!
//! Only what leaves every sum whole is split (sentences, and rows of a product), so that the bits do not
//! depend on the number of threads.

use std::sync::Arc;

use elman::Error;
#[cfg(feature = "threads")]
use rayon::ThreadPool;
#[cfg(feature = "threads")]
pub(crate) use rayon::join;

/// What is left of rayon without the feature `threads`.
#[cfg(not(feature = "threads"))]
mod one {
    /// There is none.
    #[derive(Debug)]
    pub(crate) enum ThreadPool {}

    impl ThreadPool {
        pub(crate) fn current_num_threads(&self) -> usize {
            match *self {}
        }

        pub(crate) fn install<R>(&self, _: impl FnOnce() -> R) -> R {
            match *self {}
        }
    }

    pub(crate) fn join<A, B>(a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
        (a(), b())
    }
}
#[cfg(not(feature = "threads"))]
use one::ThreadPool;
#[cfg(not(feature = "threads"))]
pub(crate) use one::join;

#[cfg(feature = "threads")]
fn start(threads: usize) -> Result<ThreadPool, String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("elman-{i}"));
    pool.build().map_err(|error| error.to_string())
}

#[cfg(not(feature = "threads"))]
fn start(_: usize) -> Result<ThreadPool, String> {
    Err("elman-fast is built without its feature `threads`".to_owned())
}

/// One thread, or a pool of more.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Option<Arc<ThreadPool>>);

impl Pool {
    pub(crate) fn new(threads: usize) -> Result<Self, Error> {
        if threads <= 1 {
            return Ok(Pool(None));
        }
        let pool = start(threads).map_err(|error| Error::Unsupported {
            what: "threads".to_string(),
            expected: "as many as the system starts".to_string(),
            found: format!("{threads} ({error})"),
        })?;
        Ok(Pool(Some(Arc::new(pool))))
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Runs `work` where [`Split::each`] finds the pool's threads.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// The results of `work` on chunks of so many items, which the threads take as they become free; each thread has a
    /// value of its own that `init` makes.
    pub(crate) fn map_chunks<I: Sync, V, R: Send>(
        &self,
        items: &[I],
        size: usize,
        init: impl Fn() -> V + Sync + Send,
        work: impl Fn(&mut V, &[I]) -> R + Sync + Send,
    ) -> Vec<R> {
        #[cfg(feature = "threads")]
        return {
            use rayon::prelude::*;
            self.run(|| items.par_chunks(size).map_init(init, work).collect())
        };
        #[cfg(not(feature = "threads"))]
        return items.chunks(size).scan(init(), |value, chunk| Some(work(value, chunk))).collect();
    }
}

/// Something that can be cut in two.
pub(crate) trait Split: Sized + Send {
    /// Number of pieces that cannot be cut.
    fn pieces(&self) -> usize;
    /// The first `at` pieces, and the rest.
    fn cut(self, at: usize) -> (Self, Self);

    /// Calls `work` on `parts` parts of about the same number of pieces, in parallel if there is more than
    /// one; each with the number of the first of its pieces. Must be called from [`Pool::run`].
    ///
    /// `work` is no type parameter: rayon's code would be compiled again for each one.
    fn each(self, parts: usize, work: &(dyn Fn(usize, Self) + Sync)) {
        self.each_from(0, parts, work);
    }

    #[doc(hidden)]
    fn each_from(self, from: usize, parts: usize, work: &(dyn Fn(usize, Self) + Sync)) {
        let pieces = self.pieces();
        if parts <= 1 || pieces <= 1 {
            return work(from, self);
        }
        let left = parts / 2;
        let at = (pieces * left / parts).clamp(1, pieces - 1);
        let (a, b) = self.cut(at);
        join(|| a.each_from(from, left, work), || b.each_from(from + at, parts - left, work));
    }
}
