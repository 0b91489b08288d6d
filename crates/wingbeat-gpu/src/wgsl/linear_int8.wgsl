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
//!include int8_stage
//!include carry

// The first layout of integers.
const FIRST_INTEGER = 3u;
const TEAMS = THREADS / LANES;
const TILE_16 = TILE_K / 16u;
const TILE_32 = TILE_K / 32u;
//!if SUBGROUP
//!else
var<workgroup> parts: array<f32, THREADS * TOKENS>;
//!end

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let job = job_of(group.x);
//!if CARRY_ONE
    let carried = carry_take((group.y * groups.x + group.x) * THREADS + thread);
//!end
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
//!include rows_own
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
//!for u AHEAD_32
//!for r ROWS
        var next_@r_@u: Fetched;
//!end
//!end
//!include int8_first
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
                let block = rounded16(x_@s, thread);
                if (thread & 3u) == 0u && n0 + @su * (THREADS / 4u) < n_tokens * blocks {
                    put(t_@s, b_@s, block);
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
            put(t, b, Rounded(words, largest, sum));
        }
//!end
        workgroupBarrier();
//!include int8_dot
    }
//!include rows_store
//!if CARRY
//!if CARRY_ONE
    carry_put((group.y * groups.x + group.x) * THREADS + thread, carried);
//!else
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
//!end
}
