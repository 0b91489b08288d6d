//! RWKV-6's weights.

use crate::{
    Dim::{C, F, Rank, Ranks, V},
    GgufName::{self, Block, Global},
    Kind::{self, LowRank, Matrix, Stack, Vector},
    Layers, Row,
};

/// Every tensor of an RWKV-6 model.
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
    row("att.time_maa_x", Block("time_mix_lerp_x.weight"), Vector(C), Layers::All),
    row("att.time_maa_w", lerp(0, "time_mix_lerp_w.weight"), Vector(C), Layers::All),
    row("att.time_maa_k", lerp(1, "time_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("att.time_maa_v", lerp(2, "time_mix_lerp_v.weight"), Vector(C), Layers::All),
    row("att.time_maa_r", lerp(3, "time_mix_lerp_r.weight"), Vector(C), Layers::All),
    row("att.time_maa_g", lerp(4, "time_mix_lerp_g.weight"), Vector(C), Layers::All),
    row("att.time_maa_w1", Block("time_mix_w1.weight"), LowRank(Ranks(5, 'm'), C), Layers::All),
    row("att.time_maa_w2", Block("time_mix_w2.weight"), Stack(5, C, Rank('m')), Layers::All),
    row("att.time_decay", Block("time_mix_decay.weight"), Vector(C), Layers::All),
    row("att.time_decay_w1", Block("time_mix_decay_w1.weight"), LowRank(Rank('d'), C), Layers::All),
    row("att.time_decay_w2", Block("time_mix_decay_w2.weight"), LowRank(C, Rank('d')), Layers::All),
    row("att.time_faaaa", Block("time_mix_first.weight"), Vector(C), Layers::All),
    row("att.receptance.weight", Block("time_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("att.key.weight", Block("time_mix_key.weight"), Matrix(C, C), Layers::All),
    row("att.value.weight", Block("time_mix_value.weight"), Matrix(C, C), Layers::All),
    row("att.gate.weight", Block("time_mix_gate.weight"), Matrix(C, C), Layers::All),
    row("att.output.weight", Block("time_mix_output.weight"), Matrix(C, C), Layers::All),
    row("att.ln_x.weight", Block("time_mix_ln.weight"), Vector(C), Layers::All),
    row("att.ln_x.bias", Block("time_mix_ln.bias"), Vector(C), Layers::All),
    row("ffn.time_maa_k", Block("channel_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("ffn.time_maa_r", Block("channel_mix_lerp_r.weight"), Vector(C), Layers::All),
    row("ffn.key.weight", Block("channel_mix_key.weight"), Matrix(F, C), Layers::All),
    row("ffn.receptance.weight", Block("channel_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("ffn.value.weight", Block("channel_mix_value.weight"), Matrix(C, F), Layers::All),
];

const fn lerp(index: usize, alone: &'static str) -> GgufName {
    GgufName::BlockRow { tensor: "time_mix_lerp_fused.weight", index, alone: Some(alone) }
}

const fn row(name: &'static str, gguf: GgufName, kind: Kind, layers: Layers) -> Row {
    Row { name, gguf, kind, layers }
}
