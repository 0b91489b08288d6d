// Sums over the SHARE neighbouring threads that share a row (SHARE a power of two, no more than a subgroup has lanes;
// neighbouring threads are neighbouring lanes). Every thread must call
// this, in uniform control flow. Needs: subgroups where SUBGROUP.

//!if SUBGROUP
fn share_sum(value: f32, thread: u32) -> f32 {
    var sum = value;
    for (var step = 1u; step < SHARE; step *= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}
//!else
var<workgroup> shares: array<f32, THREADS>;

fn share_sum(value: f32, thread: u32) -> f32 {
    // What was read of the sums of before must have been read.
    workgroupBarrier();
    shares[thread] = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < SHARE; i++) {
        sum += shares[thread / SHARE * SHARE + i];
    }
    return sum;
}
//!end
