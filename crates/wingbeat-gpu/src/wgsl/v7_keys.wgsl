// RWKV-7's keys and values before the recurrence (RWKV-LM, rwkv_v7_numpy.py):
//   kk = (k * k_k) / max(|k * k_k|, 1e-12) a head, k <- k * (1 + (a - 1) * k_a),
//   v <- v + (v_first - v) * v_gate (first layer: v_first <- v).
// A head of a row a workgroup. Grid: (H, T). Buffers (T, C) in the activations, k_k, k_a (C) in the vectors.

struct Params {
    // k, v, v_first, v_gate
    at: vec4<u32>,
    // a, kk, 1 in the first layer, C
    more: vec4<u32>,
    // k_k, k_a, N
    vectors: vec4<u32>,
}
//!include bindings
//!include reduce

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = p.vectors.z;
    let head = group.x * n;
    let at = group.y * p.more.w + head;
    var sum = 0.0;
    for (var i = thread; i < n; i += THREADS) {
        let kk = acts[p.at.x + at + i] * vectors[p.vectors.x + head + i];
        sum += kk * kk;
    }
    let scale = 1.0 / max(sqrt(workgroup_sum(sum, thread)), 1e-12);
    for (var i = thread; i < n; i += THREADS) {
        let k = acts[p.at.x + at + i];
        acts[p.more.y + at + i] = k * vectors[p.vectors.x + head + i] * scale;
        acts[p.at.x + at + i] = k * (1.0 + (acts[p.more.x + at + i] - 1.0) * vectors[p.vectors.y + head + i]);
        let v = acts[p.at.y + at + i];
        if p.more.z != 0u {
            acts[p.at.z + at + i] = v;
        } else {
            acts[p.at.y + at + i] = v + (acts[p.at.z + at + i] - v) * acts[p.at.w + at + i];
        }
    }
}
