//! `wingbeat convert`: a model into another file format or storage type.

use crate::{
    args::{AdapterArgs, Global, VocabularyArgs},
    hub,
    interrupt::Interrupt,
    output,
    progress::Progress,
};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};
use wingbeat::{
    ModelFile,
    convert::{ConvertOptions, Converted, Mix, Target, convert},
};

/// Convert a model to another file format or storage type
#[derive(Args)]
#[command(after_help = "\
Matrices get the type asked for; vectors and small matrices, which suffer from it, keep more bits. As llama.cpp's \
quantizer does it, the head is in Q6_K in all types of less than eight bits, and rows that are no multiple of 256 get a \
type with smaller blocks.

With --lora the adapters are merged into what is written; quantized matrices that they change become F16 where no --type is \
given.

Examples:
  wingbeat convert model.safetensors model.gguf
  wingbeat convert model.gguf small.gguf --type q8_0
  wingbeat convert model.pth smaller.gguf --type q4_k_m
  wingbeat convert model.gguf model.pth --type bf16
  wingbeat convert model.gguf model-hf --to hf --type bf16
  wingbeat convert model.st own.gguf --vocab vocab.txt
  wingbeat convert model.pth tuned.gguf --lora rwkv-0.pth --lora-alpha 64 --type q8_0")]
pub(crate) struct Convert {
    /// Model file or folder: GGUF, safetensors, .pth, .bin of rwkv.cpp, or Hugging Face's layout; or hf:USER/REPO[:TYPE]
    #[arg(value_name = "IN")]
    source: PathBuf,
    /// File to write; its ending names the format: .gguf, .safetensors or .st, .pth, .bin
    #[arg(value_name = "OUT")]
    target: PathBuf,
    /// Format to write: gguf, safetensors, pth, bin, or hf for a folder as Hugging Face has RWKV-7 [default: as the
    /// ending says]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    to: Option<Target>,
    /// Type of the matrices: f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q3_k_m, q2_k, q5_1, q5_0, q4_1 or q4_0
    /// [default: as they are]
    #[arg(long = "type", value_name = "TYPE", value_parser = mix)]
    mix: Option<Mix>,
    #[command(flatten)]
    adapters: AdapterArgs,
    #[command(flatten)]
    vocabulary: VocabularyArgs,
    /// The model's name, kept in the file [default: as it is]
    #[arg(long)]
    name: Option<String>,
}

impl Convert {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let options = ConvertOptions {
            mix: self.mix,
            vocabulary: self.vocabulary.read()?,
            name: self.name.clone(),
            to: self.to,
            adapters: self.adapters.list(),
        };
        let source = ModelFile::open(hub::locate(&self.source, global.quiet)?)?;
        let interrupt = Interrupt::heed()?;
        let bar = Progress::new(!global.quiet, "converting", "tensors", source.tensors().len());
        let converted = convert(&source, &self.target, &options, &mut |done, total| {
            bar.set(done, total);
            !interrupt.requested()
        });
        drop(bar);
        let converted = match converted {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            converted => converted?,
        };
        if !global.quiet {
            let n_bytes = ModelFile::open(&self.target)?.len_bytes();
            output::print(self.result(converted, n_bytes))?;
        }
        Ok(interrupt.exit_code())
    }

    fn result(&self, converted: Converted, n_bytes: u64) -> String {
        let Converted { format, n_tensors, has_vocabulary } = converted;
        let vocabulary = if has_vocabulary { "with" } else { "without" };
        let (file, format) = (self.target.display(), format.name());
        format!("{file}: {format}, {n_tensors} tensors, {n_bytes} bytes, {vocabulary} a vocabulary\n")
    }
}

/// The format that an argument names.
fn format(name: &str) -> Result<Target, String> {
    let known = || Target::names().collect::<Vec<_>>().join(", ");
    Target::parse(name).ok_or_else(|| format!("formats to convert to are {}", known()))
}

/// The mix of types that an argument names.
pub(super) fn mix(name: &str) -> Result<Mix, String> {
    let known = || Mix::NAMED.map(Mix::name).join(", ");
    Mix::parse(name).ok_or_else(|| format!("types to convert to are {}", known()))
}
