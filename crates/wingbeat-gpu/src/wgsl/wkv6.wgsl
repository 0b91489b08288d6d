// The recurrence of RWKV-5 and RWKV-6, token after token (RWKV-LM, rwkv_v6_demo.py), for each head:
//   y[j] = sum over i of r[i] (S[i][j] + u[i] k[i] v[j]);  S <- diag(w) S + k v^T, with S (N, N) indexed [key][value].
//
// COLS columns of a head of a sequence a workgroup; SHARE threads share a column of S, each with FOURS times four of its
// keys in registers. TOKENS tokens at a time lie in shared memory, the next ones are on their way meanwhile, and what threads
// that share a column have of each y goes through there too, so that barriers are few. Past the end come tokens that change
// nothing: no key, no decay.
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
var<workgroup> ws: array<vec4<f32>, TOKENS * N4>;
var<workgroup> vs: array<vec4<f32>, TOKENS * COLS4>;
var<workgroup> parts: array<f32, TOKENS * THREADS>;

struct Brought {
    r: vec4<f32>,
    k: vec4<f32>,
    w: vec4<f32>,
}

// Of the i-th four of keys of a block that begins at a row's `head4` and has so many tokens.
fn bring(head4: u32, row: u32, n: u32, i: u32) -> Brought {
    if i / N4 >= n {
        return Brought(vec4<f32>(), vec4<f32>(), vec4<f32>(1.0));
    }
    let at = (row + i / N4) * (p.more.y / 4u) + head4 + i % N4;
//!if BY_TOKEN
    let w = acts[p.at.y / 4u + at];
//!else
    let w = vectors[p.at.y / 4u + head4 + i % N4];
//!end
    return Brought(acts[p.at.x / 4u + at], acts[p.at.z / 4u + at], w);
}

// The same of values.
fn bring_v(cols4: u32, row: u32, n: u32, i: u32) -> vec4<f32> {
    if i / COLS4 >= n {
        return vec4<f32>();
    }
    return acts[p.at.w / 4u + (row + i / COLS4) * (p.more.y / 4u) + cols4 + i % COLS4];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let entry = p.slot.z + group.y * 4u;
    let first = map[entry + 1u];
    let n_tokens = map[entry + 2u];
    let head = group.x / (N / COLS) * N;
    let head4 = head / 4u;
    // Within the head.
    let first_col = group.x % (N / COLS) * COLS;
    let cols4 = (head + first_col) / 4u;
    let col = thread % COLS;
    let share = thread / COLS;
    let state = map[entry] * p.slot.y + p.slot.x + (head + share * FOURS * 4u) * N + first_col + col;
//!for j FOURS
    var s_@j = vec4<f32>(
        states[state + (@ju * 4u) * N],
        states[state + (@ju * 4u + 1u) * N],
        states[state + (@ju * 4u + 2u) * N],
        states[state + (@ju * 4u + 3u) * N],
    );
    let u_@j = vectors[p.more.z / 4u + head4 + share * FOURS + @ju];
//!end
    var n = min(TOKENS, n_tokens);
//!for l LOADS
    var next_@l = bring(head4, first, n, thread + @lu * THREADS);
    var next_v_@l = bring_v(cols4, first, n, thread + @lu * THREADS);
//!end
    for (var done = 0u; done < n_tokens; done += TOKENS) {
//!for l LOADS
        {
            let i = thread + @lu * THREADS;
            if i < TOKENS * N4 {
                rs[i] = next_@l.r;
                ks[i] = next_@l.k;
                ws[i] = next_@l.w;
            }
            if i < TOKENS * COLS4 {
                vs[i] = next_v_@l;
            }
        }
//!end
        workgroupBarrier();
        let row = first + done + TOKENS;
        let now = n;
        n = min(TOKENS, n_tokens - min(done + TOKENS, n_tokens));
//!for l LOADS
        next_@l = bring(head4, row, n, thread + @lu * THREADS);
        next_v_@l = bring_v(cols4, row, n, thread + @lu * THREADS);
//!end
//!for t TOKENS
        {
            let v = vs[@tu * COLS4 + col / 4u][col % 4u];
            let at = @tu * N4 + share * FOURS;
            var y = 0.0;
//!for j FOURS
            {
                let kv = ks[at + @ju] * v;
                y += dot(rs[at + @ju], s_@j + u_@j * kv);
                s_@j = s_@j * ws[at + @ju] + kv;
            }
//!end
            parts[@tu * THREADS + thread] = y;
        }
//!end
        workgroupBarrier();
        for (var i = thread; i < now * COLS4; i += THREADS) {
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
            acts[p.more.x / 4u + (first + done + i / COLS4) * (p.more.y / 4u) + cols4 + i % COLS4] = y;
        }
    }
//!for j FOURS
    states[state + (@ju * 4u) * N] = s_@j.x;
    states[state + (@ju * 4u + 1u) * N] = s_@j.y;
    states[state + (@ju * 4u + 2u) * N] = s_@j.z;
    states[state + (@ju * 4u + 3u) * N] = s_@j.w;
//!end
}
