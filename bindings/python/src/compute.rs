//! Computing with the interpreter free: other Python threads run, Ctrl-C is heard, and a bar shows how far it is.
//!
//! Everything that takes longer than a few microseconds goes through [`compute`]. The engine calls back after every pass;
//! a tenth of a second after the last time, the interpreter is asked for signals.

use crate::errors::{About, exception};
use pyo3::{intern, prelude::*};
use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use wingbeat::{Error, ModelError, Progress};

/// How often signals are asked for and the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
/// Columns of the bar.
const BAR_COLUMNS: usize = 30;

/// Time that calls spent in the engine, all threads together.
static ENGINE_NANOS: AtomicU64 = AtomicU64::new(0);

/// Seconds that calls spent in the engine since the import, of all threads together: what a call took beyond them is
/// Python's share. For benchmarks.
#[pyfunction]
pub(crate) fn _engine_seconds() -> f64 {
    ENGINE_NANOS.load(Ordering::Relaxed) as f64 * 1e-9
}

/// Looks after a call that computes.
pub(crate) struct Watch {
    since: Instant,
    last: Instant,
    /// What the bar is of; none where there is none.
    bar: Option<&'static str>,
    /// Whether a bar was drawn.
    is_drawn: bool,
    raised: Option<PyErr>,
}

impl Watch {
    /// Whether to go on; after a signal whose handler raised, not.
    pub(crate) fn goes_on(&mut self, progress: Option<Progress>) -> bool {
        if self.raised.is_some() {
            return false;
        }
        let now = Instant::now();
        let is_last = progress.is_some_and(|progress| progress.done >= progress.total);
        if now - self.last < INTERVAL && !(is_last && self.bar.is_some()) {
            return true;
        }
        let result = Python::attach(|py| {
            if let (Some(what), Some(progress)) = (self.bar, progress) {
                self.is_drawn = true;
                draw(py, &bar_text(what, progress, now - self.since))?;
            }
            py.check_signals()
        });
        self.raised = result.err();
        self.last = Instant::now();
        self.raised.is_none()
    }

    /// As the callback of the engine's calls.
    pub(crate) fn progress(&mut self) -> impl FnMut(Progress) -> bool + '_ {
        |progress| self.goes_on(Some(progress))
    }

    /// What a loop returns that is not to go on; the exception that was raised takes its place.
    pub(crate) fn stopped(&self) -> Error {
        ModelError::Stopped { done: 0, total: 0 }.into()
    }
}

/// Runs `work` without holding the interpreter. `bar`: what a progress bar on standard error says; none: no bar.
pub(crate) fn compute<T: Send>(
    py: Python<'_>,
    about: About,
    bar: Option<&'static str>,
    work: impl FnOnce(&mut Watch) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let since = Instant::now();
    let mut watch = Watch { since, last: since, bar, is_drawn: false, raised: None };
    let result = py.detach(|| {
        let since = Instant::now();
        let result = work(&mut watch);
        ENGINE_NANOS.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    });
    if watch.is_drawn {
        draw(py, "\n")?;
    }
    match watch.raised {
        Some(raised) => Err(raised),
        None => result.map_err(|error| exception(error, about)),
    }
}

/// A line that replaces the one before.
fn bar_text(what: &str, Progress { done, total }: Progress, elapsed: Duration) -> String {
    let part = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let n_filled = ((part * BAR_COLUMNS as f64) as usize).min(BAR_COLUMNS);
    let mut text = format!("\r{what}: {:3.0}% |", part * 100.0);
    text.extend((0..BAR_COLUMNS).map(|column| if column < n_filled { '█' } else { ' ' }));
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    // Writing to a string cannot fail.
    let _ = write!(text, "| {done}/{total} tokens, {rate:.0}/s ");
    text
}

/// Writes to Python's standard error, which need not be the process's (a notebook's is not).
fn draw(py: Python<'_>, text: &str) -> PyResult<()> {
    let stderr = py.import(intern!(py, "sys"))?.getattr(intern!(py, "stderr"))?;
    if stderr.is_none() {
        return Ok(());
    }
    stderr.call_method1(intern!(py, "write"), (text,))?;
    stderr.call_method0(intern!(py, "flush"))?;
    Ok(())
}
