//! LoRA adapters to be merged into a model.

use clap::Args;
use std::path::PathBuf;
use wingbeat::Adapter;

/// Flags of the commands that read a model's weights.
#[derive(Args)]
pub(crate) struct AdapterArgs {
    /// LoRA adapter to merge into the weights: .pth, PEFT's file or folder, or GGUF; =SCALE takes that much of it. May be
    /// given several times
    #[arg(long = "lora", value_name = "FILE[=SCALE]", value_parser = adapter)]
    adapters: Vec<Adapter>,
    /// Alpha of the adapters [default: what an adapter says, or 32, which .pth files are mostly trained with]
    #[arg(long = "lora-alpha", value_name = "ALPHA", requires = "adapters", value_parser = number)]
    alpha: Option<f32>,
}

impl AdapterArgs {
    /// The adapters, in the order given.
    pub(crate) fn list(&self) -> Vec<Adapter> {
        let of = |adapter: &Adapter| Adapter { alpha: self.alpha, ..adapter.clone() };
        self.adapters.iter().map(of).collect()
    }
}

/// `FILE` or `FILE=SCALE`; a file whose name has a `=` is named with a scale after it.
fn adapter(text: &str) -> Result<Adapter, String> {
    let (path, scale) = match text.rsplit_once('=') {
        Some((path, scale)) => (path, number(scale).map_err(|why| format!("the scale after `=`: {why}"))?),
        None => (text, 1.0),
    };
    if path.is_empty() {
        return Err("expected a file".to_owned());
    }
    Ok(Adapter { scale, ..Adapter::new(PathBuf::from(path)) })
}

fn number(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.parse().ok();
    number.filter(|number| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

#[cfg(test)]
mod tests;
