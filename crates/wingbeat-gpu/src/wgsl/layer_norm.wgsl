// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, a row a workgroup. Grid: T.
// x, y (T, C) in the activations; weight, bias (C) in the vectors.

struct Params {
    // x, y, C
    at: vec4<u32>,
    // weight, bias
    norm: vec4<u32>,
    eps: vec4<f32>,
}
//!include bindings
//!include reduce

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = p.at.z;
    let x = p.at.x + group.x * cols;
    let y = p.at.y + group.x * cols;
    var sum = 0.0;
    for (var c = thread; c < cols; c += THREADS) {
        sum += acts[x + c];
    }
    let mean = workgroup_sum(sum, thread) / f32(cols);
    var squares = 0.0;
    for (var c = thread; c < cols; c += THREADS) {
        let d = acts[x + c] - mean;
        squares += d * d;
    }
    let scale = 1.0 / sqrt(workgroup_sum(squares, thread) / f32(cols) + p.eps.x);
    for (var c = thread; c < cols; c += THREADS) {
        acts[y + c] = (acts[x + c] - mean) * scale * vectors[p.norm.x + c] + vectors[p.norm.y + c];
    }
}
