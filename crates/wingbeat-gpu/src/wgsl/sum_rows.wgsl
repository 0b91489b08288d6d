// y[i] = sum of x[t] over the rows t of range i, in f32, row after row. x, y (., C) in the activations. A thread has a
// column. Grid: (C / THREADS, number of ranges).

struct Params {
    // x, y, C, where the list of ranges (first row, row after the last) begins in the row map
    at: vec4<u32>,
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let c = group.x * THREADS + thread;
    if c >= p.at.z {
        return;
    }
    let list = p.at.w + 2 * group.y;
    var sum = 0.0;
    for (var t = map[list]; t < map[list + 1]; t++) {
        sum += acts[p.at.x + t * p.at.z + c];
    }
    acts[p.at.y + group.y * p.at.z + c] = sum;
}
