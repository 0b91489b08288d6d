// All of sampling at temperature 0, for many rows: the token of the largest logit, with penalties and biases.
//   token = argmax over ids of (logit - presence - count * frequency + bias), of equals the lowest id
// A row a workgroup, which walks along it in steps of THREADS * PER logits; a thread loads PER of them at once. Grid: rows.
// Logits (rows, V) in the activations, all else in the sampler's buffer. For few rows the two kernels share them out better.

//!include sampling
//!include bindings
//!include sample_penalised
//!include sample_largest
//!include sample_record

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    let logits = p.at.x + row * p.at.y;
    let last = p.at.y - 1u;
    var key = 0u;
    var id = 0xffffffffu;
    for (var first = thread; first < p.at.y; first += THREADS * PER) {
        // Loads beyond the end are of the last logit: loads that depend on nothing can be under way together.
//!for j PER
        let bits_@j = bitcast<u32>(acts[logits + min(first + @ju * THREADS, last)]);
//!end
//!for j PER
        if first + @ju * THREADS < p.at.y {
            let other = penalised(row, first + @ju * THREADS, bits_@j);
            if other > key {
                key = other;
                id = first + @ju * THREADS;
            }
        }
//!end
    }
    let best = largest_of_all(key, id, thread);
    if thread == 0u {
        record(row, select(best.y, NO_TOKEN, best.x == NAN_KEY || best.x < LEAST_KEY));
    }
}
