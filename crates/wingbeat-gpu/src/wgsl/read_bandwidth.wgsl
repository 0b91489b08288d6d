// Reads a buffer of zeros once, to see how fast that goes: what every product with a vector is bound by.
// A workgroup reads THREADS * EACH runs of sixteen bytes in a row, a thread every THREADS-th of them. Grid: parts.

struct Params {
    // A sum that zeros don't have: its writing is what keeps a compiler from dropping the reads.
    never: vec4<u32>
}
//!include bindings

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = group.x * THREADS * EACH + thread;
    var sum = vec4<u32>();
    //!for i EACH
    sum += weights4[first + @iu * THREADS];
    //!end
    if all(sum == p.never) {
        acts[0] = 0.0;
    }
}
