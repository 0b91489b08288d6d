// The recurrence of RWKV-5 and RWKV-6 (wkv6.wgsl) for heads of any size:
//   y[j] = sum over i of r[i] (S[i][j] + u[i] k[i] v[j]);  S <- diag(w) S + k v^T, with S (N, N) indexed [key][value].
//
// A thread has a column of a head of a sequence, whose values stay where they lie. Grid: (C / THREADS, sequences whose
// states lie in one buffer). Buffers (T, C) in the activations; u, and w where it is not BY_TOKEN, (C) in the vectors.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // y, C, u, N
    more: vec4<u32>,
    // slab within a slot, floats of a slot, first entry of the sequence list
    slot: vec4<u32>,
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let c = group.x * THREADS + thread;
    if c >= p.more.y {
        return;
    }
    let n = p.more.w;
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let head = c / n * n;
    let state = map[entry] * p.slot.y + p.slot.x + head * n + c - head;
    for (var t = first; t < first + n_tokens; t++) {
        let row = t * p.more.y;
        let v = acts[p.at.w + row + c];
        var y = 0.0;
        for (var i = 0u; i < n; i++) {
            let at = row + head + i;
            let kv = acts[p.at.z + at] * v;
//!if BY_TOKEN
            let w = acts[p.at.y + at];
//!else
            let w = vectors[p.at.y + head + i];
//!end
            let s = states[state + i * n];
            y += acts[p.at.x + at] * (s + vectors[p.more.z + head + i] * kv);
            states[state + i * n] = s * w + kv;
        }
        acts[p.more.x + row + c] = y;
    }
}
