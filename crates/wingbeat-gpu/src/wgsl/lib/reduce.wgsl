// Sums over a workgroup of THREADS threads. Every thread must call them, in uniform control flow.

var<workgroup> sums: array<f32, THREADS>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    // What was read of the sums of before must have been read.
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
}
