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
    // jobs, T, and what a kernel says
    n: vec4<u32>,
    // The first tile of each job, together, as they are looked for before anything else; past the last the largest number.
    firsts: array<vec4<u32>, 2>,
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
    let one = vec4<u32>(1u);
    let before = select(vec4<u32>(), one, vec4<u32>(tile) >= p.firsts[0])
        + select(vec4<u32>(), one, vec4<u32>(tile) >= p.firsts[1]);
    return p.jobs[before.x + before.y + before.z + before.w - 1u];
}

// The layout of a job's weights: known beforehand where all jobs of the dispatch have the same.
fn layout_of(job: Job) -> u32 {
//!if SOLE
    return LAYOUT;
//!else
    return job.shape.x;
//!end
}
