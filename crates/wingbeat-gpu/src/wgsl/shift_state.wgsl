// The last rows of sequences become their states: what a dispatch left, where no other does it along with its own
// (lib/carry.wgsl). Grid: values of all sequences / THREADS, fours where rows are made of them.

struct Params {
    carry: array<vec4<u32>, 2>,
}
//!include bindings
//!include carry

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    carry_shift(group.x * THREADS + thread, groups.x * THREADS);
}
