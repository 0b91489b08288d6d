// The RWKV-7 recurrence in chunks of L tokens, first part: what can be said of a chunk before the state at its start, S0,
// is known. All chunks are computed at once; wkv7_scan goes from chunk to chunk.
//
// With α_t = -kk_t, β_t = kk_t * a_t and W_t the product of w_1 … w_t (a key each), a step is
//   S_t = S_{t-1} diag(w_t) + u_t β_t^T + v_t k_t^T,  u_t = S_{t-1} α_t,  y_t = S_t r_t.
// Written out to the chunk's start, with α~_t = W_{t-1} α_t, r~_t = W_t r_t, β~_t = β_t / W_t, k~_t = k_t / W_t and the
// matrices (L, L) Aab, Aak (j < t) and Arb, Ark (j <= t) of the products that their names say, all rows of u and y are
//   u = α~ S0^T + Aab u + Aak v,  y = r~ S0^T + Arb u + Ark v.
// So row after row, with [X | P] = [α~ | Aak] + Aab [X | P] and [R | Q] = [r~ | Ark] + Arb [X | P],
//   u = X S0^T + P v,  y = R S0^T + Q v,  S_L = S0 diag(W_L) + (X S0^T)^T B + v^T K,
//   B = β~ W_L,  K = k~ W_L + P^T B.
// w is above 0.545 (e^-0.6065…), so 1 / W is below 1.7e4 for L = 16.
//
// With KEYS the kernel does what v7_keys does first; k k_k is not brought to unit length: its square's inverse, D, meets
// every row of X before a matrix does, and B. It also sums the bonuses of the read-out.
// Stored a chunk and head: X, R, B, K (L, N), W_L (N), bonuses (L); Q v goes to y. Tokens past a sequence's end are steps
// that change nothing. A head of a chunk a workgroup, of which three threads share a column: one has X and R, one B and K,
// one v. Columns are kept as fours of tokens. Grid: (H, chunks). Buffers (T, C) in the activations.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // kk, a, y, C
    more: vec4<u32>,
    // results, first entry of the chunk list
    out: vec4<u32>,
    // v_first, v_gate; k_k, k_a: KEYS only
    keys: vec4<u32>,
    // r_k: KEYS only
    bonus: vec4<u32>,
}
//!include bindings

const THREADS = 3u * N;
const BLOCK = (4u * L + 1u) * N + L;
// A column's fours of α~ and r~; one more, so that columns begin in other banks.
const LEFT = 2u * L4 + 1u;
var<workgroup> left: array<vec4<f32>, N * LEFT>;
// Of β~ and k~, as twos.
const RIGHT = 4u * L4 + 1u;
var<workgroup> right: array<vec2<f32>, N * RIGHT>;
// Aab, Aak (later P), Arb, Ark (later Q), each by columns; before that the squares of k k_k.
var<workgroup> mats: array<vec4<f32>, max(4u * L * L4, KEYS * N * L4)>;
const AAB = 0u;
const AAK = L * L4;
const ARB = 2u * L * L4;
const ARK = 3u * L * L4;
// Fours of a matrix on and below the diagonal.
const LOWER = L4 * (L4 + 1u) / 2u;
//!if KEYS
var<workgroup> r_k: array<f32, N>;
// Parts of the sums of the squares, a part a LANE; then D.
const LANES = 16u;
var<workgroup> inverse: array<vec4<f32>, LANES * L4>;
//!end

// Four tokens of a column, from t on; those past the end repeat the last.
fn column(at: u32, t: u32, last: u32) -> vec4<f32> {
    let c = p.more.w;
    return vec4<f32>(
        acts[at + min(t, last) * c],
        acts[at + min(t + 1u, last) * c],
        acts[at + min(t + 2u, last) * c],
        acts[at + min(t + 3u, last) * c],
    );
}

fn put(at: u32, step: u32, x: vec4<f32>) {
    acts[at] = x.x;
    acts[at + step] = x.y;
    acts[at + 2u * step] = x.z;
    acts[at + 3u * step] = x.w;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
//!include chunk_columns
    workgroupBarrier();
//!if KEYS
    // The squares make room for the matrices. Two workgroups share a multiprocessor that has not room for two with both.
    if thread < LANES * L4 {
        let first_column = thread / L4 * (N / LANES);
        var sum = vec4<f32>();
        for (var m = first_column; m < first_column + N / LANES; m++) {
            sum += mats[m * L4 + thread % L4];
        }
        inverse[thread] = sum;
    }
    workgroupBarrier();
//!end
    // Four tokens t by two earlier ones j a thread: no more of the matrices than is on or below the diagonal.
    for (var i = thread; i < 8u * LOWER; i += THREADS) {
        let which = i / (2u * LOWER);
        let lower = i / 2u % LOWER;
        let t4 = u32(lower >= 1u) + u32(lower >= 3u) + u32(lower >= 6u);
        let j = (lower - t4 * (t4 + 1u) / 2u) * 4u + (i & 1u) * 2u;
        let x_at = (which >> 1u) * L4 + t4;
        let y_at = (which & 1u) * 2u * L4 + j / 2u;
        var one = vec4<f32>();
        var other = vec4<f32>();
        for (var m = 0u; m < N; m += 4u) {
//!for e 4
            let x_@e = left[(m + @eu) * LEFT + x_at];
            let y_@e = right[(m + @eu) * RIGHT + y_at];
            one += x_@e * y_@e.x;
            other += x_@e * y_@e.y;
//!end
        }
        // j < t above, j <= t below.
        let t = vec4<u32>(t4 * 4u + (which >> 1u)) + vec4<u32>(0u, 1u, 2u, 3u);
        let to = (which * L + j) * L4 + t4;
        mats[to] = select(vec4<f32>(), one, vec4<u32>(j) < t);
        mats[to + L4] = select(vec4<f32>(), other, vec4<u32>(j + 1u) < t);
    }
//!if KEYS
    // Threads that have none of these: for four tokens the length of k k_k, or the sum over r k r_k.
    if thread >= THREADS - 2u * L4 {
        let i = thread - (THREADS - 2u * L4);
        let is_bonus = i >= L4;
        let t4 = i % L4;
        var sum = vec4<f32>();
        if is_bonus {
            for (var m = 0u; m < N; m++) {
                let k = vec4<f32>(right[m * RIGHT + (L4 + t4) * 2u], right[m * RIGHT + (L4 + t4) * 2u + 1u]);
                sum += left[m * LEFT + L4 + t4] * k * r_k[m];
            }
            put(block + (4u * L + 1u) * N + t4 * 4u, 1u, sum);
        } else {
            for (var lane = 0u; lane < LANES; lane++) {
                sum += inverse[lane * L4 + t4];
            }
            inverse[t4] = 1.0 / max(sum, vec4<f32>(1e-24));
        }
    }
//!end
    workgroupBarrier();
    // Columns of X and R; the first of the threads that have v do those of P and Q.
    if part == 0u || (part == 2u && n < L) {
        if part == 2u {
//!for q L4
            a_@q = select(vec4<f32>(), mats[AAK + n * L4 + @qu], @qu * 4u + 3u >= n);
            b_@q = select(vec4<f32>(), mats[ARK + n * L4 + @qu], @qu * 4u + 3u >= n);
//!end
        }
//!for q L4
//!for e 4
        {
//!if KEYS
            let x = a_@q[@eu] * inverse[@qu][@eu];
//!else
            let x = a_@q[@eu];
//!end
//!for s L4
            if @su >= @qu {
                a_@s += mats[AAB + (@qu * 4u + @eu) * L4 + @su] * x;
                b_@s += mats[ARB + (@qu * 4u + @eu) * L4 + @su] * x;
            }
//!end
        }
//!end
//!end
//!for q L4
        if part == 0u {
            put(block + @qu * 4u * N + n, N, a_@q);
            put(block + (L + @qu * 4u) * N + n, N, b_@q);
        } else {
            mats[AAK + n * L4 + @qu] = a_@q;
            mats[ARK + n * L4 + @qu] = b_@q;
        }
//!end
    } else if part == 1u {
//!for q L4
//!if KEYS
        a_@q *= through * inverse[@qu];
//!else
        a_@q *= through;
//!end
        put(block + (2u * L + @qu * 4u) * N + n, N, a_@q);
//!end
    }
    workgroupBarrier();
    if part == 1u {
//!for q L4
//!for e 4
        {
            var sum = vec4<f32>(b_@q[@eu] * through, 0.0, 0.0, 0.0);
//!for s L4
            if @su >= @qu {
                sum += mats[AAK + (@qu * 4u + @eu) * L4 + @su] * a_@s;
            }
//!end
            acts[block + (3u * L + @qu * 4u + @eu) * N + n] = dot(sum, vec4<f32>(1.0));
        }
//!end
//!end
    } else if part == 2u {
//!for q L4
        var y_@q = vec4<f32>();
//!end
//!for q L4
//!for e 4
//!for s L4
        if @su >= @qu {
            y_@s += mats[ARK + (@qu * 4u + @eu) * L4 + @su] * v_@q[@eu];
        }
//!end
//!end
//!end
//!for q L4
//!for e 4
        if there_@q[@eu] {
            acts[p.more.z + at + (@qu * 4u + @eu) * p.more.w] = y_@q[@eu];
        }
//!end
//!end
    }
}
