// The RWKV-4 recurrence, token after token (RWKV-LM, RWKV_in_150_lines.py), for each channel, with sums kept relative to the
// largest exponent so far:
//   q = max(p, u + k);  y = r (e^(p-q) a + e^(u+k-q) v) / (e^(p-q) b + e^(u+k-q)), then
//   q = max(p + ln w, k);  a <- e^(p+ln w-q) a + e^(k-q) v;  b <- e^(p+ln w-q) b + e^(k-q);  p <- q.
//
// A thread has a channel of a sequence, and asks for what AHEAD tokens bring before it computes any of them.
// Grid: (C / THREADS, sequences whose states lie in one buffer). Buffers (T, C) in the activations, ln w and u (C) in the
// vectors.

struct Params {
    // r, k, v, y
    at: vec4<u32>,
    // C, first entry of the sequence list, floats of a slot
    more: vec4<u32>,
    // a, b, p within a slot
    slabs: vec4<u32>,
    // ln w, u
    vectors: vec4<u32>,
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
//!if CARRY
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
    let c = group.x * THREADS + thread;
    if c >= p.more.x {
        return;
    }
    let entry = p.more.y + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let slot = map[entry] * p.more.z + c;
    var a = states[slot + p.slabs.x];
    var b = states[slot + p.slabs.y];
    var most = states[slot + p.slabs.z];
    let decay = vectors[p.vectors.x + c];
    let bonus = vectors[p.vectors.y + c];
    for (var t = 0u; t < n_tokens; t += AHEAD) {
//!for i AHEAD
        // Past the end the last token comes again, and is not taken in.
        let at_@i = (first + min(t + @iu, n_tokens - 1u)) * p.more.x + c;
        let r_@i = acts[p.at.x + at_@i];
        let k_@i = acts[p.at.y + at_@i];
        let v_@i = acts[p.at.z + at_@i];
//!end
//!for i AHEAD
        if t + @iu < n_tokens {
            let here = bonus + k_@i;
            let q = max(most, here);
            let of_sums = exp(most - q);
            let of_here = exp(here - q);
            acts[p.at.w + at_@i] = r_@i * (of_sums * a + of_here * v_@i) / (of_sums * b + of_here);
            let before = most + decay;
            most = max(before, k_@i);
            let kept = exp(before - most);
            let added = exp(k_@i - most);
            a = kept * a + added * v_@i;
            b = kept * b + added;
        }
//!end
    }
    states[slot + p.slabs.x] = a;
    states[slot + p.slabs.y] = b;
    states[slot + p.slabs.z] = most;
}
