// What a dispatch before had to leave, as all of it read the states of before (ops/shift.rs).

//!if CARRY
// Rows of activations become states of sequences of one token; `first` and `step` share the values out, four at once where
// the kernel sees states so.
fn carry_shift(first: u32, step: u32) {
    // x, C, first entry of the row list, rows
    let source = p.carry[0];
    // slab within a slot, floats of a slot
    let slot = p.carry[1];
//!if STATES4
    for (var i = first * 4u; i < source.y * source.w; i += step * 4u) {
//!else
    for (var i = first; i < source.y * source.w; i += step) {
//!end
        let entry = source.z + i / source.y * 2u;
        let c = i % source.y;
        let x = source.x + map[entry] * source.y + c;
        let state = (map[entry + 1u] & 0x3fffffffu) * slot.y + slot.x + c;
//!if STATES4
        states[state >> 2u] = vec4<f32>(acts[x], acts[x + 1u], acts[x + 2u], acts[x + 3u]);
//!else
        states[state] = acts[x];
//!end
    }
}
//!end
