//! `--profile`: where a device's time goes, kernel by kernel.

use crate::failure;
use anyhow::Context;
use clap::Args;
use std::fmt::Write;
use wingbeat::{KernelTime, Model};

/// The flag of the commands that run a model for long enough.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ProfileArgs {
    /// Print the time of each kernel at the end: GPUs only, and slower, as one kernel runs at a time
    #[arg(long)]
    profile: bool,
}

impl ProfileArgs {
    /// Begins to measure, if that was asked for.
    pub(crate) fn begin(&self, model: &Model) -> anyhow::Result<()> {
        if self.profile { model.profile(true).context("--profile") } else { Ok(()) }
    }

    /// Prints what was measured.
    pub(crate) fn end(&self, model: &Model) -> anyhow::Result<()> {
        if !self.profile {
            return Ok(());
        }
        let times = model.kernel_times();
        model.profile(false)?;
        failure::note(table(&times, model.read_bandwidth()).trim_end());
        Ok(())
    }
}

/// A line for each kernel, the longest first, and one for all; `bandwidth` is in bytes a second.
fn table(times: &[KernelTime], bandwidth: Option<f64>) -> String {
    const HEADS: [&str; 7] = ["runs", "total ms", "share", "us a run", "GB/s", "of reads", "TFLOP/s"];
    let mut all = KernelTime { name: "all", ..KernelTime::default() };
    for time in times {
        all.runs += time.runs;
        all.seconds += time.seconds;
        all.bytes += time.bytes;
        all.flops += time.flops;
    }
    let width = times.iter().map(|time| time.name.len()).max().unwrap_or(0).max("kernel".len());
    let mut text = format!("{:width$}", "kernel");
    for head in HEADS {
        let _ = write!(text, " {head:>9}");
    }
    text.push('\n');
    for time in times.iter().chain([&all]) {
        let seconds = time.seconds.max(1e-12);
        let rate = time.bytes as f64 / seconds;
        let of_reads = bandwidth.map_or_else(|| "-".to_owned(), |all| format!("{:.1} %", 100.0 * rate / all));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:width$} {:>9} {:>9.3} {:>9} {:>9.2} {:>9.2} {of_reads:>9} {:>9.3}",
            time.name,
            time.runs,
            time.seconds * 1e3,
            format!("{:.1} %", 100.0 * time.seconds / all.seconds.max(1e-12)),
            seconds * 1e6 / time.runs.max(1) as f64,
            rate / 1e9,
            time.flops as f64 / seconds / 1e12,
        );
    }
    if let Some(bandwidth) = bandwidth {
        let _ =
            writeln!(text, "reads: a kernel that does nothing else reads {:.1} GB/s here", bandwidth / 1e9);
    }
    text
}

#[cfg(test)]
mod tests;
