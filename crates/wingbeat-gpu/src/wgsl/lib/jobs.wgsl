// A group of products of one dispatch (ops/linear.rs fills it): each has some tiles of the grid, one after the other.

struct Job {
    // layout, rows, cols, first tile
    shape: vec4<u32>,
    // planes, x
    places: vec4<u32>,
    // y, activation, bias, stride of y
    out: vec4<u32>,
}
struct Params {
    // jobs, T
    n: vec4<u32>,
    jobs: array<Job, 8>,
//!if SHIFT
    // x, normed, C, first entry of the row list
    at: vec4<u32>,
    // weight, bias, state slab within a slot, floats of a slot
    norm: vec4<u32>,
    eps: vec4<f32>,
//!else
    carry: array<vec4<u32>, 2>,
//!end
}

// The job that a tile belongs to.
fn job_of(tile: u32) -> Job {
    var index = 0u;
    for (var i = 1u; i < p.n.x; i++) {
        if tile >= p.jobs[i].shape.w {
            index = i;
        }
    }
    return p.jobs[index];
}

// The layout of a job's weights: known beforehand where all jobs of the dispatch have the same.
fn layout_of(job: Job) -> u32 {
//!if SOLE
    return LAYOUT;
//!else
    return job.shape.x;
//!end
}
