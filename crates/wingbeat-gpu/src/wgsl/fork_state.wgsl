// Copies of a state: a slot of one layer's buffer into other slots of it. A thread has four values, and writes them to the
// targets of its row of the grid. Grid: (fours of a slot / THREADS, targets / TARGETS).

struct Params {
    // fours of a slot, the slot to copy, number of targets, where their list begins in the row map
    at: vec4<u32>,
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = group.x * THREADS + thread;
    if i >= p.at.x {
        return;
    }
    let values = states[p.at.y * p.at.x + i];
    let first = group.y * TARGETS;
    for (var t = first; t < min(first + TARGETS, p.at.z); t++) {
        states[map[p.at.w + t] * p.at.x + i] = values;
    }
}
