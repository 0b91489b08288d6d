//! `wingbeat quantize`: a model in fewer bits.

use crate::{
    args::{Global, VocabularyArgs, bytes, count},
    hub, input,
    interrupt::Interrupt,
    output,
    progress::Progress,
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::{fmt::Write, path::PathBuf, process::ExitCode};
use wingbeat::{
    DType, Importance, ModelFile, Vocabulary,
    convert::{Goal, Mix, QuantizeOptions, Quantized, Recipe, quantize},
};

/// Quantize a model: the same weights in fewer bits, as GGUF
#[derive(Args)]
#[command(after_help = "\
Matrices get types by the error that they make, measured, and by what an error in matrices of their kind costs; the file is \
no larger than llama.cpp's of the same type, and closer to the original. --recipe llama.cpp gives types as llama.cpp's \
quantizer does. Every type is one that llama.cpp reads.

Examples:
  wingbeat quantize model.safetensors model-q4_k_m.gguf --type q4_k_m
  wingbeat quantize model.pth small.gguf --type auto-800M --calibrate text.txt
  wingbeat quantize model.gguf own.gguf --type q4_k_m --tensor att.key=q6_k --tensor head=q8_0")]
pub(crate) struct Quantize {
    /// Model file or folder, or hf:USER/REPO[:TYPE] of the Hugging Face hub
    #[arg(value_name = "IN")]
    source: PathBuf,
    /// GGUF file to write
    #[arg(value_name = "OUT")]
    target: PathBuf,
    /// f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m, q3_k_m, q2_k, q5_1, q5_0, q4_1 or q4_0; or auto-SIZE, such as auto-500M
    /// or auto-2G (powers of 1024): the finest types whose file is no larger
    #[arg(long = "type", value_name = "TYPE", value_parser = goal)]
    goal: Goal,
    /// Which matrices get which type
    #[arg(long, value_enum, default_value_t = RecipeArg::Wingbeat)]
    recipe: RecipeArg,
    /// A matrix's type, whatever the recipe says; NAME is an official name or its end, such as blocks.3.att.key, att.key or
    /// emb; may be repeated, the last one counts
    #[arg(long = "tensor", value_name = "NAME=TYPE", value_parser = tensor)]
    tensors: Vec<(String, DType)>,
    /// Let the model read this text first, and weigh errors by what each column of a matrix is multiplied with
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Tokens of the text that it reads at most
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = count, requires = "calibrate")]
    tokens: usize,
    /// Weigh errors by an importance matrix (GGUF), as llama.cpp's tool or --save-imatrix writes it
    #[arg(long, value_name = "FILE", conflicts_with = "calibrate")]
    imatrix: Option<PathBuf>,
    /// Keep what --calibrate gathers in a file that llama.cpp's quantizer reads too
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    save_imatrix: Option<PathBuf>,
    /// Print {file, bytes, bits_per_weight, tensors, types: [{type, tensors, bytes, kinds}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    vocabulary: VocabularyArgs,
    /// The model's name, kept in the file [default: as it is]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecipeArg {
    /// By measured errors
    Wingbeat,
    /// As llama.cpp's quantizer: one type for all but the head
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

impl Quantize {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let source = ModelFile::open(hub::locate(&self.source, global.quiet)?)?;
        let vocabulary = self.vocabulary.read()?;
        let interrupt = Interrupt::heed()?;
        let importance = match self.importance(&source, vocabulary.as_ref(), global, &interrupt) {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            importance => importance?,
        };
        let options = QuantizeOptions {
            goal: self.goal,
            recipe: match self.recipe {
                RecipeArg::Wingbeat => Recipe::Wingbeat,
                RecipeArg::LlamaCpp => Recipe::LlamaCpp,
            },
            importance,
            types: self.tensors.clone(),
            vocabulary,
            name: self.name.clone(),
        };
        let bar = Progress::new(!global.quiet, "quantizing", "tensors", source.tensors().len());
        let quantized = quantize(&source, &self.target, &options, &mut |done, total| {
            bar.set(done, total);
            !interrupt.requested()
        });
        drop(bar);
        let quantized = match quantized {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            quantized => quantized?,
        };
        if self.json {
            output::print_json(&self.json(&quantized))?;
        } else if !global.quiet {
            output::print(self.text(&quantized))?;
        }
        Ok(interrupt.exit_code())
    }

    /// What columns count, if something is to say so.
    fn importance(
        &self,
        source: &ModelFile,
        vocabulary: Option<&Vocabulary>,
        global: Global,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<Importance>> {
        if let Some(path) = &self.imatrix {
            return Ok(Some(Importance::load(path, source)?));
        }
        let Some(path) = &self.calibrate else { return Ok(None) };
        let text = input::read(path)?;
        let bar = Progress::new(!global.quiet, "calibrating", "tokens", 0);
        let importance = Importance::of_text(source, vocabulary, &text, Some(self.tokens), &mut |progress| {
            bar.set(progress.done, progress.total);
            !interrupt.requested()
        });
        drop(bar);
        let importance = importance.with_context(|| path.display().to_string())?;
        if let Some(file) = &self.save_imatrix {
            importance.save(file, source, &path.display().to_string())?;
        }
        Ok(Some(importance))
    }

    fn json(&self, quantized: &Quantized) -> serde_json::Value {
        let types: Vec<_> = quantized
            .types
            .iter()
            .map(|share| {
                let kinds: serde_json::Map<String, serde_json::Value> =
                    share.kinds.iter().map(|&(kind, n)| (kind.to_owned(), n.into())).collect();
                serde_json::json!({
                    "type": share.dtype.name(),
                    "tensors": share.n_tensors,
                    "bytes": share.n_bytes,
                    "kinds": kinds,
                })
            })
            .collect();
        serde_json::json!({
            "file": self.target.display().to_string(),
            "bytes": quantized.file_bytes,
            "bits_per_weight": quantized.bits_per_weight(),
            "tensors": quantized.converted.n_tensors,
            "types": types,
        })
    }

    /// A line for the file, and one for each type.
    fn text(&self, quantized: &Quantized) -> String {
        let file = self.target.display();
        let (n_bytes, bits) = (quantized.file_bytes, quantized.bits_per_weight());
        let vocabulary = if quantized.converted.has_vocabulary { "with" } else { "without" };
        let n_tensors = quantized.converted.n_tensors;
        let mut text = format!(
            "{file}: {n_bytes} bytes, {bits:.3} bits per weight, {n_tensors} tensors, {vocabulary} a vocabulary\n"
        );
        for share in &quantized.types {
            let kinds: Vec<String> = share.kinds.iter().map(|(kind, n)| format!("{kind} ({n})")).collect();
            let kinds =
                if kinds.is_empty() { "vectors and low-rank matrices".to_owned() } else { kinds.join(", ") };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {:5} {:>12} bytes  {kinds}", share.dtype.name(), share.n_bytes);
        }
        text
    }
}

/// What an argument says the file is to be.
fn goal(text: &str) -> Result<Goal, String> {
    if let Some(size) = text.get(..5).filter(|start| start.eq_ignore_ascii_case("auto-")).and(text.get(5..)) {
        return bytes(size).map(Goal::Bytes).map_err(|why| format!("the size of auto-SIZE: {why}"));
    }
    let known = || Mix::NAMED.map(Mix::name).join(", ");
    Mix::parse(text).map(Goal::Mix).ok_or_else(|| format!("types to quantize to are {}, auto-SIZE", known()))
}

/// A matrix's name and type.
fn tensor(text: &str) -> Result<(String, DType), String> {
    let (name, dtype) = text.split_once('=').ok_or("expected NAME=TYPE, such as att.key=q6_k")?;
    let dtype = DType::parse(dtype)
        .filter(|dtype| dtype.has_encoder())
        .ok_or_else(|| format!("`{dtype}` is no type of a matrix, such as q6_k, q8_0 or f16"))?;
    Ok((name.to_owned(), dtype))
}
