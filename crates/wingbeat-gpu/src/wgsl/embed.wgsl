// x[t] = E[token of row t]
//
// A thread writes eight values. Grid: (eights of a row / THREADS, T). A part of the table writes only rows whose token
// it holds. E (V, C) in the weights, x (T, C) in the activations.

struct Params {
    // layout, first row and rows of this part, C
    table: vec4<u32>,
    planes: vec4<u32>,
    // x, where the tokens begin in the row map, 1 if they come from the sampler and where they begin there
    at: vec4<u32>,
}
//!include bindings
//!include weights

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let k8 = group.x * THREADS + thread;
    let cols = p.table.w;
    var token = map[p.at.y + group.y];
    if p.at.z != 0u {
        token = sampling[p.at.w + group.y];
    }
    let row = token - p.table.y;
    if token < p.table.y || row >= p.table.z || k8 * 8u >= cols {
        return;
    }
    let w = load8(p.table.x, p.planes.xyz, cols, row, k8);
    let out = p.at.x + group.y * cols + k8 * 8u;
    for (var i = 0u; i < min(8u, cols - k8 * 8u); i++) {
        acts[out + i] = select(w.b[i & 3u], w.a[i & 3u], i < 4u);
    }
}
