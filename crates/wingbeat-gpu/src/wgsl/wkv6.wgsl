// The recurrence of RWKV-5 and RWKV-6, token after token (RWKV-LM, rwkv_v6_demo.py), for each head:
//   y[j] = sum over i of r[i] (S[i][j] + u[i] k[i] v[j]);  S <- diag(w) S + k v^T, with S (N, N) indexed [key][value].
//
// COLS columns of a head of a sequence a workgroup; SHARE threads share a column of S, each with FOURS times four of its
// keys in registers, one run after the other. TOKENS tokens at a time come into shared memory, and what threads that share a
// column have of each y goes through there too, so that barriers are few.
// Grid: (H N / COLS, sequences whose states lie in one buffer). Buffers (T, C) in the activations, seen in fours; u, and w
// where it is not BY_TOKEN, (C) in the vectors, seen in fours.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // y, C, u
    more: vec4<u32>,
    // slab within a slot, floats of a slot, first entry of the sequence list
    slot: vec4<u32>,
}
//!include bindings

const THREADS = COLS * SHARE;
const N4 = N / 4u;
const COLS4 = COLS / 4u;
var<workgroup> rs: array<vec4<f32>, TOKENS * N4>;
var<workgroup> ks: array<vec4<f32>, TOKENS * N4>;
//!if BY_TOKEN
var<workgroup> ws: array<vec4<f32>, TOKENS * N4>;
//!end
var<workgroup> vs: array<vec4<f32>, TOKENS * COLS4>;
var<workgroup> parts: array<f32, TOKENS * THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let width4 = p.more.y / 4u;
    let head = group.x / (N / COLS) * N;
    // Within the head.
    let first_col = group.x % (N / COLS) * COLS;
    let col = thread % COLS;
    let share = thread / COLS;
    let state = map[entry] * p.slot.y + p.slot.x + (head + share * FOURS * 4u) * N + first_col + col;
    let own4 = head / 4u + share * FOURS;
//!for j FOURS
    var s_@j = vec4<f32>(
        states[state + (@ju * 4u) * N],
        states[state + (@ju * 4u + 1u) * N],
        states[state + (@ju * 4u + 2u) * N],
        states[state + (@ju * 4u + 3u) * N],
    );
    let u_@j = vectors[p.more.z / 4u + own4 + @ju];
//!if BY_TOKEN
//!else
    let w_@j = vectors[p.at.y / 4u + own4 + @ju];
//!end
//!end
    for (var done = 0u; done < n_tokens; done += TOKENS) {
        let n = min(TOKENS, n_tokens - done);
        let row4 = (first + done) * width4 + head / 4u;
        for (var i = thread; i < n * N4; i += THREADS) {
            let at = row4 + i / N4 * width4 + i % N4;
            rs[i] = acts[p.at.x / 4u + at];
            ks[i] = acts[p.at.z / 4u + at];
//!if BY_TOKEN
            ws[i] = acts[p.at.y / 4u + at];
//!end
        }
        for (var i = thread; i < n * COLS4; i += THREADS) {
            vs[i] = acts[p.at.w / 4u + row4 + first_col / 4u + i / COLS4 * width4 + i % COLS4];
        }
        workgroupBarrier();
        for (var t = 0u; t < n; t++) {
            let v = vs[t * COLS4 + col / 4u][col % 4u];
            let at = t * N4 + share * FOURS;
            var y = 0.0;
//!for j FOURS
            {
                let kv = ks[at + @ju] * v;
                y += dot(rs[at + @ju], s_@j + u_@j * kv);
//!if BY_TOKEN
                s_@j = s_@j * ws[at + @ju] + kv;
//!else
                s_@j = s_@j * w_@j + kv;
//!end
            }
//!end
            parts[t * THREADS + thread] = y;
        }
        workgroupBarrier();
        for (var i = thread; i < n * COLS4; i += THREADS) {
            let part = i / COLS4 * THREADS + i % COLS4 * 4u;
            var y = vec4<f32>();
//!for q SHARE
            y += vec4<f32>(
                parts[part + @qu * COLS],
                parts[part + @qu * COLS + 1u],
                parts[part + @qu * COLS + 2u],
                parts[part + @qu * COLS + 3u],
            );
//!end
            acts[p.more.x / 4u + row4 + first_col / 4u + i / COLS4 * width4 + i % COLS4] = y;
        }
    }
//!for j FOURS
    states[state + (@ju * 4u) * N] = s_@j.x;
    states[state + (@ju * 4u + 1u) * N] = s_@j.y;
    states[state + (@ju * 4u + 2u) * N] = s_@j.z;
    states[state + (@ju * 4u + 3u) * N] = s_@j.w;
//!end
}
