// The largest key of a workgroup of THREADS threads, and the lowest id that has it.

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;

fn largest_of_all(key: u32, id: u32, thread: u32) -> vec2<u32> {
    keys[thread] = key;
    ids[thread] = id;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if thread < step {
            let other = keys[thread + step];
            if other > keys[thread] || (other == keys[thread] && ids[thread + step] < ids[thread]) {
                keys[thread] = other;
                ids[thread] = ids[thread + step];
            }
        }
        workgroupBarrier();
    }
    return vec2<u32>(keys[0], ids[0]);
}
