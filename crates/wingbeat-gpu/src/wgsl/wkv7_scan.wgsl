// The RWKV-7 recurrence in chunks of L tokens, second part: from chunk to chunk with what wkv7_chunks has stored,
//   u = X S^T,  y += R S^T,  S <- S diag(W_L) + u^T B + v^T K.
// See there for the names; y holds Q v at first.
//
// V rows (values) of a head of a sequence a workgroup: rows of S do not meet. A thread first computes four rows of u or of
// y for one token, then two keys of four rows of S, which it keeps; the others read S in shared memory, key after key. Two
// barriers a chunk: X and R are needed before the first of them only, B and K after it only, so that those of the next
// chunk, which come a chunk ahead, are stored while the others are read.
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
// Threads for each token and four rows, of u and of y.
const THREADS = 2u * L * V4;
const BLOCK4 = ((4u * L + 1u) * N + L) / 4u;
// Rows of fours begin in other banks, and so do four keys of S.
const STRIDE = N4 + 1u;
const S_STRIDE = 5u * V4;

// X and R.
var<workgroup> rows: array<vec4<f32>, 2u * L * STRIDE>;
// Of B and K two keys each, for a token the first two of all fours, then the others.
var<workgroup> steps: array<vec4<f32>, 2u * L * N4>;
var<workgroup> decays: array<vec4<f32>, N4>;
// Four values of a key.
var<workgroup> s: array<vec4<f32>, N4 * S_STRIDE>;
// (L, V)
var<workgroup> us: array<vec4<f32>, L * V4>;
var<workgroup> vs: array<vec4<f32>, L * V4>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let head = group.x / (N / V);
    // This workgroup's rows, in fours, within the head and within a token's row.
    let row4 = group.x % (N / V) * V4;
    let c4 = p.at.z / 4u;
    var block = p.at.w / 4u + (map[entry + 3u] * p.slot.w + head) * BLOCK4;
    let next_block = p.slot.w * BLOCK4;
    let state = (map[entry] * p.slot.y + p.slot.x) / 4u + (head * N + row4 * 4u) * N4;

    // What this thread computes of u, in the workgroup's first half, or of y; the first half brings v as the other does y.
    let of_y = thread >= L * V4;
    let t = thread / V4 % L;
    let row = thread % V4;
    let given_at = select(p.at.x, p.at.y, of_y) / 4u + (first + t) * c4 + head * N4 + row4 + row;
    var given = vec4<f32>();
    if t < n_tokens {
        given = acts[given_at];
    }
//!for i ROW_LOADS
    var row_@i = vec4<f32>();
    if thread + @iu * THREADS < 2u * L * N4 {
        row_@i = acts[block + thread + @iu * THREADS];
    }
//!end
//!for i STEP_LOADS
    var b_@i = vec4<f32>();
    var k_@i = vec4<f32>();
    if thread + @iu * THREADS < L * N4 {
        b_@i = acts[block + 2u * L * N4 + thread + @iu * THREADS];
        k_@i = acts[block + 3u * L * N4 + thread + @iu * THREADS];
    }
//!end
    var decay = acts[block + 4u * L * N4 + thread % N4];
    for (var i = thread; i < V4 * N4; i += THREADS) {
        let source = state + i / N4 * 4u * N4 + i % N4;
        let x0 = states[source];
        let x1 = states[source + N4];
        let x2 = states[source + 2u * N4];
        let x3 = states[source + 3u * N4];
        let to = i % N4 * S_STRIDE + i / N4;
        s[to] = vec4<f32>(x0.x, x1.x, x2.x, x3.x);
        s[to + V4] = vec4<f32>(x0.y, x1.y, x2.y, x3.y);
        s[to + 2u * V4] = vec4<f32>(x0.z, x1.z, x2.z, x3.z);
        s[to + 3u * V4] = vec4<f32>(x0.w, x1.w, x2.w, x3.w);
    }
//!for i ROW_LOADS
    if thread + @iu * THREADS < 2u * L * N4 {
        rows[(thread + @iu * THREADS) / N4 * STRIDE + (thread + @iu * THREADS) % N4] = row_@i;
    }
//!end
    if L < n_tokens {
//!for i ROW_LOADS
        if thread + @iu * THREADS < 2u * L * N4 {
            row_@i = acts[block + next_block + thread + @iu * THREADS];
        }
//!end
    }
    workgroupBarrier();
    // The keys that are this thread's: two of a four, the first or the second.
//!for u UPDATES
    let two_@u = thread / V4 + @uu * (THREADS / V4);
    let f_@u = two_@u % N4;
    let second_@u = min(two_@u / N4, 1u);
    let kept_@u = f_@u * S_STRIDE + second_@u * 2u * V4 + row;
    let own_@u = two_@u < 2u * N4;
    var s_@u_0 = vec4<f32>();
    var s_@u_1 = vec4<f32>();
    if own_@u {
        s_@u_0 = s[kept_@u];
        s_@u_1 = s[kept_@u + V4];
    }
//!end
    for (var t0 = 0u; t0 < n_tokens; t0 += L) {
//!for i STEP_LOADS
        if thread + @iu * THREADS < L * N4 {
            let to = (thread + @iu * THREADS) / N4 * 2u * N4 + (thread + @iu * THREADS) % N4;
            steps[to] = vec4<f32>(b_@i.xy, k_@i.xy);
            steps[to + N4] = vec4<f32>(b_@i.zw, k_@i.zw);
        }
//!end
        if thread < N4 {
            decays[thread] = decay;
        }
        var sum = given;
        if !of_y {
            vs[thread] = given;
            sum = vec4<f32>();
        }
        block += next_block;
        given = vec4<f32>();
        if t0 + L < n_tokens {
//!for i STEP_LOADS
            if thread + @iu * THREADS < L * N4 {
                b_@i = acts[block + 2u * L * N4 + thread + @iu * THREADS];
                k_@i = acts[block + 3u * L * N4 + thread + @iu * THREADS];
            }
//!end
            decay = acts[block + 4u * L * N4 + thread % N4];
            if t0 + L + t < n_tokens {
                given = acts[given_at + (t0 + L) * c4];
            }
        }
        let x_at = thread / V4 * STRIDE;
        var other = vec4<f32>();
        for (var f = 0u; f < N4; f += 4u) {
//!for e 4
            let x_@e = rows[x_at + f + @eu];
            let s_at_@e = (f + @eu) * S_STRIDE + row;
            sum += x_@e.x * s[s_at_@e];
            other += x_@e.y * s[s_at_@e + V4];
            sum += x_@e.z * s[s_at_@e + 2u * V4];
            other += x_@e.w * s[s_at_@e + 3u * V4];
//!end
        }
        sum += other;
        if !of_y {
            us[thread] = sum;
        } else if t0 + t < n_tokens {
            acts[given_at + t0 * c4] = sum;
        }
        workgroupBarrier();
        if t0 + L < n_tokens {
//!for i ROW_LOADS
            if thread + @iu * THREADS < 2u * L * N4 {
                rows[(thread + @iu * THREADS) / N4 * STRIDE + (thread + @iu * THREADS) % N4] = row_@i;
            }
//!end
            if t0 + 2u * L < n_tokens {
//!for i ROW_LOADS
                if thread + @iu * THREADS < 2u * L * N4 {
                    row_@i = acts[block + next_block + thread + @iu * THREADS];
                }
//!end
            }
        }
//!for u UPDATES
        let w_@u = select(decays[f_@u].xy, decays[f_@u].zw, second_@u == 1u);
        s_@u_0 *= w_@u.x;
        s_@u_1 *= w_@u.y;
//!end
        for (var j = 0u; j < L; j += 4u) {
//!for e 4
            let u_@e = us[(j + @eu) * V4 + row];
            let v_@e = vs[(j + @eu) * V4 + row];
//!for u UPDATES
            let bk_@e_@u = steps[((j + @eu) * 2u + second_@u) * N4 + f_@u];
            s_@u_0 += u_@e * bk_@e_@u.x;
            s_@u_1 += u_@e * bk_@e_@u.y;
            s_@u_0 += v_@e * bk_@e_@u.z;
            s_@u_1 += v_@e * bk_@e_@u.w;
//!end
//!end
        }
//!for u UPDATES
        if own_@u {
            s[kept_@u] = s_@u_0;
            s[kept_@u + V4] = s_@u_1;
        }
//!end
        workgroupBarrier();
    }
    for (var i = thread; i < V4 * N4; i += THREADS) {
        let to = state + i / N4 * 4u * N4 + i % N4;
        let source = i % N4 * S_STRIDE + i / N4;
        let x0 = s[source];
        let x1 = s[source + V4];
        let x2 = s[source + 2u * V4];
        let x3 = s[source + 3u * V4];
        states[to] = vec4<f32>(x0.x, x1.x, x2.x, x3.x);
        states[to + N4] = vec4<f32>(x0.y, x1.y, x2.y, x3.y);
        states[to + 2u * N4] = vec4<f32>(x0.z, x1.z, x2.z, x3.z);
        states[to + 3u * N4] = vec4<f32>(x0.w, x1.w, x2.w, x3.w);
    }
}
