// y = activation((n + (last - n) * mix) W^T) for a group of products, with n = layer norm of x and `last` the states of
// sequences of one token each: what token_shift and linear_rows do, in one dispatch.
//
// Each workgroup makes the shifted input of its job anew, in shared memory, the first weights on their way meanwhile; then it
// is linear_rows. n goes to `normed`, from where a later dispatch takes it to the states (lib/carry.wgsl).
// Grid: tiles of all jobs. C is WIDTH, a multiple of eight.
// x, normed, y (T, .) in the activations; weight, bias, mixes (C) in the vectors; W (rows, C) in the weights. A job's x is
// its mix. Needs: subgroups where SUBGROUP.

//!include jobs
//!include bindings
//!include weights
//!include activation
//!include reduce
//!include fours

const TEAMS = THREADS / LANES;
const TILE_8 = WIDTH / 8u;
var<workgroup> xa: array<vec4<f32>, TOKENS * TILE_8>;
var<workgroup> xb: array<vec4<f32>, TOKENS * TILE_8>;
//!if SUBGROUP
//!else
var<workgroup> parts: array<f32, THREADS * TOKENS>;
//!end

fn stage(kind: u32, t: u32, c: u32, own: bool, x: vec4<f32>, thread: u32) {
    if own {
        let at = t * TILE_8 + c / 8u;
        if (c & 4u) == 0u {
            xa[at] = x;
        } else {
            xb[at] = x;
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let kind = layout_of(job);
    let cols = WIDTH;
    let planes = job.places.xyz;
    let team = thread / LANES;
    let lane = thread % LANES;
    let row0 = ((group.x - job.shape.w) * TEAMS + team) * ROWS;
    let token0 = 0u;
    let n_tokens = TOKENS;
//!include rows_own
//!for r ROWS
    // Rows past the end repeat the last one and are not stored.
    let row_@r = min(row0 + @ru, job.shape.y - 1u);
//!for t TOKENS
    var sum_@r_@t = 0.0;
//!end
//!end
//!if PAIR
    // Each of the two layouts has code of its own: reading is then free of choices.
    if kind == KIND_0 {
        const kind = KIND_0;
//!include shift_rows
    } else {
        const kind = KIND_1;
//!include shift_rows
    }
//!else
//!include shift_rows
//!end
}
