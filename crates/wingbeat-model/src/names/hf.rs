//! Names of RWKV-7 in Hugging Face's layout, as fla's `modeling_rwkv7.py` has its modules and
//! `utils/convert_from_rwkv7.py` translates them.

/// Modules of a layer that have another name, by their beginning in the official checkpoints.
const MODULES: [(&str, &str); 9] = [
    ("ln0.", "pre_norm."),
    ("ln1.", "attn_norm."),
    ("ln2.", "ffn_norm."),
    ("att.receptance.", "attn.r_proj."),
    ("att.key.", "attn.k_proj."),
    ("att.value.", "attn.v_proj."),
    ("att.output.", "attn.o_proj."),
    ("att.ln_x.", "attn.g_norm."),
    ("att.", "attn."),
];
/// What belongs to the model, not to a layer.
const MODEL: [(&str, &str); 4] = [
    ("emb.weight", "model.embeddings.weight"),
    ("ln_out.weight", "model.norm.weight"),
    ("ln_out.bias", "model.norm.bias"),
    ("head.weight", "lm_head.weight"),
];
/// Where the tensors of a layer are.
const LAYERS: &str = "model.layers.";
/// The six token-shift vectors of a layer in one tensor, as fla's first version had them, and their order.
const FUSED: &str = "attn.x_x";
const SHIFTS: [&str; 6] = ["att.x_r", "att.x_w", "att.x_k", "att.x_v", "att.x_a", "att.x_g"];

/// The name of the weight with the official name `name`.
pub(super) fn tensor_name(name: &str, layer: Option<usize>) -> String {
    let Some(layer) = layer else {
        let found = MODEL.iter().find(|(official, _)| *official == name);
        return found.map_or(name, |(_, name)| name).to_owned();
    };
    format!("{LAYERS}{layer}.{}", in_layer(name))
}

fn in_layer(name: &str) -> String {
    // w0 w1 w2 and their like are a bias and the two matrices of a small network: layers 2 and 0, 1 is its activation.
    if let Some([letter @ (b'w' | b'a' | b'v' | b'g'), number]) = name.strip_prefix("att.").map(str::as_bytes)
    {
        let letter = char::from(*letter);
        match number {
            b'0' => return format!("attn.{letter}_lora.lora.2.bias"),
            b'1' => return format!("attn.{letter}_lora.lora.0.weight"),
            b'2' => return format!("attn.{letter}_lora.lora.2.weight"),
            _ => {}
        }
    }
    let module = MODULES.iter().find_map(|(official, module)| Some((name.strip_prefix(official)?, module)));
    module.map_or_else(|| name.to_owned(), |(rest, module)| format!("{module}{rest}"))
}

/// The tensor in which fla's first version has a token-shift vector, and its row there.
pub(super) fn fused(name: &str, layer: usize) -> Option<(String, usize)> {
    let row = SHIFTS.iter().position(|shift| *shift == name)?;
    Some((format!("{LAYERS}{layer}.{FUSED}"), row))
}

/// The layer that a tensor belongs to.
pub(super) fn layer_of(tensor: &str) -> Option<usize> {
    tensor.strip_prefix(LAYERS)?.split('.').next()?.parse().ok()
}

/// Whether a tensor has a name of this layout.
pub(super) fn knows(tensor: &str) -> bool {
    tensor.starts_with(LAYERS) || tensor == MODEL[0].1
}
