//! RWKV-7's weights.

use crate::{
    Dim::{C, F, Rank, V},
    GgufName::{self, Block, Global},
    Kind::{LowRank, Matrix, Vector},
    Layers, Row,
};

const LERP: &str = "time_mix_lerp_fused.weight";

/// Every tensor of an RWKV-7 model. `blocks.0` may carry unused `v0 v1 v2`; they are not looked at.
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
    row("att.x_r", lerp(0), Vector(C), Layers::All),
    row("att.x_w", lerp(1), Vector(C), Layers::All),
    row("att.x_k", lerp(2), Vector(C), Layers::All),
    row("att.x_v", lerp(3), Vector(C), Layers::All),
    row("att.x_a", lerp(4), Vector(C), Layers::All),
    row("att.x_g", lerp(5), Vector(C), Layers::All),
    row("att.w0", Block("time_mix_w0.weight"), Vector(C), Layers::All),
    row("att.w1", Block("time_mix_w1.weight"), LowRank(Rank('w'), C), Layers::All),
    row("att.w2", Block("time_mix_w2.weight"), LowRank(C, Rank('w')), Layers::All),
    row("att.a0", Block("time_mix_a0.weight"), Vector(C), Layers::All),
    row("att.a1", Block("time_mix_a1.weight"), LowRank(Rank('a'), C), Layers::All),
    row("att.a2", Block("time_mix_a2.weight"), LowRank(C, Rank('a')), Layers::All),
    row("att.v0", Block("time_mix_v0.weight"), Vector(C), Layers::Later),
    row("att.v1", Block("time_mix_v1.weight"), LowRank(Rank('v'), C), Layers::Later),
    row("att.v2", Block("time_mix_v2.weight"), LowRank(C, Rank('v')), Layers::Later),
    row("att.g1", Block("time_mix_g1.weight"), LowRank(Rank('g'), C), Layers::All),
    row("att.g2", Block("time_mix_g2.weight"), LowRank(C, Rank('g')), Layers::All),
    row("att.k_k", Block("time_mix_k_k.weight"), Vector(C), Layers::All),
    row("att.k_a", Block("time_mix_k_a.weight"), Vector(C), Layers::All),
    row("att.r_k", Block("time_mix_r_k.weight"), Vector(C), Layers::All),
    row("att.receptance.weight", Block("time_mix_receptance.weight"), Matrix(C, C), Layers::All),
    row("att.key.weight", Block("time_mix_key.weight"), Matrix(C, C), Layers::All),
    row("att.value.weight", Block("time_mix_value.weight"), Matrix(C, C), Layers::All),
    row("att.output.weight", Block("time_mix_output.weight"), Matrix(C, C), Layers::All),
    row("att.ln_x.weight", Block("time_mix_ln.weight"), Vector(C), Layers::All),
    row("att.ln_x.bias", Block("time_mix_ln.bias"), Vector(C), Layers::All),
    row("ffn.x_k", Block("channel_mix_lerp_k.weight"), Vector(C), Layers::All),
    row("ffn.key.weight", Block("channel_mix_key.weight"), Matrix(F, C), Layers::All),
    row("ffn.value.weight", Block("channel_mix_value.weight"), Matrix(C, F), Layers::All),
];

const fn lerp(index: usize) -> GgufName {
    GgufName::BlockRow { tensor: LERP, index, alone: None }
}

const fn row(name: &'static str, gguf: GgufName, kind: crate::Kind, layers: Layers) -> Row {
    Row { name, gguf, kind, layers }
}
