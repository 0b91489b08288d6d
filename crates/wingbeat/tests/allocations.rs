//! A step of generation asks the allocator for nothing.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use wingbeat::{Model, ModelOptions, Sequence, Want};

/// Counts what the program asks for.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; the count changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        // SAFETY: as above.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test in this file: another one would be counted too.
#[test]
fn a_step_allocates_nothing() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    let model =
        Model::open_with(path, &ModelOptions { device: "cpu".parse().unwrap(), ..ModelOptions::default() })
            .unwrap();
    for n in [1, 2, 4] {
        let mut states: Vec<_> = (0..n).map(|_| model.new_state().unwrap()).collect();
        let mut outputs = Vec::new();
        let tokens = [17];
        // The first steps make buffers, and one by one the copies for sparse inputs.
        let mut counts = Vec::new();
        for _ in 0..40 {
            let before = COUNT.load(SeqCst);
            let mut sequences: smallvec::SmallVec<[Sequence<'_>; 4]> = states
                .iter_mut()
                .map(|state| Sequence { state, tokens: &tokens, want: Want::LAST_LOGITS })
                .collect();
            model.forward_into(&mut sequences, &mut outputs, &mut |_| true).unwrap();
            counts.push(COUNT.load(SeqCst) - before);
        }
        assert!(counts[0] > 0, "nothing was counted");
        assert_eq!(counts[30..], [0; 10], "{n} sequences: {counts:?}");
    }
}
