// The RWKV-7 recurrence in chunks of L tokens, second part: from chunk to chunk with what wkv7_chunks has stored,
//   u = (T α~) S^T + P v,  y += (r~ + M α~) S^T,  S <- S diag(W_L) + u^T (β W_L / W) + v^T (k W_L / W).
// See there for the names; y holds Q v at first.
//
// V rows (values) of a head of a sequence a workgroup: rows of S do not meet. S lies in shared memory; a thread first
// computes four rows of u or of y for one token, then four keys of two rows of S, while the next chunk is on its way.
// Grid: (H N / V, sequences). Buffers (T, C) in the activations, which are seen in fours here, as are the states.

struct Params {
    // v, y, C, results of wkv7_chunks
    at: vec4<u32>,
    // slab within a slot, floats of a slot, first entry of the sequence list, H
    slot: vec4<u32>,
}
//!include bindings

const N4 = N / 4u;
const V4 = V / 4u;
const SPLIT = N / V;
// Rows of fours begin in other banks.
const STRIDE = N4 + 1u;
const BLOCK4 = (5u * L + 1u) * N4;
// The part of it that goes through shared memory: all but P v.
const TILE4 = (4u * L + 1u) * N4;

var<workgroup> rows: array<vec4<f32>, (4u * L + 1u) * STRIDE>;
var<workgroup> s: array<vec4<f32>, V * STRIDE>;
// (L, V)
var<workgroup> us: array<vec4<f32>, L * V4>;
var<workgroup> vs: array<vec4<f32>, L * V4>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let head = group.x / SPLIT;
    // This workgroup's rows, in fours, within the head and within a token's row.
    let row4 = group.x % SPLIT * V4;
    let c4 = p.at.z / 4u;
    let at = first * c4 + head * N4 + row4;
    let v_at = p.at.x / 4u + at;
    let y_at = p.at.y / 4u + at;
    var block = p.at.w / 4u + (map[entry + 3u] * p.slot.w + head) * BLOCK4;
    let state = (map[entry] * p.slot.y + p.slot.x) / 4u + (head * N + row4 * 4u) * N4;
    for (var i = thread; i < V * N4; i += THREADS) {
        s[i / N4 * STRIDE + i % N4] = states[state + i];
    }
//!for i LOADS
    var next_@i = vec4<f32>();
    if thread + @iu * THREADS < TILE4 {
        next_@i = acts[block + thread + @iu * THREADS];
    }
//!end
    // Of the values, a four a thread.
    let v_t = thread / V4;
    let v_from = v_at + v_t * c4 + thread % V4;
    var next_v = vec4<f32>();
    if v_t < min(L, n_tokens) {
        next_v = acts[v_from];
    }
    for (var t0 = 0u; t0 < n_tokens; t0 += L) {
//!for i LOADS
        {
            let to = thread + @iu * THREADS;
            if to < TILE4 {
                rows[to / N4 * STRIDE + to % N4] = next_@i;
            }
        }
//!end
        if v_t < L {
            vs[thread] = next_v;
        }
        workgroupBarrier();
        let uv = block + TILE4 + row4;
        block += p.slot.w * BLOCK4;
        let next0 = t0 + L;
        next_v = vec4<f32>();
        if v_t < L && next0 + v_t < n_tokens {
            next_v = acts[v_from + next0 * c4];
        }
        if next0 < n_tokens {
//!for i LOADS
            if thread + @iu * THREADS < TILE4 {
                next_@i = acts[block + thread + @iu * THREADS];
            }
//!end
        }
        for (var i = thread; i < 2u * L * V4; i += THREADS) {
            let t = i % L;
            let row = i / L % V4;
            let is_y = i >= L * V4;
            let y = y_at + (t0 + t) * c4 + row;
            var sum = vec4<f32>();
            if !is_y {
                sum = acts[uv + t * N4 + row];
            } else if t0 + t < n_tokens {
                sum = acts[y];
            }
            let left = select(t, L + t, is_y) * STRIDE;
            let right = row * 4u * STRIDE;
            for (var f = 0u; f < N4; f++) {
                let x = rows[left + f];
                sum += vec4<f32>(
                    dot(x, s[right + f]),
                    dot(x, s[right + STRIDE + f]),
                    dot(x, s[right + 2u * STRIDE + f]),
                    dot(x, s[right + 3u * STRIDE + f]),
                );
            }
            if !is_y {
                us[t * V4 + row] = sum;
            } else if t0 + t < n_tokens {
                acts[y] = sum;
            }
        }
        workgroupBarrier();
        for (var i = thread; i < V / 2u * N4; i += THREADS) {
            let f = i % N4;
            let pair = i / N4;
            let odd = (pair & 1u) != 0u;
            let to = pair * 2u * STRIDE + f;
            let w = rows[4u * L * STRIDE + f];
            var s0 = s[to] * w;
            var s1 = s[to + STRIDE] * w;
            for (var j = 0u; j < L; j++) {
                let b = rows[(2u * L + j) * STRIDE + f];
                let k = rows[(3u * L + j) * STRIDE + f];
                let u4 = us[j * V4 + pair / 2u];
                let v4 = vs[j * V4 + pair / 2u];
                let u = select(u4.xy, u4.zw, odd);
                let v = select(v4.xy, v4.zw, odd);
                s0 += u.x * b + v.x * k;
                s1 += u.y * b + v.y * k;
            }
            s[to] = s0;
            s[to + STRIDE] = s1;
        }
        workgroupBarrier();
    }
    for (var i = thread; i < V * N4; i += THREADS) {
        states[state + i] = s[i / N4 * STRIDE + i % N4];
    }
}
