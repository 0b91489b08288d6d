// What token_shift and linear_int8 do, in one dispatch: shift_linear with products of packed int8.
//
// Each workgroup makes the shifted input of its job anew and rounds it, four neighbouring threads a block of 16, the first
// weights on their way meanwhile. Where FLOATS, jobs with weights in floats find their input in shared memory too, as it is.
// Grid: tiles of all jobs. C is WIDTH, a multiple of 32.
// x, normed, y (T, .) in the activations; weight, bias, mixes (C) in the vectors; W (rows, C) in the weights. A job's x is
// its mix. Needs: subgroups where SUBGROUP.

//!include jobs
//!include bindings
//!include blocks
//!if FLOATS
//!include weights
//!end
//!include activation
//!include reduce
//!include fours

// The first layout of integers.
const FIRST_INTEGER = 3u;
const TEAMS = THREADS / LANES;
const TILE_16 = WIDTH / 16u;
const TILE_32 = WIDTH / 32u;
//!include int8_stage
//!if FLOATS
const TILE_8 = WIDTH / 8u;
var<workgroup> xa: array<vec4<f32>, TOKENS * TILE_8>;
var<workgroup> xb: array<vec4<f32>, TOKENS * TILE_8>;
//!end
//!if SUBGROUP
//!else
var<workgroup> parts: array<f32, THREADS * TOKENS>;
//!end

// Every thread must call this, in uniform control flow.
fn stage(kind: u32, t: u32, c: u32, own: bool, x: vec4<f32>, thread: u32) {
//!if FLOATS
    if own && kind < FIRST_INTEGER {
        let at = t * TILE_8 + c / 8u;
        if (c & 4u) == 0u {
            xa[at] = x;
        } else {
            xb[at] = x;
        }
    }
//!end
    let block = rounded16(x, thread);
    if own && (thread & 3u) == 0u {
        put(t, c / 16u, block);
    }
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
    let first = 0u;
    // Of a float's job none.
//!if FLOATS
    let units = select(TILE_32, 0u, kind < FIRST_INTEGER);
//!else
    let units = TILE_32;
//!end
//!for u AHEAD_32
//!for r ROWS
    var next_@r_@u: Fetched;
//!end
//!end
    if units != 0u {
//!include int8_first
    }
//!include shift
//!include int8_dot
//!if FLOATS
    if kind < FIRST_INTEGER {
        let first8 = 0u;
        let eights = TILE_8;
//!include rows_first
//!include rows_dot
    }
//!end
//!include rows_store
}
