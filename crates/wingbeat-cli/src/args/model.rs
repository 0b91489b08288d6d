//! Which model, and where it runs.

use crate::{args::AdapterArgs, demo, hub};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wingbeat::{CpuOptions, Device, Model, ModelOptions};

/// Threads at most, the library's own limit.
const MAX_THREADS: usize = 1024;

/// Flags of the commands that run a model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Model file or folder (GGUF, safetensors, .pth, .bin of rwkv.cpp, or Hugging Face's layout), or
    /// hf:USER/REPO[:TYPE] of the Hugging Face hub [default: the demo model]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Vocabulary in the official text format, instead of the model's own or the World one
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
    #[command(flatten)]
    adapters: AdapterArgs,
    /// Where to run it: auto, cpu, gpu, gpu:N, a part of a GPU's name, or reference (slow and exact, for checking)
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Threads of the cpu device [default: one a core]
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Arithmetic on quantized weights: auto rounds activations to 8 bits where that is fast, exact never does
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
    #[arg(from_global)]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    Auto,
    Exact,
}

impl ModelArgs {
    /// Opens the model.
    pub(crate) fn open(&self) -> anyhow::Result<Model> {
        let options = ModelOptions {
            device: self.device(),
            vocabulary: self.vocab.clone(),
            adapters: self.adapters.list(),
        };
        let model = match &self.model {
            Some(name) => Model::open_with(hub::locate(name, self.quiet)?, &options)?,
            None => Model::from_file(demo::file()?, &options)?,
        };
        for note in model.notes() {
            crate::failure::note(note);
        }
        Ok(model)
    }

    /// Puts the file in the place of a name of the hub, so that opening it again asks nobody.
    pub(crate) fn locate(&mut self) -> anyhow::Result<()> {
        self.model = hub::locate_some(&self.model, self.quiet)?.map(|path| path.into_owned());
        Ok(())
    }

    /// Opens another model on the same device, with its own vocabulary.
    pub(crate) fn open_other(&self, path: &Path) -> anyhow::Result<Model> {
        let options = ModelOptions { device: self.device(), ..ModelOptions::default() };
        Ok(Model::open_with(hub::locate(path, self.quiet)?, &options)?)
    }

    fn device(&self) -> Device {
        let exact = self.precision == Precision::Exact;
        match self.device.clone() {
            Device::Auto(cpu) => Device::Auto(CpuOptions { threads: self.threads, exact, ..cpu }),
            Device::Cpu(cpu) => Device::Cpu(CpuOptions { threads: self.threads, exact, ..cpu }),
            Device::Gpu(mut gpu) => {
                gpu.exact = exact;
                Device::Gpu(gpu)
            }
            other => other,
        }
    }

    /// Threads of the cpu device.
    pub(crate) fn n_threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=MAX_THREADS).contains(&n) => Ok(n),
        _ => Err(format!("expected 1 to {MAX_THREADS} threads")),
    }
}
