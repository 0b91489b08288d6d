//! How often things are timed, and what is said of the times: as `wingbeat bench` does.

use anyhow::Result;
use std::time::{Duration, Instant};

/// Runs at least, after the warm-up.
const MIN_RUNS: usize = 3;
/// Runs at most: enough for any median.
const MAX_RUNS: usize = 10_000;

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        let n = figures.len();
        let at = |i: usize| figures.get(i).copied().unwrap_or(f64::NAN);
        let median = if n % 2 == 1 { at(n / 2) } else { 0.5 * (at((n / 2).wrapping_sub(1)) + at(n / 2)) };
        Spread { median, min: at(0), max: at(n.wrapping_sub(1)), runs: n }
    }

    /// The same runs in another unit, which may be the other way round.
    pub(crate) fn map(self, figure: impl Fn(f64) -> f64) -> Spread {
        let (a, b) = (figure(self.min), figure(self.max));
        Spread { median: figure(self.median), min: a.min(b), max: a.max(b), runs: self.runs }
    }
}

/// The figure of each run: `figure` of its seconds. One run warms up, the others are as many as fit into the budget,
/// three at least.
pub(crate) fn time(
    budget: Duration,
    mut run: impl FnMut() -> Result<()>,
    figure: impl Fn(f64) -> f64,
) -> Result<Spread> {
    run()?;
    let started = Instant::now();
    let mut figures = Vec::new();
    while figures.len() < MIN_RUNS || (started.elapsed() < budget && figures.len() < MAX_RUNS) {
        let begun = Instant::now();
        run()?;
        figures.push(figure(begun.elapsed().as_secs_f64()));
    }
    Ok(Spread::of(figures))
}

/// A run's seconds, by as few runs as will do to choose a way by: one if it takes long, otherwise the better of two
/// after one that warms up.
pub(crate) fn glance(budget: Duration, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut timed = || -> Result<Duration> {
        let begun = Instant::now();
        run()?;
        Ok(begun.elapsed())
    };
    let first = timed()?;
    let best = if first > budget / 2 { first } else { timed()?.min(timed()?) };
    Ok(best.as_secs_f64())
}
