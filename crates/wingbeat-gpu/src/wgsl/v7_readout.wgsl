// RWKV-7's read-out: y <- (group_norm(y) + (sum over the head of r * k * r_k) v) * g.
// A head of a row a workgroup. With HALF_COPY the result also goes out in halves, two a word, and a thread has WIDE = 2
// values at a time. Grid: (H, T). Buffers (T, C) in the activations, r_k and the norm (C) in the vectors.

struct Params {
    // y, r, k, v
    at: vec4<u32>,
    // g, C, N, halves
    more: vec4<u32>,
    // r_k, weight, bias
    vectors: vec4<u32>,
    eps: vec4<f32>,
}
//!include bindings
//!include reduce
//!if HALF_COPY
//!include halves
//!end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = p.more.z;
    let head = group.x * n;
    let at = group.y * p.more.y + head;
    var sum = 0.0;
    var product = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        sum += acts[p.at.x + at + i];
        product += acts[p.at.y + at + i] * acts[p.at.z + at + i] * vectors[p.vectors.x + head + i];
    }
    let mean = workgroup_sum(sum, thread) / f32(n);
    let bonus = workgroup_sum(product, thread);
    var squares = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        let d = acts[p.at.x + at + i] - mean;
        squares += d * d;
    }
    let scale = 1.0 / sqrt(workgroup_sum(squares, thread) / f32(n) + p.eps.x);
    for (var i = thread * WIDE; i < n; i += THREADS * WIDE) {
//!for e WIDE
        let normed_@e = (acts[p.at.x + at + i + @eu] - mean) * scale * vectors[p.vectors.y + head + i + @eu]
            + vectors[p.vectors.z + head + i + @eu];
        let out_@e = (normed_@e + bonus * acts[p.at.w + at + i + @eu]) * acts[p.more.x + at + i + @eu];
        acts[p.at.x + at + i + @eu] = out_@e;
//!end
//!if HALF_COPY
        acts[p.more.w + (at + i) / 2u] = bitcast<f32>(halves2(vec2<f32>(out_0, out_1)));
//!end
    }
}
