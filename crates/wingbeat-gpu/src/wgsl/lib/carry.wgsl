// What a dispatch before had to leave, as all of it read the states of before (ops/shift.rs, ops/rows.rs).

//!if CARRY
//!if CARRY_ONE
// Of one sequence of one token: thread `id` takes a value early and puts it late, so that nothing waits for it.
fn carry_take(id: u32) -> f32 {
    if id < p.carry[0].y {
        return acts[p.carry[0].x + id];
    }
    return 0.0;
}

fn carry_put(id: u32, value: f32) {
    if id < p.carry[0].y {
//!if STATES4
        let at = p.carry[1].z + id;
        states[at >> 2u][at & 3u] = value;
//!else
        states[p.carry[1].z + id] = value;
//!end
    }
}
//!else
// The last rows of sequences become their states; `first` and `step` share the values out, four at once where the kernel
// sees states so.
fn carry_shift(first: u32, step: u32) {
    // x, C, first entry of the sequence list, sequences
    let source = p.carry[0];
    // slab within a slot, floats of a slot
    let slot = p.carry[1];
//!if STATES4
    for (var i = first * 4u; i < source.y * source.w; i += step * 4u) {
//!else
    for (var i = first; i < source.y * source.w; i += step) {
//!end
        let entry = source.z + i / source.y * 4u;
        let c = i % source.y;
        let x = source.x + (map[entry + 1u] + map[entry + 2u] - 1u) * source.y + c;
        let state = map[entry] * slot.y + slot.x + c;
//!if STATES4
//!if ACTS4
        states[state >> 2u] = acts[x >> 2u];
//!else
        states[state >> 2u] = vec4<f32>(acts[x], acts[x + 1u], acts[x + 2u], acts[x + 3u]);
//!end
//!else
//!if ACTS4
        states[state] = acts[x >> 2u][x & 3u];
//!else
        states[state] = acts[x];
//!end
//!end
    }
}
//!end
//!end
