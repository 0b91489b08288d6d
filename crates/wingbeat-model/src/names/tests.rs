//! Names in every layout.

use super::*;
use crate::{Layers, Version};

/// Each weight has a place of its own in every layout that has its version.
#[test]
fn no_two_weights_share_a_place() {
    for version in Version::ALL {
        for layout in [Layout::Gguf, Layout::BlinkDl, Layout::RwkvCpp, Layout::HuggingFace] {
            if layout == Layout::HuggingFace && *version != Version::V7 {
                continue;
            }
            let mut seen = std::collections::HashSet::new();
            for row in version.table() {
                let layer = (row.layers != Layers::Model).then_some(3);
                for place in layout.places(row.name, row.gguf, layer) {
                    let has_layer = layout.layer_of(&place.tensor) == layer;
                    // llama.cpp has the first norm outside the blocks.
                    assert!(has_layer || layout == Layout::Gguf && row.gguf.is_global(), "{}", place.tensor);
                    assert!(seen.insert((place.tensor.clone(), place.row)), "{layout:?} {}", place.tensor);
                }
            }
        }
    }
}

/// As a model of fla's has them.
#[test]
fn hugging_face_names() {
    let name = |name: &str, layer| {
        let row = Version::V7.table().iter().find(|row| row.name == name).unwrap();
        Layout::HuggingFace.tensor_name(name, row.gguf, layer)
    };
    for (official, layer, expected) in [
        ("emb.weight", None, "model.embeddings.weight"),
        ("ln_out.bias", None, "model.norm.bias"),
        ("head.weight", None, "lm_head.weight"),
        ("ln0.weight", Some(0), "model.layers.0.pre_norm.weight"),
        ("ln1.bias", Some(1), "model.layers.1.attn_norm.bias"),
        ("ln2.weight", Some(1), "model.layers.1.ffn_norm.weight"),
        ("att.x_r", Some(2), "model.layers.2.attn.x_r"),
        ("att.w0", Some(2), "model.layers.2.attn.w_lora.lora.2.bias"),
        ("att.a1", Some(2), "model.layers.2.attn.a_lora.lora.0.weight"),
        ("att.v2", Some(2), "model.layers.2.attn.v_lora.lora.2.weight"),
        ("att.g1", Some(2), "model.layers.2.attn.g_lora.lora.0.weight"),
        ("att.k_k", Some(2), "model.layers.2.attn.k_k"),
        ("att.k_a", Some(2), "model.layers.2.attn.k_a"),
        ("att.r_k", Some(2), "model.layers.2.attn.r_k"),
        ("att.receptance.weight", Some(11), "model.layers.11.attn.r_proj.weight"),
        ("att.output.weight", Some(11), "model.layers.11.attn.o_proj.weight"),
        ("att.ln_x.bias", Some(11), "model.layers.11.attn.g_norm.bias"),
        ("ffn.x_k", Some(0), "model.layers.0.ffn.x_k"),
        ("ffn.key.weight", Some(0), "model.layers.0.ffn.key.weight"),
    ] {
        assert_eq!(name(official, layer), expected);
    }
    let row = Version::V7.table().iter().find(|row| row.name == "att.x_a").unwrap();
    let places = Layout::HuggingFace.places(row.name, row.gguf, Some(1));
    assert_eq!(places[1], Place { tensor: "model.layers.1.attn.x_x".to_owned(), row: Some(4) });
}

#[test]
fn web_rwkv_names_are_those_of_one_weight() {
    let places = |version: Version, name: &str| {
        let row = version.table().iter().find(|row| row.name == name).unwrap();
        let places = Layout::WebRwkv.places(name, row.gguf, Some(0));
        places.into_iter().map(|place| place.tensor).collect::<Vec<_>>()
    };
    assert_eq!(places(Version::V5, "att.time_faaaa"), ["blocks.0.att.time_first"]);
    assert!(places(Version::V5, "att.time_first").is_empty());
    assert_eq!(places(Version::V6, "att.time_maa_w1"), ["blocks.0.att.time_mix_w1"]);
    assert_eq!(places(Version::V6, "ffn.time_maa_k"), ["blocks.0.ffn.time_mix_k"]);
    assert_eq!(places(Version::V5, "att.time_mix_k"), ["blocks.0.att.time_mix_k"]);
}
