// The read-out of RWKV-5 and RWKV-6: y <- group_norm(y) * g, without g unless GATED.
// A head of a row a workgroup. With HALF_COPY the result also goes out in halves, two a word, and a thread has WIDE = 2
// values at a time. Grid: (H, T). Buffers (T, C) in the activations, the norm (C) in the vectors.
// Needs: subgroups where SUBGROUP.

struct Params {
    // y, g, C, N
    at: vec4<u32>,
    // weight, bias, halves
    more: vec4<u32>,
    eps: vec4<f32>,
}
//!include bindings
//!include reduce
//!if HALF_COPY
//!include halves
//!end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = p.at.w;
    let head = group.x * n;
    let at = group.y * p.at.z + head;
    var sum = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        sum += acts[p.at.x + at + i];
    }
    let mean = workgroup_sum(sum, thread) / f32(n);
    var squares = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        let d = acts[p.at.x + at + i] - mean;
        squares += d * d;
    }
    let scale = 1.0 / sqrt(workgroup_sum(squares, thread) / f32(n) + p.eps.x);
    for (var i = thread * WIDE; i < n; i += THREADS * WIDE) {
//!for e WIDE
        let normed_@e = (acts[p.at.x + at + i + @eu] - mean) * scale * vectors[p.more.x + head + i + @eu]
            + vectors[p.more.y + head + i + @eu];
//!if GATED
        let out_@e = normed_@e * acts[p.at.y + at + i + @eu];
//!else
        let out_@e = normed_@e;
//!end
        acts[p.at.x + at + i + @eu] = out_@e;
//!end
//!if HALF_COPY
        acts[p.more.z + (at + i) / 2u] = bitcast<f32>(halves2(vec2<f32>(out_0, out_1)));
//!end
    }
}
