//! How often things are timed, and the one line that says what came of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value, json};

/// Runs at least, after the warm-up.
const MIN_RUNS: usize = 3;
/// Runs at most: enough for any median.
const MAX_RUNS: usize = 10_000;

/// When a measurement is over: after this time, and [`MIN_RUNS`] in any case.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) budget: Duration,
}

impl Clock {
    /// Seconds of each run, after one that warms up and does not count.
    pub(crate) fn time(self, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        run()?;
        let (started, mut seconds) = (Instant::now(), Vec::new());
        while seconds.len() < MIN_RUNS || (started.elapsed() < self.budget && seconds.len() < MAX_RUNS) {
            let run_started = Instant::now();
            run()?;
            seconds.push(run_started.elapsed().as_secs_f64());
        }
        Ok(seconds)
    }
}

/// What is printed in the end: figures, and what there are none of.
#[derive(Default)]
pub(crate) struct Report {
    entries: Map<String, Value>,
    cannot: Map<String, Value>,
}

impl Report {
    /// Something that was not timed, or only once.
    pub(crate) fn put(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.entries.insert(key.into(), value.into());
    }

    /// The median of some runs' figures, with the least and the greatest and how many there are beside it.
    pub(crate) fn put_runs(&mut self, key: &str, figures: impl Iterator<Item = f64>) {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        self.put(key, json!(median(&figures)));
        self.put(format!("{key}_min"), json!(figures.first()));
        self.put(format!("{key}_max"), json!(figures.last()));
        self.put(format!("{key}_runs"), figures.len());
    }

    /// A figure that there is none of, and why.
    pub(crate) fn cannot(&mut self, key: impl Into<String>, why: &str) {
        self.cannot.insert(key.into(), why.into());
    }

    /// Adds another's figures.
    pub(crate) fn append(&mut self, mut other: Report) {
        self.entries.append(&mut other.entries);
        self.cannot.append(&mut other.cannot);
    }

    /// One JSON object on one line.
    pub(crate) fn into_line(mut self) -> String {
        if !self.cannot.is_empty() {
            self.entries.insert("cannot".into(), Value::Object(self.cannot));
        }
        Value::Object(self.entries).to_string()
    }
}

/// The median of sorted figures; none of none.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(0.5 * (upper + lower))
}

/// The most memory that this process had at once, in MiB; none where the system does not say.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
