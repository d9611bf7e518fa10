//! A learner's step and labelling do not allocate once their buffers have grown.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::*;
use elman::{Network, Params, Shape, Update};
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
    let sizes = Shape { vocab: 40, embed: 10, window: 7, hidden: 40, classes: 20, ..Shape::ELMAN };
    for shape in networks(sizes) {
        let random = &mut Random::new(5);
        let params: Params<f32> = params(shape, random);
        let sentences = sentences(&shape, 40, random);
        let all = sentences.batch();
        let (mut learner, mut tagger) = {
            let fast = Fast::new();
            (fast.learner(params.clone()).unwrap(), fast.tagger(&params).unwrap())
        };
        let update = &mut Update::sgd(0.01);
        let mut labels = vec![0; all.words().len()];
        let mut pass = || {
            // Batches of 40 are three chunks.
            let steps = [1, 8, 40].map(|size| {
                allocations(|| {
                    for from in (0..40).step_by(size) {
                        learner.step(all.slice(from..from + size), update).unwrap();
                    }
                })
            });
            let alone = allocations(|| {
                for sentence in all.iter() {
                    tagger.label(sentence.words, &mut labels[..sentence.words.len()]).unwrap();
                }
            });
            let bulk = allocations(|| tagger.label_all(all, &mut labels).unwrap());
            (steps, [alone, bulk])
        };
        let first = pass();
        assert!(first.0[0] > 0 && first.1[0] > 0, "the counter does not count: {first:?}");
        assert_eq!(pass(), ([0; 3], [0; 2]), "{}: steps of 1, 8 and 40; labels", shape.name());
    }
}
