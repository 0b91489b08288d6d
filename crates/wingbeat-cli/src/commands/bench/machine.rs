//! Figures of the machine and of this process: what memory can deliver, what it holds.

use super::{
    measure::{Clock, Spread},
    report::{Report, Unit},
};
use std::{fs, hint::black_box, time::Instant};

/// Bytes read for the bandwidth: far more than any cache.
const BANDWIDTH_BYTES: usize = 512 << 20;
/// Sums side by side, so that no addition waits for another.
const LANES: usize = 8;

/// `read_gb_s`: reads a large buffer with all threads, a contiguous part each. Nothing where there is no memory for the buffer.
pub(super) fn read_bandwidth(clock: &Clock<'_>, n_threads: usize, report: &mut Report) -> anyhow::Result<()> {
    let n = BANDWIDTH_BYTES / size_of::<u64>();
    let mut buffer: Vec<u64> = Vec::new();
    if buffer.try_reserve_exact(n).is_err() {
        return Ok(());
    }
    // Every page is written: pages of zeros would all be one.
    buffer.extend(0..n as u64);
    let share = n.div_ceil(n_threads).max(1);
    let samples = clock.timed(|| {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let mut shares = buffer.chunks(share);
            let own = shares.next();
            let spawn = |part| std::thread::Builder::new().spawn_scoped(scope, move || black_box(sum(part)));
            let threads: Vec<_> = shares.map(spawn).collect();
            black_box(own.map(sum));
            // Threads that started are joined at the end of the scope.
            threads.into_iter().find_map(Result::err)
        })
        .map_or_else(|| Ok(started.elapsed()), |error| Err(error.into()))
    })?;
    let spread = Spread::of(samples.figures(|seconds| BANDWIDTH_BYTES as f64 / seconds / 1e9));
    report.push("read_gb_s", Unit::GigabytesPerSecond, spread);
    Ok(())
}

fn sum(values: &[u64]) -> u64 {
    let mut sums = [0u64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().chain(rest).fold(0, |sum, value| sum.wrapping_add(*value))
}

/// A line of this process's status, in MB (2²⁰ bytes): `VmHWM`, `VmRSS`, `RssAnon`, `RssFile`. Only Linux has it.
pub(super) fn status_mb(key: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
