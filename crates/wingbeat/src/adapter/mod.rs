//! LoRA adapters: small files of what training changed, merged into a model's weights before these are used.
//!
//! On the data path between the catalog of a model's weights and the device, or the file that a conversion writes:
//! `W ← W + scale · (alpha / r) · B·A` for the matrices that the adapter names, and its own values for tensors that were
//! trained whole. `read.rs` understands the files, `names.rs` their names, `peft.rs` PEFT's settings, `apply.rs` does the
//! arithmetic. Weights that no adapter touches stay where they lie in the model's file; the others are new bytes in memory,
//! in their own type where that is a float, in F16 where it is a quantized one.

mod apply;
mod names;
mod peft;
mod read;

use crate::Error;
use apply::{Change, changed};
use read::{Contents, Low, Whole};
use std::{collections::BTreeMap, path::PathBuf};
use wingbeat_format::ModelFile;
use wingbeat_model::Catalog;

/// The alpha of adapters whose files don't say theirs: what RWKV-PEFT and RWKV-LM-LoRA train with where nobody says.
pub(crate) const DEFAULT_ALPHA: f32 = 32.0;

/// An adapter to be merged into a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// A file as RWKV-PEFT or RWKV-LM-LoRA (`.pth`), PEFT (`adapter_model.safetensors` beside `adapter_config.json`) or
    /// llama.cpp (GGUF) writes it, or PEFT's folder.
    pub path: PathBuf,
    /// How much of it: 1 is all, 0 nothing, and tensors that were trained whole go this part of the way.
    pub scale: f32,
    /// What the product of the two matrices is multiplied by, divided by their rank. None: what the adapter says, or 32,
    /// which the trainers whose files don't say it begin with.
    pub alpha: Option<f32>,
}

impl Adapter {
    /// All of the adapter at `path`, with its own alpha.
    pub fn new(path: impl Into<PathBuf>) -> Adapter {
        Adapter { path: path.into(), scale: 1.0, alpha: None }
    }
}

/// What adapters brought besides weights.
#[derive(Default)]
pub(crate) struct Merged {
    /// The last one that has a tuned state.
    pub(crate) tuned: Option<ModelFile>,
    /// What a person should know, a line an adapter.
    pub(crate) notes: Vec<String>,
}

/// Merges adapters into the weights of a catalog.
///
/// # Errors
/// An adapter cannot be read, is of a kind that is not known, or does not fit the model. The catalog is unspecified then.
pub(crate) fn merge(catalog: &mut Catalog, adapters: &[Adapter]) -> Result<Merged, Error> {
    let mut merged = Merged::default();
    // What is to be done with a weight, by its number: each is made once, whatever the number of adapters.
    let mut changes: BTreeMap<usize, Vec<Change>> = BTreeMap::new();
    let mut last = None;
    for adapter in adapters {
        let Contents { file, low, whole, has_tuned_state } = read::read(adapter, catalog)?;
        merged.notes.push(note(&file, &low, &whole));
        for low in low {
            changes.entry(low.weight).or_default().push(Change::Low(low));
        }
        for Whole { weight, tensor, orientation, scale, shrink } in whole {
            if scale == 1.0 && shrink == 1.0 {
                // As it lies in the adapter's file.
                changes.remove(&weight);
                if !catalog.replace(weight, tensor.dtype, orientation, tensor.data.clone()) {
                    return Err(wrong(&file, format!("`{}` does not fit the model", tensor.name)));
                }
            } else {
                changes.entry(weight).or_default().push(Change::Towards {
                    tensor,
                    orientation,
                    scale,
                    shrink,
                });
            }
        }
        file.check_intact()?;
        last = Some(file.label().to_owned());
        if has_tuned_state {
            merged.tuned = Some(file);
        }
    }
    let label = last.unwrap_or_default();
    for (number, changes) in changes {
        let weight = &catalog.weights()[number];
        let failed = |why: String| Error::Adapter { file: label.clone(), why };
        let (dtype, orientation, data) = changed(weight, &changes).map_err(failed)?;
        if !catalog.replace(number, dtype, orientation, data) {
            return Err(failed("a weight came out in another size".to_owned()));
        }
    }
    Ok(merged)
}

fn note(file: &ModelFile, low: &[Low], whole: &[Whole]) -> String {
    let mut parts = Vec::new();
    if let (Some(least), Some(most)) =
        (low.iter().map(|low| low.rank).min(), low.iter().map(|low| low.rank).max())
    {
        let ranks = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        parts.push(format!("{} matrices changed (rank {ranks})", low.len()));
    }
    if !whole.is_empty() {
        parts.push(format!("{} tensors replaced", whole.len()));
    }
    format!(
        "{}: {}",
        file.label(),
        if parts.is_empty() { "a tuned state".to_owned() } else { parts.join(", ") }
    )
}

fn wrong(file: &ModelFile, why: String) -> Error {
    Error::Adapter { file: file.label().to_owned(), why }
}
