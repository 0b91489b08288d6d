// RWKV-7's time mix for sequences of one token (RWKV-LM, rwkv_v7_numpy.py): v7_keys, wkv7 and v7_readout at once, and
// before them, where UPS, the rows of the low-rank matrices that w, a, g and the value's gate come from (lib/ups.wgsl).
//
// A head of a sequence a workgroup; SHARE threads share a row of the state (N, N) [value][key], each with FOURS times
// four of its values in registers: those of fours q, q + SHARE, … Grid: (H, sequences whose states lie in one buffer).
// Buffers (T, C) in the activations; of them only y and, in the first layer (no GATE), v_first are written.
// With HALF_COPY the result also goes out in halves, two a word, rows of C / 2 words.
// Needs: subgroups where SUBGROUP; they are of LANES where WHOLE, and make up a head.

struct Up {
    // x, bias
    at: vec4<u32>,
    planes: vec4<u32>,
}
struct Params {
    // r, k, v, v_first
    at: vec4<u32>,
    // w, a, g, v_gate, where they are not computed here
    low: vec4<u32>,
    // y, C, first entry of the sequence list, halves
    out: vec4<u32>,
    // k_k, k_a, r_k
    vectors: vec4<u32>,
    // weight and bias of the norm, slab within a slot, floats of a slot
    norm: vec4<u32>,
    eps: vec4<f32>,
    ups: array<Up, 4>,
    carry: array<vec4<u32>, 2>,
}
//!include bindings
//!include share
//!include carry
//!if UPS
//!include weights
//!include activation
//!include ups
//!end
//!if HALF_COPY
//!include halves
//!end

const N4 = N / 4u;
// r, w, k, the removal key before it has unit length, that times a, and, unless WHOLE, what the bonus sums: as single
// threads write them, and the same in fours.
//!if WHOLE
const KINDS = 5u;
// Of each subgroup of the first N threads: the key's squares, and what the bonus sums.
var<workgroup> firsts: array<vec2<f32>, N / LANES>;
// Of each subgroup: mean of its rows of y, and the squares of what they differ from it by.
const GROUPS = THREADS / LANES;
var<workgroup> moments: array<vec2<f32>, GROUPS>;
//!else
const KINDS = 6u;
//!end
var<workgroup> ones: array<f32, KINDS * N>;
var<workgroup> fours: array<vec4<f32>, KINDS * N4>;
var<workgroup> vs: array<f32, N>;
var<workgroup> ys: array<f32, N>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
//!if ONE
    const token = 0u;
    let slot = p.norm.z;
//!else
    let entry = p.out.z + group.y * 4u;
    let token = map[entry + 1u];
    let slot = map[entry] * p.norm.w + p.norm.z;
//!end
    let head = group.x * N;
    let at = token * p.out.y + head;
    let row = thread / SHARE;
    let q = thread % SHARE;
    // All that is read from far away is asked for first.
    let state = ((slot + (head + row) * N) >> 2u) + q;
//!for j FOURS
    var s_@j = states[state + @ju * SHARE];
//!end
    let i = thread % N;
    let r = acts[p.at.x + at + i];
    let k = acts[p.at.y + at + i];
    var v = acts[p.at.z + at + i];
    let k_k = vectors[p.vectors.x + head + i];
    let k_a = vectors[p.vectors.y + head + i];
    let r_k = vectors[p.vectors.z + head + i];
//!if GATE
    let v_first = acts[p.at.w + at + i];
//!end
//!if CARRY
//!if CARRY_ONE
    let carried = carry_take((group.y * groups.x + group.x) * THREADS + thread);
//!else
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
//!end
//!if UPS
    compute_ups(token, head, thread);
    workgroupBarrier();
//!end
    var g = 0.0;
//!if WHOLE
    var square = 0.0;
    var bonus = 0.0;
//!end
    if thread < N {
//!if UPS
        let w = up(0u, ACT_0, head, i);
        let a = up(1u, ACT_1, head, i);
        g = up(2u, ACT_2, head, i);
//!else
        let w = acts[p.low.x + at + i];
        let a = acts[p.low.y + at + i];
        g = acts[p.low.z + at + i];
//!end
//!if GATE
//!if UPS
        let gate = up(3u, ACT_3, head, i);
//!else
        let gate = acts[p.low.w + at + i];
//!end
        v += (v_first - v) * gate;
//!else
        acts[p.at.w + at + i] = v;
//!end
        let kk = k * k_k;
        let key = k * (1.0 + (a - 1.0) * k_a);
        ones[i] = r;
        ones[N + i] = w;
        ones[2u * N + i] = key;
        ones[3u * N + i] = kk;
        ones[4u * N + i] = kk * a;
//!if WHOLE
        square = kk * kk;
        bonus = r * key * r_k;
//!else
        ones[5u * N + i] = r * key * r_k;
//!end
        vs[i] = v;
    }
//!if WHOLE
    let first = vec2<f32>(subgroupAdd(square), subgroupAdd(bonus));
    if thread < N && thread % LANES == 0u {
        firsts[thread / LANES] = first;
    }
//!end
    workgroupBarrier();
    for (var f = thread; f < KINDS * N4; f += THREADS) {
        fours[f] = vec4<f32>(ones[f * 4u], ones[f * 4u + 1u], ones[f * 4u + 2u], ones[f * 4u + 3u]);
    }
    workgroupBarrier();
//!if WHOLE
    var all = vec2<f32>();
    for (var j = 0u; j < N / LANES; j++) {
        all += firsts[j];
    }
    let bonus_sum = all.y;
    let scale = 1.0 / max(sqrt(all.x), 1e-12);
//!else
    var squares = vec4<f32>();
    var bonuses = vec4<f32>();
    for (var f = 0u; f < N4; f++) {
        let kk = fours[3u * N4 + f];
        squares += kk * kk;
        bonuses += fours[5u * N4 + f];
    }
    let ones4 = vec4<f32>(1.0);
    let bonus_sum = dot(bonuses, ones4);
    let scale = 1.0 / max(sqrt(dot(squares, ones4)), 1e-12);
//!end
    var part = 0.0;
//!for j FOURS
    part += dot(s_@j, fours[3u * N4 + @ju * SHARE + q]);
//!end
    // The key's length enters twice: in what is removed and in the direction that it is removed along.
    let removed = share_sum(part, thread) * scale * scale;
    let value = vs[row];
    var out = 0.0;
//!for j FOURS
    s_@j = s_@j * fours[N4 + @ju * SHARE + q] - removed * fours[4u * N4 + @ju * SHARE + q]
        + value * fours[2u * N4 + @ju * SHARE + q];
    states[state + @ju * SHARE] = s_@j;
    out += dot(s_@j, fours[@ju * SHARE + q]);
//!end
    let y = share_sum(out, thread);
    if q == 0u {
        ys[row] = y;
    }
//!if WHOLE
    // Each row counts SHARE times.
    let group_mean = subgroupAdd(y) / f32(LANES);
    let group_squares = subgroupAdd((y - group_mean) * (y - group_mean)) / f32(SHARE);
    if thread % LANES == 0u {
        moments[thread / LANES] = vec2<f32>(group_mean, group_squares);
    }
//!end
    workgroupBarrier();
//!if HALF_COPY
    var result = 0.0;
//!end
    if thread < N {
//!if WHOLE
        var mean = 0.0;
        for (var j = 0u; j < GROUPS; j++) {
            mean += moments[j].x;
        }
        mean /= f32(GROUPS);
        var sum2 = 0.0;
        for (var j = 0u; j < GROUPS; j++) {
            let d = moments[j].x - mean;
            sum2 += moments[j].y + f32(LANES / SHARE) * d * d;
        }
        let centred = ys[i] - mean;
        let variance = sum2 / f32(N);
//!else
        // Moments about a value of the head, so that squares lose nothing to the mean's.
        let origin = ys[0];
        var sum = 0.0;
        var sum2 = 0.0;
        for (var j = 0u; j < N; j++) {
            let d = ys[j] - origin;
            sum += d;
            sum2 += d * d;
        }
        let mean = sum / f32(N);
        let centred = ys[i] - origin - mean;
        let variance = max(sum2 / f32(N) - mean * mean, 0.0);
//!end
        let normed = centred / sqrt(variance + p.eps.x) * vectors[p.norm.x + head + i] + vectors[p.norm.y + head + i];
        let out = (normed + bonus_sum * v) * g;
        acts[p.out.x + at + i] = out;
//!if HALF_COPY
        result = out;
//!end
    }
//!if HALF_COPY
    workgroupBarrier();
    if thread < N {
        ys[i] = result;
    }
    workgroupBarrier();
    if thread < N / 2u {
        let both = vec2<f32>(ys[thread * 2u], ys[thread * 2u + 1u]);
        acts[p.out.w + (at >> 1u) + thread] = bitcast<f32>(halves2(both));
    }
//!end
//!if CARRY_ONE
    carry_put((group.y * groups.x + group.x) * THREADS + thread, carried);
//!end
}
