// Values as halves, two a word, as products in cooperative matrices take them: the largest half instead of an infinity.

fn halves2(v: vec2<f32>) -> u32 {
    return pack2x16float(clamp(v, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}

fn halves4(v: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(halves2(v.xy), halves2(v.zw));
}
