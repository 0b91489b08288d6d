//! `wingbeat devices`: what this machine can run models on.

use crate::output;
use clap::Args;
use serde_json::{Value, json};
use std::{env::consts::ARCH, fmt::Write, fs, process::ExitCode};
use wingbeat::{AdapterKind, AdapterSummary, Level, adapters};

/// Show what models can run on
#[derive(Args)]
#[command(after_help = "\
The first column is what --device takes; it takes a part of a GPU's name, too, and `gpu` is the first one. Without \
--device a model runs on the first GPU that is made of hardware and has room for it, else on the CPU. GPUs are found through \
Vulkan, Metal or DirectX 12; memory is shown where the driver tells.

Examples:
  wingbeat devices
  wingbeat generate --device gpu:0 \"It was a dark and stormy night\"")]
pub(crate) struct Devices {
    /// Print {cpu, gpus, auto}
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let adapters = adapters();
        if self.json {
            output::print_json(&as_json(&adapters))?;
        } else {
            output::print(as_text(&adapters))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a model runs on that has room there, if nobody says.
fn automatic(adapters: &[AdapterSummary]) -> String {
    let hardware = adapters.iter().position(|adapter| adapter.kind > AdapterKind::Software);
    hardware.map_or_else(|| "cpu".to_owned(), |number| format!("gpu:{number}"))
}

fn as_text(adapters: &[AdapterSummary]) -> String {
    let levels: Vec<String> = Level::available().iter().map(Level::to_string).collect();
    let mut text = format!(
        "cpu        {}\n           instructions {} (available: {}), threads {}\n",
        processor(),
        Level::best(),
        levels.join(", "),
        threads()
    );
    for (number, adapter) in adapters.iter().enumerate() {
        let memory = match adapter.memory_bytes {
            Some(bytes) => format!("{:.1} GB", bytes as f64 / 1e9),
            None => "unknown".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<10} {} ({})\n           {}, driver {}, memory {memory}\n           {}",
            format!("gpu:{number}"),
            adapter.name,
            adapter.kind,
            adapter.api,
            if adapter.driver.is_empty() { "unknown" } else { &adapter.driver },
            adapter.capabilities
        );
    }
    if adapters.is_empty() {
        text += "gpu        none found: is there a driver for Vulkan, Metal or DirectX 12?\n";
    }
    text += "reference  plain loops on one thread, for checking\n";
    let _ = writeln!(text, "auto       {}", automatic(adapters));
    text
}

fn as_json(adapters: &[AdapterSummary]) -> Value {
    let levels: Vec<String> = Level::available().iter().map(Level::to_string).collect();
    let gpu = |(number, adapter): (usize, &AdapterSummary)| {
        let can = &adapter.capabilities;
        json!({
            "device": format!("gpu:{number}"),
            "name": adapter.name,
            "kind": adapter.kind.to_string(),
            "api": adapter.api,
            "driver": adapter.driver,
            "memory_bytes": adapter.memory_bytes,
            "subgroup": can.subgroup,
            "f16": can.f16,
            "cooperative": can.cooperative,
            "packed_dot": can.packed_dot,
            "timestamps": can.timestamps,
            "pipeline_cache": can.pipeline_cache,
            "workgroup_bytes": can.workgroup_bytes,
            "workgroup_threads": can.workgroup_threads,
            "binding_bytes": can.binding_bytes,
        })
    };
    let cpu = json!({ "name": processor(), "level": Level::best().to_string(), "levels": levels, "threads": threads() });
    let gpus: Vec<Value> = adapters.iter().enumerate().map(gpu).collect();
    json!({ "cpu": cpu, "gpus": gpus, "auto": automatic(adapters) })
}

fn processor() -> String {
    processor_name().unwrap_or_else(|| format!("a processor of type {ARCH}"))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
