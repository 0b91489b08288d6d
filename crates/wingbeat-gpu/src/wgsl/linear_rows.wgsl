// y = activation(x W^T) for a group of independent products and a few rows of x: each weight is read once for TOKENS
// rows.
//
// LANES threads share ROWS rows of W and add up their parts of the sums; a workgroup has THREADS / LANES such teams.
// x goes through shared memory in tiles of TILE_K values, the halves of its eights apart, so that neighbouring threads
// read neighbouring words. Grid: (tiles of all jobs, tiles of tokens).
// W (rows, cols) in the weights; x (T, cols), y (T, stride) in the activations. Needs: subgroups where SUBGROUP.

//!include jobs
//!include bindings
//!include weights
//!include activation
//!include carry

const TEAMS = THREADS / LANES;
//!if X_DIRECT
//!else
const TILE_8 = TILE_K / 8u;
var<workgroup> xa: array<vec4<f32>, TOKENS * TILE_8>;
var<workgroup> xb: array<vec4<f32>, TOKENS * TILE_8>;
//!end
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
    let kind = layout_of(job);
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
//!if X_DIRECT
    // A row of activations is read where it lies, which the first cache holds.
    let x_at = job.places.w / 4u + token0 * cols / 4u;
    let first8 = 0u;
    let eights = cols / 8u;
//!include rows_first
//!include rows_dot
//!else
    for (var k0 = 0u; k0 < cols; k0 += TILE_K) {
        let first8 = k0 / 8u;
        let eights = (min(TILE_K, cols - k0) + 7u) / 8u;
        // The weights that a thread needs next are on their way while it computes, the first while x is staged.
//!include rows_first
        workgroupBarrier();
        for (var i = thread; i < TOKENS * TILE_8; i += THREADS) {
            let t = i / TILE_8;
            let k = k0 + (i % TILE_8) * 8u;
            var a = vec4<f32>();
            var b = vec4<f32>();
            if t < n_tokens {
                let x = job.places.w + (token0 + t) * cols + k;
                if k + 8u <= cols {
                    a = vec4<f32>(acts[x], acts[x + 1u], acts[x + 2u], acts[x + 3u]);
                    b = vec4<f32>(acts[x + 4u], acts[x + 5u], acts[x + 6u], acts[x + 7u]);
                } else {
                    for (var j = 0u; k + j < cols; j++) {
                        if j < 4u { a[j] = acts[x + j]; } else { b[j - 4u] = acts[x + j]; }
                    }
                }
            }
            xa[i] = a;
            xb[i] = b;
        }
        workgroupBarrier();
//!include rows_dot
    }
//!end
//!include rows_store
//!if CARRY
//!if CARRY_ONE
    carry_put((group.y * groups.x + group.x) * THREADS + thread, carried);
//!else
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
//!end
}
