// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, a row a workgroup, QUADS fours (or single values) a thread.
// Grid: T.
// x, y (T, C) in the activations; weight, bias (C) in the vectors.
// Needs: subgroups where SUBGROUP.

struct Params {
    // x, y, C
    at: vec4<u32>,
    // weight, bias
    norm: vec4<u32>,
    eps: vec4<f32>,
}
//!include bindings
//!include few
//!include sums

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = p.at.z / FEW;
    let n_cols = f32(p.at.z);
//!for q QUADS
    // Threads past the end repeat the last values and store nothing.
    let own_@q = thread + @qu * THREADS < cols;
    let c_@q = min(thread + @qu * THREADS, cols - 1u);
    let x_0_@q = acts[p.at.x / FEW + group.x * cols + c_@q];
    let weight_@q = vectors[p.norm.x / FEW + c_@q];
    let bias_@q = vectors[p.norm.y / FEW + c_@q];
//!end
//!include moments
//!for q QUADS
    if own_@q {
        acts[p.at.y / FEW + group.x * cols + c_@q] = (x_0_@q - mean_0) * scale_0 * weight_@q + bias_@q;
    }
//!end
}
