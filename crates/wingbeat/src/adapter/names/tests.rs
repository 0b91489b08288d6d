use super::*;

#[test]
fn names_say_what_a_tensor_is() {
    let module = "blocks.0.att.key";
    assert_eq!(part("blocks.0.att.key.lora_A"), Part::A(module));
    assert_eq!(part("blocks.0.att.key.lora_B.weight"), Part::B(module));
    assert_eq!(part("blocks.0.att.key.lora_B.default.weight"), Part::B(module));
    assert_eq!(part("blk.0.time_mix_key.weight.lora_a"), Part::A("blk.0.time_mix_key.weight"));
    assert_eq!(part("emb.lora_embedding_A"), Part::EmbeddingA("emb"));
    assert_eq!(part("blocks.0.att.x_r"), Part::Whole("blocks.0.att.x_r"));
    // fla's own low-rank matrices are no adapters.
    let own = "model.layers.0.attn.w_lora.lora.0.weight";
    assert_eq!(part(own), Part::Whole(own));
    for (name, method) in [
        ("blocks.0.att.key.bone", "Bone"),
        ("blocks.0.att.key.disha", "DiSHA (Bone)"),
        ("blocks.0.att.key.init_lora_A", "PiSSA"),
        ("base_model.model.x.lora_magnitude_vector.weight", "DoRA"),
    ] {
        assert_eq!(part(name), Part::Foreign(method));
    }
}

#[test]
fn what_trainers_put_before_names_is_left_out() {
    assert_eq!(bare("base_model.model.model.layers.0.attn.r_proj"), "layers.0.attn.r_proj");
    assert_eq!(bare("base_model.model.rwkv.blocks.0.attention.key"), "blocks.0.attention.key");
    assert_eq!(bare("blocks.0.att.key"), "blocks.0.att.key");
    assert_eq!(bare("model."), "");
}
