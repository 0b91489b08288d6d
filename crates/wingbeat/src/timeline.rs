//! Where the time of a start goes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One step of opening a model; steps may overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub what: &'static str,
    /// When it began, since opening began.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
}

/// The steps so far.
pub(crate) struct Timeline {
    origin: Instant,
    steps: Mutex<Vec<Step>>,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline { origin: Instant::now(), steps: Mutex::new(Vec::new()) }
    }

    /// Runs a step and notes its time.
    pub(crate) fn step<T>(&self, what: &'static str, run: impl FnOnce() -> T) -> T {
        let start = self.origin.elapsed();
        let result = run();
        let duration = self.origin.elapsed().saturating_sub(start);
        // A list of steps is whole whatever happened to a thread that held the lock.
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(Step { what, start, duration });
        result
    }

    /// The steps, in the order in which they began.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        steps.sort_by_key(|step| step.start);
        steps
    }
}
