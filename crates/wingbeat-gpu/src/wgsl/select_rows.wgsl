// y[i] = x[rows[i]], a row a workgroup. Grid: number of rows. x, y (., C) in the activations.

struct Params {
    // x, y, C, where the list of rows begins in the row map
    at: vec4<u32>,
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let x = p.at.x + map[p.at.w + group.x] * p.at.z;
    let y = p.at.y + group.x * p.at.z;
    for (var c = thread; c < p.at.z; c += THREADS) {
        acts[y + c] = acts[x + c];
    }
}
