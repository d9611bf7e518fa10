//! A learner's step and the labelling of a sentence do not allocate once their buffers have grown.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::*;
use elman::{Feedback, Network, Params, Shape};
use elman_fast::Fast;

/// The system's allocator, counting.
struct Counting;

thread_local! {
    /// Those of this thread: the test harness has one of its own, which allocates when it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is that of this method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is that of this method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_steady_state_does_not_allocate() {
    FEEDBACKS.into_iter().for_each(steady_state);
}

fn steady_state(feedback: Feedback) {
    let random = &mut Random::new(5);
    let shape = Shape { vocab: 40, embed: 10, window: 7, hidden: 40, classes: 20, feedback };
    let params: Params<f32> = params(shape, random);
    let sentences: Vec<_> = (1..40).map(|words| sentence(&shape, words, random)).collect();
    let fast = Fast::new();
    let mut learner = fast.learner(params.clone()).unwrap();
    let mut tagger = fast.tagger(&params).unwrap();
    let mut labels = Vec::new();
    let mut all = |what: &str| {
        let sgd = allocations(|| {
            for sentence in &sentences {
                learner.step(std::slice::from_ref(sentence), 0.01).unwrap();
            }
        });
        let batches = allocations(|| {
            for batch in sentences.chunks(8) {
                learner.step(batch, 0.01).unwrap();
            }
        });
        let labelling = allocations(|| {
            for sentence in &sentences {
                tagger.label(sentence.sentence(), &mut labels).unwrap();
            }
        });
        println!(
            "{feedback}, {what}: {sgd} allocations in steps, {batches} in batches, {labelling} in labelling"
        );
        [sgd, batches, labelling]
    };
    let first = all("first pass");
    assert!(first.iter().all(|count| *count > 0), "the counter does not count: {first:?}");
    assert_eq!(all("second pass"), [0, 0, 0]);
}
