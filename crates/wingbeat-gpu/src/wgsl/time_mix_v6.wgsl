// The time mix of RWKV-5 and RWKV-6 for sequences of one token (RWKV-LM, rwkv_v6_demo.py): wkv6 and v6_readout at once.
//
// A head of a sequence a workgroup; SHARE threads share a column of the state (N, N) [key][value], each with FOURS times
// four of its keys in registers. Nothing waits for anything before all that is read is on its way.
// Grid: (H, sequences whose states lie in one buffer). Buffers (T, C) in the activations, u, the norm and, where it is not
// BY_TOKEN, w (C) in the vectors, both seen in fours. With HALF_COPY the result also goes out in halves.
// Needs: f16 where HALF_COPY.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // y, C, u, g
    more: vec4<u32>,
    // slab within a slot, floats of a slot, first entry of the sequence list
    slot: vec4<u32>,
    // weight, bias, halves
    norm: vec4<u32>,
    eps: vec4<f32>,
    carry: array<vec4<u32>, 2>,
}
//!include bindings
//!include carry

const THREADS = N * SHARE;
const N4 = N / 4u;
var<workgroup> parts: array<f32, THREADS>;
var<workgroup> ys: array<vec4<f32>, N4>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let entry = p.slot.z + group.y * 4u;
    let head4 = group.x * N4;
    let row4 = map[entry + 1u] * (p.more.y / 4u) + head4;
    let col = thread % N;
    let keys4 = thread / N * FOURS;
    let state = map[entry] * p.slot.y + p.slot.x + (group.x * N + keys4 * 4u) * N + col;
//!for j FOURS
    var s_@j = vec4<f32>(
        states[state + (@ju * 4u) * N],
        states[state + (@ju * 4u + 1u) * N],
        states[state + (@ju * 4u + 2u) * N],
        states[state + (@ju * 4u + 3u) * N],
    );
    let r_@j = acts[p.at.x / 4u + row4 + keys4 + @ju];
    let k_@j = acts[p.at.z / 4u + row4 + keys4 + @ju];
    let u_@j = vectors[p.more.z / 4u + head4 + keys4 + @ju];
//!if BY_TOKEN
    let w_@j = acts[p.at.y / 4u + row4 + keys4 + @ju];
//!else
    let w_@j = vectors[p.at.y / 4u + head4 + keys4 + @ju];
//!end
//!end
    let v = acts[p.at.w / 4u + row4 + col / 4u][col % 4u];
    // Of the read-out, whose threads have four values each.
    let own4 = min(thread, N4 - 1u);
    let weight = vectors[p.norm.x / 4u + head4 + own4];
    let bias = vectors[p.norm.y / 4u + head4 + own4];
//!if GATED
    let gate = acts[p.more.w / 4u + row4 + own4];
//!end
//!if CARRY
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
    var part = 0.0;
//!for j FOURS
    let kv_@j = k_@j * v;
    part += dot(r_@j, s_@j + u_@j * kv_@j);
    s_@j = s_@j * w_@j + kv_@j;
//!end
    parts[thread] = part;
//!for j FOURS
    states[state + (@ju * 4u) * N] = s_@j.x;
    states[state + (@ju * 4u + 1u) * N] = s_@j.y;
    states[state + (@ju * 4u + 2u) * N] = s_@j.z;
    states[state + (@ju * 4u + 3u) * N] = s_@j.w;
//!end
    workgroupBarrier();
    if thread < N4 {
        var y = vec4<f32>();
//!for q SHARE
        y += vec4<f32>(
            parts[@qu * N + thread * 4u],
            parts[@qu * N + thread * 4u + 1u],
            parts[@qu * N + thread * 4u + 2u],
            parts[@qu * N + thread * 4u + 3u],
        );
//!end
        ys[thread] = y;
    }
    workgroupBarrier();
    if thread < N4 {
        var sum = vec4<f32>();
        for (var i = 0u; i < N4; i++) {
            sum += ys[i];
        }
        let mean = dot(sum, vec4<f32>(1.0)) / f32(N);
        var squares = vec4<f32>();
        for (var i = 0u; i < N4; i++) {
            let d = ys[i] - mean;
            squares += d * d;
        }
        let scale = 1.0 / sqrt(dot(squares, vec4<f32>(1.0)) / f32(N) + p.eps.x);
        var out = (ys[thread] - mean) * scale * weight + bias;
//!if GATED
        out *= gate;
//!end
        acts[p.more.x / 4u + row4 + thread] = out;
//!if HALF_COPY
        halves4[p.norm.z / 2u + row4 + thread] = vec4<f16>(clamp(out, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
//!end
    }
}
