//! RWKV-5's weights.

use crate::{
    Dim::{C, Decays, F, V},
    GgufName::{self, Block, Global},
    Kind::{self, Matrix, Vector},
    Layers, Row,
};

/// Every tensor of an RWKV-5 model, 5.1 or 5.2.
pub const TABLE: &[Row] = &[
    row("emb.weight", Global("token_embd.weight"), Matrix(V, C), Layers::Model),
    row("ln_out.weight", Global("output_norm.weight"), Vector(C), Layers::Model),
    row("ln_out.bias", Global("output_norm.bias"), Vector(C), Layers::Model),
    row("head.weight", Global("output.weight"), Matrix(V, C), Layers::Model),
    row("ln0.weight", Global("token_embd_norm.weight"), Vector(C), Layers::First),
    row("ln0.bias", Global("token_embd_norm.bias"), Vector(C), Layers::First),
    row("ln1.weight", Block("attn_norm.weight"), Vector(C), Layers::All),
    row("ln1.bias", Block("attn_norm.bias"), Vector(C), Layers::All),
    row("ln2.weight", Block("attn_norm_2.weight"), Vector(C), Layers::All),
    row("ln2.bias", Block("attn_norm_2.bias"), Vector(C), Layers::All),
    row("att.time_decay", Block("time_mix_decay.weight"), Vector(Decays), Layers::All),
    // One of the two: the bonus, or (5.1) its logarithm.
    row("att.time_faaaa", Block("time_mix_first.weight"), Vector(Decays), Layers::Optional),
    row("att.time_first", Block("time_mix_first_log.weight"), Vector(Decays), Layers::Optional),
    row("att.time_mix_k", Block("time_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("att.time_mix_v", Block("time_mix_lerp_v.weight"), Vector(C), Layers::All),
    row("att.time_mix_r", Block("time_mix_lerp_r.weight"), Vector(C), Layers::All),
    // The gate and its mix: 5.2.
    row("att.time_mix_g", Block("time_mix_lerp_g.weight"), Vector(C), Layers::Optional),
    row("att.gate.weight", Block("time_mix_gate.weight"), Matrix(C, C), Layers::Optional),
    row("att.receptance.weight", Block("time_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("att.key.weight", Block("time_mix_key.weight"), Matrix(C, C), Layers::All),
    row("att.value.weight", Block("time_mix_value.weight"), Matrix(C, C), Layers::All),
    row("att.output.weight", Block("time_mix_output.weight"), Matrix(C, C), Layers::All),
    row("att.ln_x.weight", Block("time_mix_ln.weight"), Vector(C), Layers::All),
    row("att.ln_x.bias", Block("time_mix_ln.bias"), Vector(C), Layers::All),
    row("ffn.time_mix_k", Block("channel_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("ffn.time_mix_r", Block("channel_mix_lerp_r.weight"), Vector(C), Layers::All),
    row("ffn.key.weight", Block("channel_mix_key.weight"), Matrix(F, C), Layers::All),
    row("ffn.receptance.weight", Block("channel_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("ffn.value.weight", Block("channel_mix_value.weight"), Matrix(C, F), Layers::All),
];

const fn row(name: &'static str, gguf: GgufName, kind: Kind, layers: Layers) -> Row {
    Row { name, gguf, kind, layers }
}
