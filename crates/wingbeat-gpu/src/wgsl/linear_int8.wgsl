// y = activation(x W^T) for a group of products and a few rows of x: with quantized weights in products of packed int8,
// and where FLOATS also some with weights in floats, as what is beside costs less than what comes after.
//
// x is rounded to int8, a scale d = max|x| / 127 for each 16 values, while a workgroup stages it in tiles of TILE_K
// values; w = s q + o for each 16 weights, so y = sum over blocks of d (s (q . xq) + o sum(xq)).
// LANES threads share ROWS rows of W and add up their parts of the sums; a workgroup has THREADS / LANES such teams.
// The weights that a thread needs next are on their way while it computes, the first while x is staged.
// Grid: (tiles of all jobs, tiles of tokens).
// Floats read x where it is: their matrices are small, or a dispatch of their own would pay.
// W (rows, cols), cols a multiple of 32, of 8 for floats, in the weights; x (T, cols), y (T, stride) in the activations.
// Needs: subgroups where SUBGROUP.

//!include jobs
//!include bindings
//!include blocks
//!if FLOATS
//!include weights
//!end
//!include activation

// The first layout of integers.
const FIRST_INTEGER = 3u;
const TEAMS = THREADS / LANES;
const TILE_16 = TILE_K / 16u;
const TILE_32 = TILE_K / 32u;
// Of each token, first the first halves of all blocks of 32, then the second: neighbouring threads read neighbours.
var<workgroup> xq: array<vec4<u32>, TOKENS * TILE_16>;
// Their scales d, and d sum(xq).
var<workgroup> xs: array<vec2<f32>, TOKENS * TILE_16>;
//!if SUBGROUP
//!else
var<workgroup> parts: array<f32, THREADS * TOKENS>;
//!end

// 1 / d, finite: values too small for that count as zeros.
fn inverse(largest: f32) -> f32 {
    return select(0.0, 127.0 / largest, largest > 1e-35);
}

// Stages block `b` of a token's 16s: words as int8, the largest magnitude, the sum of the int8.
fn put(t: u32, b: u32, words: vec4<u32>, largest: f32, sum: i32) {
    let at = t * TILE_16 + (b & 1u) * TILE_32 + (b >> 1u);
    let d = largest / 127.0;
    xq[at] = words;
    xs[at] = vec2<f32>(d, d * f32(sum));
}

fn four(x: u32) -> vec4<f32> {
    return vec4<f32>(acts[x], acts[x + 1u], acts[x + 2u], acts[x + 3u]);
}

fn largest_of(x: vec4<f32>) -> f32 {
    let m = abs(x);
    return max(max(m.x, m.y), max(m.z, m.w));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let kind = job.shape.x;
//!if SOLE_INTEGER
    let integer = INTEGER;
//!else
    let integer = kind;
//!end
    let cols = job.shape.z;
    let planes = job.places.xyz;
    let team = thread / LANES;
    let lane = thread % LANES;
    let row0 = ((group.x - job.shape.w) * TEAMS + team) * ROWS;
    let token0 = group.y * TOKENS;
    let n_tokens = min(TOKENS, p.n.y - token0);
//!for r ROWS
    // Rows past the end repeat the last one and are not stored.
    let row_@r = min(row0 + @ru, job.shape.y - 1u);
//!for t TOKENS
    var sum_@r_@t = 0.0;
//!end
//!end
//!if FLOATS
    if kind < FIRST_INTEGER {
        for (var i = lane; i < cols / 8u; i += LANES) {
//!for r ROWS
            let w_@r = load8(kind, planes, cols, row_@r, i);
//!end
//!for t TOKENS
            {
                let x = job.places.w + (token0 + min(@tu, n_tokens - 1u)) * cols + i * 8u;
                let a = four(x);
                let b = four(x + 4u);
//!for r ROWS
                sum_@r_@t += dot(w_@r.a, a) + dot(w_@r.b, b);
//!end
            }
//!end
        }
    }
//!end
    // Columns in packed int8: all or none.
//!if FLOATS
    let integers = select(cols, 0u, kind < FIRST_INTEGER);
//!else
    let integers = cols;
//!end
    for (var k0 = 0u; k0 < integers; k0 += TILE_K) {
        let units = min(TILE_K, cols - k0) / 32u;
        let first = k0 / 32u;
//!for r ROWS
        var next_@r = fetch32(integer, planes, cols, row_@r, first + min(lane, units - 1u));
//!end
        let blocks = units * 2u;
        let x0 = job.places.w + token0 * cols + k0;
        workgroupBarrier();
//!if SUBGROUP
        // Four threads a block, several blocks on their way at once. Threads past the end repeat the last block.
        for (var n0 = thread / 4u; n0 < n_tokens * blocks; n0 += THREADS / 4u * STAGE) {
//!for s STAGE
            let n_@s = min(n0 + @su * (THREADS / 4u), n_tokens * blocks - 1u);
            let t_@s = n_@s / blocks;
            let b_@s = n_@s % blocks;
            let x_@s = four(x0 + t_@s * cols + b_@s * 16u + (thread & 3u) * 4u);
//!end
//!for s STAGE
            {
                var largest = largest_of(x_@s);
                largest = max(largest, subgroupShuffleXor(largest, 1u));
                largest = max(largest, subgroupShuffleXor(largest, 2u));
                let q = vec4<i32>(round(x_@s * inverse(largest)));
                var sum = q.x + q.y + q.z + q.w;
                sum += subgroupShuffleXor(sum, 1u);
                sum += subgroupShuffleXor(sum, 2u);
                let word = pack4xI8(q);
                let other = subgroupShuffleXor(word, 1u);
                // Of threads 0 and 1, and of threads 2 and 3, in order for the even ones.
                let pair = vec2<u32>(word, other);
                let words = vec4<u32>(pair, subgroupShuffleXor(pair.x, 2u), subgroupShuffleXor(pair.y, 2u));
                if (thread & 3u) == 0u && n0 + @su * (THREADS / 4u) < n_tokens * blocks {
                    put(t_@s, b_@s, words, largest, sum);
                }
            }
//!end
        }
//!else
        for (var n = thread; n < n_tokens * blocks; n += THREADS) {
            let t = n / blocks;
            let b = n % blocks;
            let x = x0 + t * cols + b * 16u;
            var values = array<vec4<f32>, 4>(four(x), four(x + 4u), four(x + 8u), four(x + 12u));
            var largest = 0.0;
            for (var i = 0u; i < 4u; i++) {
                largest = max(largest, largest_of(values[i]));
            }
            let scale = inverse(largest);
            var words: vec4<u32>;
            var sum = 0;
            for (var i = 0u; i < 4u; i++) {
                let q = vec4<i32>(round(values[i] * scale));
                sum += q.x + q.y + q.z + q.w;
                words[i] = pack4xI8(q);
            }
            put(t, b, words, largest, sum);
        }
//!end
        workgroupBarrier();
        for (var i = lane; i < units; i += LANES) {
//!for r ROWS
            let w_@r = unpack32(integer, next_@r, first + i);
//!end
            let ahead = first + min(i + LANES, units - 1u);
//!for r ROWS
            next_@r = fetch32(integer, planes, cols, row_@r, ahead);
//!end
//!for t TOKENS
            {
                let xa = xq[@tu * TILE_16 + i];
                let xb = xq[@tu * TILE_16 + TILE_32 + i];
                let da = xs[@tu * TILE_16 + i];
                let db = xs[@tu * TILE_16 + TILE_32 + i];
                let d = vec2<f32>(da.x, db.x);
                let sums = vec2<f32>(da.y, db.y);
//!for r ROWS
                {
                    let a = dot4I8Packed(w_@r.a.x, xa.x) + dot4I8Packed(w_@r.a.y, xa.y)
                        + dot4I8Packed(w_@r.a.z, xa.z) + dot4I8Packed(w_@r.a.w, xa.w);
                    let b = dot4I8Packed(w_@r.b.x, xb.x) + dot4I8Packed(w_@r.b.y, xb.y)
                        + dot4I8Packed(w_@r.b.z, xb.z) + dot4I8Packed(w_@r.b.w, xb.w);
                    sum_@r_@t += dot(w_@r.scale * d, vec2<f32>(f32(a), f32(b))) + dot(w_@r.offset, sums);
                }
//!end
            }
//!end
        }
    }
//!for r ROWS
//!if SUBGROUP
//!for t TOKENS
    let total_@r_@t = subgroupAdd(sum_@r_@t);
    if lane == @tu % LANES && @tu < n_tokens && row0 + @ru < job.shape.y {
        let y = job.out.x + (token0 + @tu) * job.out.w + row0 + @ru;
        acts[y] = activate(job.out.y, total_@r_@t, acts[y], job.out.z, row0 + @ru);
    }
//!end
//!else
    workgroupBarrier();
//!for t TOKENS
    parts[@tu * THREADS + thread] = sum_@r_@t;
//!end
    workgroupBarrier();
    for (var t = lane; t < n_tokens; t += LANES) {
        if row0 + @ru < job.shape.y {
            var total = 0.0;
            for (var i = 0u; i < LANES; i++) {
                total += parts[t * THREADS + team * LANES + i];
            }
            let y = job.out.x + (token0 + t) * job.out.w + row0 + @ru;
            acts[y] = activate(job.out.y, total, acts[y], job.out.z, row0 + @ru);
        }
    }
//!end
//!end
}
