//! What adapters call the weights of a model.

use std::collections::HashMap;
use wingbeat_model::{Catalog, GgufName, Layout, Weight};

/// What trainers put before names.
const PREFIXES: [&str; 6] =
    ["base_model.model.", "base_model.", "_forward_module.", "module.", "model.", "rwkv."];
/// Parts of a layer's modules in the official names, and in Hugging Face's for RWKV-4 to RWKV-6.
const OLD_HUGGING_FACE: [(&str, &str); 2] = [(".att.", ".attention."), (".ffn.", ".feed_forward.")];

/// What a tensor of an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// `A (r, inputs)` of a module.
    A(&'a str),
    /// `B (outputs, r)` of a module.
    B(&'a str),
    /// `A (r, tokens)` of an embedding.
    EmbeddingA(&'a str),
    /// `B (channels, r)` of an embedding.
    EmbeddingB(&'a str),
    /// Of a method that is not LoRA, by its name.
    Foreign(&'static str),
    /// Anything else: a tensor trained whole.
    Whole(&'a str),
}

/// What other methods call their tensors.
const FOREIGN: [(&str, &str); 9] = [
    (".lora_magnitude_vector", "DoRA"),
    (".lora_M", "DoRA"),
    (".init_lora_A", "PiSSA"),
    (".init_lora_B", "PiSSA"),
    (".bone", "Bone"),
    (".disha", "DiSHA (Bone)"),
    (".hada_w", "LoHa"),
    (".lokr_w", "LoKr"),
    (".lora_E", "AdaLoRA"),
];

/// What a name says.
pub(super) fn part(name: &str) -> Part<'_> {
    if let Some((_, method)) = FOREIGN.iter().find(|(part, _)| name.contains(part)) {
        return Part::Foreign(method);
    }
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let stem = stem.strip_suffix(".default").unwrap_or(stem);
    let of = |end: &str| stem.strip_suffix(end);
    of(".lora_A")
        .or_else(|| of(".lora_a"))
        .map(Part::A)
        .or_else(|| of(".lora_B").or_else(|| of(".lora_b")).map(Part::B))
        .or_else(|| of(".lora_embedding_A").map(Part::EmbeddingA))
        .or_else(|| of(".lora_embedding_B").map(Part::EmbeddingB))
        .unwrap_or(Part::Whole(name))
}

/// A name without what trainers put before it.
pub(super) fn bare(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// The weights of a model by all the names that adapters may have for them.
pub(super) struct Names(HashMap<String, (usize, Layout)>);

impl Names {
    pub(super) fn new(catalog: &Catalog) -> Names {
        let mut names = HashMap::new();
        for (number, weight) in catalog.weights().iter().enumerate() {
            for (name, layout) in names_of(weight) {
                names.entry(bare(&name).to_owned()).or_insert((number, layout));
            }
        }
        Names(names)
    }

    /// The number of the weight that a module or a tensor of an adapter means, and the layout whose name it is.
    pub(super) fn find(&self, name: &str) -> Option<(usize, Layout)> {
        let name = bare(name);
        self.0.get(&format!("{name}.weight")).or_else(|| self.0.get(name)).copied()
    }
}

fn names_of(weight: &Weight) -> Vec<(String, Layout)> {
    let row = weight.row;
    let [attention, feed_forward] = OLD_HUGGING_FACE.map(|(one, other)| weight.name.replace(one, other));
    let mut names = vec![
        (weight.name.clone(), Layout::BlinkDl),
        (attention, Layout::BlinkDl),
        (feed_forward, Layout::BlinkDl),
    ];
    let others = [Layout::HuggingFace, Layout::Gguf];
    names.extend(others.map(|layout| (layout.tensor_name(row.name, row.gguf, weight.layer), layout)));
    // One vector of several in a tensor is not named alone.
    if matches!(row.gguf, GgufName::BlockRow { .. }) {
        names.pop();
    }
    names
}

#[cfg(test)]
mod tests;
