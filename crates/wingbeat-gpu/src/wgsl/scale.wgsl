// x <- factor x.
//
// A thread has four columns of a row (or one, where rows are not made of fours).
// Grid: (C / values of a workgroup, T). x (T, C) in the activations.

struct Params {
    // x, C
    at: vec4<u32>,
    factor: vec4<f32>,
}
//!include bindings
//!include few

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let c = group.x * THREADS + thread;
    let cols = p.at.y / FEW;
    if c >= cols {
        return;
    }
    acts[p.at.x / FEW + group.y * cols + c] *= p.factor.x;
}
