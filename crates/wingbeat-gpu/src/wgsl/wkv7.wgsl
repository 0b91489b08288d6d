// The RWKV-7 recurrence, token after token (RWKV-LM, rwkv_v7_numpy.py), for each head:
//   S <- S diag(w) - (S kk)(kk * a)^T + v k^T;  y = S r, with S (N, N) indexed [value][key].
//
// A head of a sequence a workgroup; SHARE threads share a row of S, each with PER of its values in registers: those of
// keys q, q + SHARE, … Grid: (H, sequences whose states lie in one buffer). Buffers (T, C) in the activations.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // kk, a, y, C
    more: vec4<u32>,
    // slab within a slot, floats of a slot, first entry of the sequence list
    slot: vec4<u32>,
}
//!include bindings

const THREADS = N * SHARE;
var<workgroup> rs: array<f32, N>;
var<workgroup> ws: array<f32, N>;
var<workgroup> ks: array<f32, N>;
var<workgroup> kks: array<f32, N>;
var<workgroup> bs: array<f32, N>;
var<workgroup> parts: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let row = thread / SHARE;
    let q = thread % SHARE;
    let state = map[entry] * p.slot.y + p.slot.x + (group.x * N + row) * N + q;
//!for j PER
    var s_@j = states[state + @ju * SHARE];
//!end
    for (var t = 0u; t < n_tokens; t++) {
        let at = (first + t) * p.more.w + group.x * N;
        if thread < N {
            let kk = acts[p.more.x + at + thread];
            rs[thread] = acts[p.at.x + at + thread];
            ws[thread] = acts[p.at.y + at + thread];
            ks[thread] = acts[p.at.z + at + thread];
            kks[thread] = kk;
            bs[thread] = kk * acts[p.more.y + at + thread];
        }
        workgroupBarrier();
        var part = 0.0;
//!for j PER
        part += s_@j * kks[@ju * SHARE + q];
//!end
        parts[thread] = part;
        workgroupBarrier();
        var removed = 0.0;
        for (var i = 0u; i < SHARE; i++) {
            removed += parts[row * SHARE + i];
        }
        let v = acts[p.at.w + at + row];
        var out = 0.0;
//!for j PER
        s_@j = s_@j * ws[@ju * SHARE + q] - removed * bs[@ju * SHARE + q] + v * ks[@ju * SHARE + q];
        out += s_@j * rs[@ju * SHARE + q];
//!end
        workgroupBarrier();
        parts[thread] = out;
        workgroupBarrier();
        if q == 0u {
            var y = 0.0;
            for (var i = 0u; i < SHARE; i++) {
                y += parts[row * SHARE + i];
            }
            acts[p.more.z + at + row] = y;
        }
    }
//!for j PER
    states[state + @ju * SHARE] = s_@j;
//!end
}
