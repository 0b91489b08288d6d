//! How often things are timed, and what is said of the times.

use crate::interrupt::Interrupt;
use anyhow::bail;
use std::time::{Duration, Instant};

/// Runs at least, after the warm-up.
const MIN_RUNS: usize = 3;
/// Runs at most: enough for any median.
const MAX_RUNS: usize = 10_000;

/// When a measurement is over.
pub(super) struct Clock<'a> {
    /// For the runs after the warm-up; three there are in any case.
    pub(super) budget: Duration,
    pub(super) interrupt: &'a Interrupt,
}

/// Times of equal runs after a warm-up, in seconds.
pub(super) struct Samples {
    /// At least one.
    times: Vec<f64>,
}

impl Clock<'_> {
    /// Runs `run` once to warm up and then as often as the budget allows.
    pub(super) fn time(&self, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Samples> {
        self.timed(|| {
            let started = Instant::now();
            run()?;
            Ok(started.elapsed())
        })
    }

    /// As [`Clock::time`], of a run that says itself how long it took.
    pub(super) fn timed(&self, mut run: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Samples> {
        run()?;
        let started = Instant::now();
        let mut times: Vec<f64> = Vec::new();
        while times.len() < MIN_RUNS || (started.elapsed() < self.budget && times.len() < MAX_RUNS) {
            if self.interrupt.requested() {
                bail!("interrupted");
            }
            times.push(run()?.as_secs_f64());
        }
        Ok(Samples { times })
    }
}

impl Samples {
    /// Every run's figure: `figure` of its seconds.
    pub(super) fn figures(&self, figure: impl Fn(f64) -> f64) -> Vec<f64> {
        self.times.iter().map(|&seconds| figure(seconds)).collect()
    }
}

/// A figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
    /// Standard deviation of a sample.
    pub(super) deviation: f64,
    pub(super) runs: usize,
}

impl Spread {
    /// Of at least one figure.
    pub(super) fn of(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        let n = figures.len();
        let at = |i: usize| figures.get(i).copied().unwrap_or(f64::NAN);
        let median = if n % 2 == 1 { at(n / 2) } else { 0.5 * (at((n / 2).wrapping_sub(1)) + at(n / 2)) };
        let mean = figures.iter().sum::<f64>() / n as f64;
        let squares: f64 = figures.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = (squares / (n.max(2) - 1) as f64).sqrt();
        Spread { median, min: at(0), max: at(n.wrapping_sub(1)), mean, deviation, runs: n }
    }
}
