// x <- x + gate * y.
//
// A thread has four columns of a row (or one, where rows are not made of fours).
// Grid: (C / values of a workgroup, T). x, gate, y (T, C) in the activations.

struct Params {
    // x, gate, y, C
    at: vec4<u32>,
}
//!include bindings
//!include few

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let c = group.x * THREADS + thread;
    let cols = p.at.w / FEW;
    if c >= cols {
        return;
    }
    let at = group.y * cols + c;
    acts[p.at.x / FEW + at] += acts[p.at.y / FEW + at] * acts[p.at.z / FEW + at];
}
