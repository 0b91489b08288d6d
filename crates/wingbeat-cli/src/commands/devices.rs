//! `wingbeat devices`: what this machine can run models on.

use crate::output;
use clap::Args;
use std::{env::consts::ARCH, fs, process::ExitCode};
use wingbeat::Level;

/// Show what models can run on
#[derive(Args)]
pub(crate) struct Devices {}

impl Devices {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let levels: Vec<String> = Level::available().iter().map(Level::to_string).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        output::print(format!(
            "cpu        {}\n           instructions {} (available: {}), threads {threads}\n\
             reference  plain loops on one thread, for checking\n",
            processor_name().unwrap_or_else(|| format!("a processor of type {ARCH}")),
            Level::best(),
            levels.join(", "),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The processor's name as its maker writes it: the system's files on Linux, its tool on macOS, the environment on
/// Windows; each is tried wherever it is.
pub(super) fn processor_name() -> Option<String> {
    let from_linux = || {
        let text = fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    from_linux().or_else(from_macos).or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

#[cfg(target_os = "macos")]
fn from_macos() -> Option<String> {
    let output =
        std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(not(target_os = "macos"))]
fn from_macos() -> Option<String> {
    None
}
