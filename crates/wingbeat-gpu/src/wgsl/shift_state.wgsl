// The last row of each sequence, unless ALL only of those of several tokens, becomes its state. A sequence a workgroup.
// Grid: sequences.
// x (T, C) in the activations.

struct Params {
    // x, C, first entry of the sequence list
    at: vec4<u32>,
    // state slab within a slot, floats of a slot
    slot: vec4<u32>,
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.at.z + group.x * 4u;
    let n_tokens = map[entry + 2u];
//!if ALL
//!else
    if n_tokens < 2u {
        return;
    }
//!end
    let x = p.at.x + (map[entry + 1u] + n_tokens - 1u) * p.at.y;
    let state = map[entry] * p.slot.y + p.slot.x;
    for (var c = thread; c < p.at.y; c += THREADS) {
        states[state + c] = acts[x + c];
    }
}
