// Sums over a workgroup of THREADS threads. Every thread must call them, in uniform control flow.
// Where SUBGROUP, subgroups of LANES add up their own first.

var<workgroup> sums: array<f32, THREADS>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
//!if SUBGROUP
    let part = subgroupAdd(value);
    // What was read of the sums of before must have been read.
    workgroupBarrier();
    if thread % LANES == 0u {
        sums[thread / LANES] = part;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < THREADS / LANES; i++) {
        total += sums[i];
    }
    return total;
//!else
    workgroupBarrier();
    sums[thread] = value;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if thread < step {
            sums[thread] += sums[thread + step];
        }
        workgroupBarrier();
    }
    return sums[0];
//!end
}
