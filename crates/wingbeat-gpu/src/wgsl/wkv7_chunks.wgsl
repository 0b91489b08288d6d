// The RWKV-7 recurrence in chunks of L tokens, first part: what can be said of a chunk before the state at its start, S0,
// is known. All chunks are computed at once; wkv7_scan goes from chunk to chunk.
//
// With α_t = -kk_t, β_t = kk_t * a_t and W_t the product of w_1 … w_t (a key each), a step is
//   S_t = S_{t-1} diag(w_t) + u_t β_t^T + v_t k_t^T,  u_t = S_{t-1} α_t,  y_t = S_t r_t.
// Written out to the chunk's start, with α~_t = W_{t-1} α_t, r~_t = W_t r_t, β~_t = β_t / W_t, k~_t = k_t / W_t and the
// matrices (L, L) Aab, Aak (j < t) and Arb, Ark (j <= t) of the products that their names say, all rows of u and y are
//   u = T (α~ S0^T + Aak v),  y = r~ S0^T + Arb u + Ark v,  T = (1 - Aab)^-1
// so that with M = Arb T, P = T Aak, Q = Arb P + Ark
//   u = (T α~) S0^T + P v,  y = (r~ + M α~) S0^T + Q v,  S_L = S0 diag(W_L) + u^T (β W_L / W) + v^T (k W_L / W).
// w is above 0.545 (e^-0.6065…), so 1 / W is below 1.7e4 for L = 16: f32 holds it.
//
// Stored a chunk and head: T α~, r~ + M α~, β W_L / W, k W_L / W (L, N), W_L (N), P v (L, N); Q v goes to y. Tokens past a
// sequence's end are steps that change nothing. A head of a chunk a workgroup. Grid: (H, chunks). Buffers (T, C) in the
// activations, which are seen in fours here.

struct Params {
    // r, w, k, v
    at: vec4<u32>,
    // kk, a, y, C
    more: vec4<u32>,
    // results, first entry of the chunk list
    out: vec4<u32>,
}
//!include bindings

const THREADS = 256u;
const N4 = N / 4u;
const L4 = L / 4u;
// Rows of fours begin in other banks.
const STRIDE = N4 + 1u;
const BLOCK4 = (5u * L + 1u) * N4;

// Rows α~, r~, β~, k~.
var<workgroup> rows: array<vec4<f32>, 4u * L * STRIDE>;
// Decays, later values.
var<workgroup> vs: array<vec4<f32>, L * STRIDE>;
// Aab (later Q), Aak, Arb, Ark, T, M, P.
var<workgroup> mats: array<vec4<f32>, 7u * L * L4>;
const AAB = 0u;
const AAK = 1u;
const ARB = 2u;
const ARK = 3u;
const T = 4u;
const M = 5u;
const P = 6u;
const Q = 0u;

// Four values of row t of the product of two of the matrices.
fn product(left: u32, right: u32, t: u32, c: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var j = 0u; j < L4; j++) {
        let l = mats[(left * L + t) * L4 + j];
        let at = (right * L + j * 4u) * L4 + c;
        sum += l.x * mats[at] + l.y * mats[at + L4] + l.z * mats[at + 2u * L4] + l.w * mats[at + 3u * L4];
    }
    return sum;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = map[p.out.y + group.y * 2u];
    let n_tokens = map[p.out.y + group.y * 2u + 1u];
    let c4 = p.more.w / 4u;
    let head = first * c4 + group.x * N4;
    let block = p.out.x / 4u + (group.y * groups.x + group.x) * BLOCK4;
    for (var i = thread; i < L * N4; i += THREADS) {
        let t = i / N4;
        let f = i % N4;
        var w = vec4<f32>(1.0);
        if t < n_tokens {
            w = acts[p.at.y / 4u + head + t * c4 + f];
        }
        vs[t * STRIDE + f] = w;
    }
    workgroupBarrier();
    for (var i = thread; i < L * N4; i += THREADS) {
        let t = i / N4;
        let f = i % N4;
        var r = vec4<f32>();
        var k = vec4<f32>();
        var kk = vec4<f32>();
        var a = vec4<f32>();
        if t < n_tokens {
            let at = head + t * c4 + f;
            r = acts[p.at.x / 4u + at];
            k = acts[p.at.z / 4u + at];
            kk = acts[p.more.x / 4u + at];
            a = acts[p.more.y / 4u + at];
        }
        var before = vec4<f32>(1.0);
        var after = vec4<f32>(1.0);
        for (var j = 0u; j < L; j++) {
            let w = vs[j * STRIDE + f];
            if j < t {
                before *= w;
            }
            if j > t {
                after *= w;
            }
        }
        let through = before * vs[t * STRIDE + f];
        let b = kk * a;
        rows[t * STRIDE + f] = -kk * before;
        rows[(L + t) * STRIDE + f] = r * through;
        rows[(2u * L + t) * STRIDE + f] = b / through;
        rows[(3u * L + t) * STRIDE + f] = k / through;
        acts[block + (2u * L + t) * N4 + f] = b * after;
        acts[block + (3u * L + t) * N4 + f] = k * after;
        if t == L - 1u {
            acts[block + 4u * L * N4 + f] = through;
        }
    }
    workgroupBarrier();
    for (var i = thread; i < L * N4; i += THREADS) {
        let t = i / N4;
        let f = i % N4;
        var v = vec4<f32>();
        if t < n_tokens {
            v = acts[p.at.w / 4u + head + t * c4 + f];
        }
        vs[t * STRIDE + f] = v;
    }
    for (var i = thread; i < 4u * L * L4; i += THREADS) {
        let which = i / (L * L4);
        let t = i / L4 % L;
        let j = i % L4 * 4u;
        let left = ((which >> 1u) * L + t) * STRIDE;
        let right = ((2u + (which & 1u)) * L + j) * STRIDE;
        var sum = vec4<f32>();
        for (var f = 0u; f < N4; f++) {
            let x = rows[left + f];
            sum += vec4<f32>(
                dot(x, rows[right + f]),
                dot(x, rows[right + STRIDE + f]),
                dot(x, rows[right + 2u * STRIDE + f]),
                dot(x, rows[right + 3u * STRIDE + f]),
            );
        }
        let earlier = vec4<u32>(j, j + 1u, j + 2u, j + 3u) < vec4<u32>(t + (which >> 1u));
        mats[i] = select(vec4<f32>(), sum, earlier);
    }
    workgroupBarrier();
    // Row after row: T_t = 1_t + sum over j < t of Aab[t][j] T_j, four columns a thread.
    if thread < L4 {
        let columns = vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(thread * 4u);
//!for t L
        var x_@t = select(vec4<f32>(), vec4<f32>(1.0), columns == vec4<u32>(@tu));
//!end
//!for t L
//!for j L
        if @ju < @tu {
            x_@t += mats[@tu * L4 + @ju / 4u][@ju % 4u] * x_@j;
        }
//!end
        mats[(T * L + @tu) * L4 + thread] = x_@t;
//!end
    }
    workgroupBarrier();
    for (var i = thread; i < 2u * L * L4; i += THREADS) {
        let t = i / L4 % L;
        if i < L * L4 {
            mats[M * L * L4 + i] = product(ARB, T, t, i % L4);
        } else {
            mats[M * L * L4 + i] = product(T, AAK, t, i % L4);
        }
    }
    workgroupBarrier();
    for (var i = thread; i < L * L4; i += THREADS) {
        mats[Q * L * L4 + i] = product(ARB, P, i / L4, i % L4) + mats[ARK * L * L4 + i];
    }
    workgroupBarrier();
    for (var i = thread; i < L * N4; i += THREADS) {
        let t = i / N4;
        let f = i % N4;
        var alpha = vec4<f32>();
        var r = rows[(L + t) * STRIDE + f];
        var u = vec4<f32>();
        var y = vec4<f32>();
        for (var j = 0u; j < L4; j++) {
            let of_t = mats[(T * L + t) * L4 + j];
            let of_m = mats[(M * L + t) * L4 + j];
            let of_p = mats[(P * L + t) * L4 + j];
            let of_q = mats[(Q * L + t) * L4 + j];
//!for c FOUR
            let a_@c = rows[(j * 4u + @cu) * STRIDE + f];
            let v_@c = vs[(j * 4u + @cu) * STRIDE + f];
            alpha += of_t[@cu] * a_@c;
            r += of_m[@cu] * a_@c;
            u += of_p[@cu] * v_@c;
            y += of_q[@cu] * v_@c;
//!end
        }
        acts[block + t * N4 + f] = alpha;
        acts[block + (L + t) * N4 + f] = r;
        acts[block + (4u * L + 1u + t) * N4 + f] = u;
        if t < n_tokens {
            acts[p.more.z / 4u + head + t * c4 + f] = y;
        }
    }
}
