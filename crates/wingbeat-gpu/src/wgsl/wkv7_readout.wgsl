// RWKV-7's read-out after wkv7_chunks and wkv7_scan, as v7_readout has it, with the bonuses that are stored with chunks:
//   y <- (group_norm(y) + bonus v) * g.
//
// A head of a chunk of L tokens a workgroup, a thread four values. With HALF_COPY the result also goes out in halves, two
// a word, a row after the other. Grid: (H, chunks). y, v, g (T, C) in the activations, the norm (C) in the vectors, all seen
// in fours.

struct Params {
    // y, v, g, C
    at: vec4<u32>,
    // results of wkv7_chunks, first entry of the chunk list, halves
    out: vec4<u32>,
    // weight, bias
    norm: vec4<u32>,
    eps: vec4<f32>,
}
//!include bindings

const N4 = N / 4u;
const THREADS = L * N4;
const BLOCK4 = ((4u * L + 1u) * N + L) / 4u;
// Of four values their mean, and the squares of what they differ from it by.
var<workgroup> parts: array<vec2<f32>, THREADS>;
//!if HALF_COPY
//!include halves
var<workgroup> packed: array<vec2<u32>, THREADS>;
//!end

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let t = thread / N4;
    let channel4 = group.x * N4 + thread % N4;
    let weight = vectors[p.norm.x / 4u + channel4];
    let bias = vectors[p.norm.y / 4u + channel4];
    let bonuses = acts[p.out.x / 4u + (group.y * groups.x + group.x) * BLOCK4 + (4u * L + 1u) * N4 + t / 4u];
    let first = map[p.out.y + group.y * 2u];
    let n_tokens = map[p.out.y + group.y * 2u + 1u];
    let at = (first + min(t, n_tokens - 1u)) * (p.at.w / 4u) + channel4;
    let y = acts[p.at.x / 4u + at];
    let v = acts[p.at.y / 4u + at];
    let g = acts[p.at.z / 4u + at];
    let ones = vec4<f32>(1.0);
    let own = y - dot(y, ones) * 0.25;
    parts[thread] = vec2<f32>(dot(y, ones) * 0.25, dot(own, own));
    workgroupBarrier();
    var mean = 0.0;
    for (var i = 0u; i < N4; i++) {
        mean += parts[t * N4 + i].x;
    }
    mean /= f32(N4);
    var squares = 0.0;
    for (var i = 0u; i < N4; i++) {
        let one = parts[t * N4 + i];
        squares += one.y + 4.0 * (one.x - mean) * (one.x - mean);
    }
    let scale = 1.0 / sqrt(squares / f32(N) + p.eps.x);
    let out = ((y - mean) * scale * weight + bias + bonuses[t % 4u] * v) * g;
    if t < n_tokens {
        acts[p.at.x / 4u + at] = out;
    }
//!if HALF_COPY
    packed[thread] = halves4(out);
    workgroupBarrier();
    // Eight values a thread.
    let t_out = thread * 2u / N4;
    if t_out < n_tokens {
        let to = p.out.z + (first + t_out) * (p.at.w / 2u) + (group.x * N + thread * 8u % N) / 2u;
        acts[to / 4u] = bitcast<vec4<f32>>(vec4<u32>(packed[thread * 2u], packed[thread * 2u + 1u]));
    }
//!end
}
