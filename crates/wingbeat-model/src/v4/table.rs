//! RWKV-4's weights.

use crate::{
    Dim::{C, F, V},
    GgufName::{self, Block, Global},
    Kind::{self, Matrix, Vector},
    Layers, Row,
};

/// Every tensor of an RWKV-4 model.
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
    row("att.time_decay", Block("time_mix_decay.weight"), Vector(C), Layers::All),
    row("att.time_first", Block("time_mix_first.weight"), Vector(C), Layers::All),
    row("att.time_mix_k", Block("time_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("att.time_mix_v", Block("time_mix_lerp_v.weight"), Vector(C), Layers::All),
    row("att.time_mix_r", Block("time_mix_lerp_r.weight"), Vector(C), Layers::All),
    row("att.receptance.weight", Block("time_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("att.key.weight", Block("time_mix_key.weight"), Matrix(C, C), Layers::All),
    row("att.value.weight", Block("time_mix_value.weight"), Matrix(C, C), Layers::All),
    row("att.output.weight", Block("time_mix_output.weight"), Matrix(C, C), Layers::All),
    row("ffn.time_mix_k", Block("channel_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("ffn.time_mix_r", Block("channel_mix_lerp_r.weight"), Vector(C), Layers::All),
    row("ffn.key.weight", Block("channel_mix_key.weight"), Matrix(F, C), Layers::All),
    row("ffn.receptance.weight", Block("channel_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("ffn.value.weight", Block("channel_mix_value.weight"), Matrix(C, F), Layers::All),
];

const fn row(name: &'static str, gguf: GgufName, kind: Kind, layers: Layers) -> Row {
    Row { name, gguf, kind, layers }
}
