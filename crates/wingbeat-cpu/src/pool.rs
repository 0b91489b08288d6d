//! A fork-join pool for thousands of short parallel regions a second.
//!
//! Workers spin on an epoch counter, then yield, then park; the caller is thread 0 and waits the same way without
//! parking. A region costs about 0.1 µs while the workers are awake, where a work-stealing pool's wake-up costs
//! more than ten (docs/performance notes: a token has some hundred regions).

use std::{
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::*},
    },
    thread::JoinHandle,
};
use wingbeat_backend::BackendError;

/// Spins before a waiting thread gives its core to others, about 20 µs.
const SPINS: u32 = 1 << 12;
/// Yields before a worker parks. Between the tokens of a generation a worker stays awake, between two requests it
/// sleeps.
const YIELDS: u32 = 1 << 9;

/// A value on a cache line of its own.
#[repr(align(128))]
struct Padded<T>(T);

type Region<'a> = &'a (dyn Fn(usize) + Sync);

struct Shared {
    epoch: Padded<AtomicU32>,
    done: Padded<AtomicU32>,
    panicked: AtomicBool,
    /// The region under way; none tells the workers to end.
    region: UnsafeCell<Option<Region<'static>>>,
    parked: Vec<Padded<AtomicBool>>,
}

// SAFETY: `region` is written only by the caller of `Pool::run` while no worker reads it: before the release of a new
// epoch, and after all workers have reported the previous one done. Everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: as above; the region itself is a reference to a `Sync` closure.
unsafe impl Send for Shared {}

/// The pool. Dropping it ends its threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `n` threads, the caller included.
    pub(crate) fn new(n: usize) -> Result<Pool, BackendError> {
        let n = n.max(1);
        let shared = Arc::new(Shared {
            epoch: Padded(AtomicU32::new(0)),
            done: Padded(AtomicU32::new(0)),
            panicked: AtomicBool::new(false),
            region: UnsafeCell::new(None),
            parked: (1..n).map(|_| Padded(AtomicBool::new(false))).collect(),
        });
        let mut pool = Pool { shared, workers: Vec::with_capacity(n - 1) };
        for index in 1..n {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("wingbeat-cpu-{index}"))
                .spawn(move || work(&shared, index))
                .map_err(|source| BackendError::Threads { index, wanted: n, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Number of threads, the caller included.
    pub(crate) fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `region(thread)` once on every thread and returns when all are through.
    ///
    /// # Panics
    /// If the region panics on any thread.
    pub(crate) fn run(&mut self, region: Region<'_>) {
        if self.workers.is_empty() {
            return region(0);
        }
        let shared = &*self.shared;
        // SAFETY: the lifetime is extended only until this function returns: it waits for every worker to be done
        // with the region, also when the region panics here.
        let region_static = unsafe { std::mem::transmute::<Region<'_>, Region<'static>>(region) };
        shared.done.0.store(0, Relaxed);
        // SAFETY: no worker reads the cell now: all have reported the last epoch done.
        unsafe { *shared.region.get() = Some(region_static) };
        self.wake();
        let here = catch_unwind(AssertUnwindSafe(|| region(0)));
        let all = self.workers.len() as u32;
        let mut waited = 0;
        while shared.done.0.load(Acquire) != all {
            waited += 1;
            if waited < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if let Err(panic) = here {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Relaxed), "a worker thread panicked");
    }

    /// Publishes a new epoch and wakes the workers that sleep.
    fn wake(&self) {
        self.shared.epoch.0.fetch_add(1, SeqCst);
        for (worker, parked) in self.workers.iter().zip(&self.shared.parked) {
            if parked.0.swap(false, SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: as in `run`, no worker reads the cell now.
        unsafe { *self.shared.region.get() = None };
        self.wake();
        for worker in self.workers.drain(..) {
            // A worker catches its panics, so joining cannot fail.
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, index: usize) {
    let parked = &shared.parked[index - 1].0;
    let mut seen = 0;
    loop {
        let mut waited = 0;
        while shared.epoch.0.load(Acquire) == seen {
            waited += 1;
            if waited < SPINS {
                std::hint::spin_loop();
            } else if waited < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                // The flag goes up before the epoch is looked at again, and the caller moves the epoch before it looks
                // at the flag: one of the two sees the other.
                parked.store(true, SeqCst);
                if shared.epoch.0.load(SeqCst) == seen {
                    std::thread::park();
                }
                parked.store(false, SeqCst);
            }
        }
        seen = seen.wrapping_add(1);
        // SAFETY: the epoch's release made the write visible, and the caller writes again only after `done`.
        let Some(region) = (unsafe { *shared.region.get() }) else { return };
        if catch_unwind(AssertUnwindSafe(|| region(index))).is_err() {
            shared.panicked.store(true, Relaxed);
        }
        shared.done.0.fetch_add(1, Release);
    }
}

/// The `index`-th of `n` nearly equal contiguous shares of `0..len`, cut at multiples of `step`.
pub(crate) fn share(len: usize, step: usize, index: usize, n: usize) -> std::ops::Range<usize> {
    let steps = len.div_ceil(step);
    let at = |i: usize| (steps * i / n * step).min(len);
    at(index)..at(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_thread_runs_every_region_once() {
        for n in [1, 2, 3, 7] {
            let mut pool = Pool::new(n).unwrap();
            let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            for round in 0..500 {
                if round % 100 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(5)); // let workers park
                }
                pool.run(&|thread| {
                    counts[thread].fetch_add(1, Relaxed);
                });
            }
            assert!(counts.iter().all(|c| c.load(Relaxed) == 500), "{n} threads: {counts:?}");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(3).unwrap();
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| pool.run(&|t| assert_ne!(t, bad, "deliberate"))));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(&|t| {
            sum.fetch_add(t, Relaxed);
        });
        assert_eq!(sum.into_inner(), 3);
    }

    #[test]
    fn shares_cover_everything_once() {
        for len in [0, 1, 15, 16, 17, 100, 4096] {
            for n in [1, 2, 3, 16] {
                let mut next = 0;
                for i in 0..n {
                    let s = share(len, 16, i, n);
                    assert_eq!(s.start, next);
                    next = s.end;
                }
                assert_eq!(next, len);
            }
        }
    }
}
