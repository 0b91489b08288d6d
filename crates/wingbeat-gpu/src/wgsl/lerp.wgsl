// ys[i] <- x + (previous - x) * (mixes[i] + ys[i]): RWKV-6's token shift that depends on the data, its second part.
//
// A thread has four columns of a row (or one, where rows are not made of fours) of all MIXES results.
// With HALF_COPY results also go out in halves. Grid: (C / values of a workgroup, T).
// x, previous, ys (T, C) in the activations; mixes (C) in the vectors. Needs: f16 where HALF_COPY.

struct Params {
    // x, previous, C
    at: vec4<u32>,
    ys: array<vec4<u32>, 2>,
    mixes: array<vec4<u32>, 2>,
    halves: array<vec4<u32>, 2>,
}
//!include bindings
//!include few

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let c = group.x * THREADS + thread;
    let cols = p.at.z / FEW;
    if c >= cols {
        return;
    }
    let at = group.y * cols + c;
    let x = acts[p.at.x / FEW + at];
    let less = acts[p.at.y / FEW + at] - x;
//!for i MIXES
    let y_@i = p.ys[@iu / 4u][@iu % 4u] / FEW + at;
    let mix_@i = vectors[p.mixes[@iu / 4u][@iu % 4u] / FEW + c] + acts[y_@i];
//!end
//!for i MIXES
    let out_@i = x + less * mix_@i;
    acts[y_@i] = out_@i;
//!if HALF_COPY
    halves4[p.halves[@iu / 4u][@iu % 4u] / 2u + at] = vec4<f16>(clamp(out_@i, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
//!end
//!end
}
