// y = activation(x W^T) for a group of independent products and many rows of x, in plain f32.
//
// A workgroup of 256 threads makes a tile of 64 tokens by 64 rows of W, a thread 4 by 4 of it; both operands pass through
// shared memory in steps of 16 columns, one step while the next is on its way. Grid: (tiles of all jobs along the rows
// of W, tiles of tokens).
// W (rows, cols) in the weights; x (T, cols), y (T, stride) in the activations.

//!include jobs
//!include bindings
//!include weights
//!include activation

const SIDE = 64u;
const STEP = 16u;
// Four tokens together. One more, so that a column's values lie in different banks; likewise of W.
const FOURS = SIDE / 4u;
const X_PITCH = FOURS + 1u;
const W_PITCH = SIDE + 1u;
var<workgroup> xs: array<vec4<f32>, STEP * X_PITCH>;
var<workgroup> ws: array<f32, STEP * W_PITCH>;

// x[token][k], 0 past the end of a row; tokens past the end repeat the last and are not stored.
fn load_x(job: Job, token: u32, k: u32) -> f32 {
    let x = job.places.w + min(token, p.n.y - 1u) * job.shape.z;
    return select(0.0, acts[x + min(k, job.shape.z - 1u)], k < job.shape.z);
}

fn load_x4(job: Job, token: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(
        load_x(job, token, k),
        load_x(job, token + 1u, k),
        load_x(job, token + 2u, k),
        load_x(job, token + 3u, k),
    );
}

// Eight weights of a row from column k on; 0 past the end of it, as rows are padded with zeros to whole eights. Of matrices
// kept by input, eight weights of a column from a row on: columns are padded with zeros, rows past the end repeat the last.
fn load_w8(job: Job, row: u32, k: u32) -> Eight {
//!if BY_INPUT
    return load8_outputs(job.shape.x, job.places.xyz, k, min(row, job.shape.y - 1u) / 8u);
//!else
    var w: Eight;
    if k < job.shape.z {
        w = load8(layout_of(job), job.places.xyz, job.shape.z, min(row, job.shape.y - 1u), k / 8u);
    }
    return w;
//!end
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let cols = job.shape.z;
    let row0 = (group.x - job.shape.w) * SIDE;
    let token0 = group.y * SIDE;
    // What a thread computes: four tokens, and every sixteenth row.
    let across = thread % 16u;
    let down = thread / 16u;
    // What it brings: of x a column of four tokens, and half of the threads eight weights.
    let x_k = thread % STEP;
    let x_four = thread / STEP;
//!if BY_INPUT
    let w_row = thread % (SIDE / 8u) * 8u;
    let w_k = thread / (SIDE / 8u);
    let brings_w = w_k < STEP;
//!else
    let w_row = thread / 2u;
    let w_k = thread % 2u * 8u;
    let brings_w = w_row < SIDE;
//!end
//!for i 4
    var sum_@i = vec4<f32>();
//!end
    var x_next = load_x4(job, token0 + x_four * 4u, x_k);
    var w_next: Eight;
    if brings_w {
        w_next = load_w8(job, row0 + w_row, w_k);
    }
    for (var k0 = 0u; k0 < cols; k0 += STEP) {
        workgroupBarrier();
        xs[x_k * X_PITCH + x_four] = x_next;
        if brings_w {
//!for j 4
//!if BY_INPUT
            ws[w_k * W_PITCH + w_row + @ju] = w_next.a[@j];
            ws[w_k * W_PITCH + w_row + 4u + @ju] = w_next.b[@j];
//!else
            ws[(w_k + @ju) * W_PITCH + w_row] = w_next.a[@j];
            ws[(w_k + 4u + @ju) * W_PITCH + w_row] = w_next.b[@j];
//!end
//!end
        }
        workgroupBarrier();
        if k0 + STEP < cols {
            x_next = load_x4(job, token0 + x_four * 4u, k0 + STEP + x_k);
            if brings_w {
                w_next = load_w8(job, row0 + w_row, k0 + STEP + w_k);
            }
        }
        for (var k = 0u; k < STEP; k++) {
            let at = k * W_PITCH + across;
            let x = xs[k * X_PITCH + down];
            let w = vec4<f32>(ws[at], ws[at + 16u], ws[at + 32u], ws[at + 48u]);
//!for i 4
            sum_@i += x[@i] * w;
//!end
        }
    }
//!for i 4
    {
        let t = token0 + down * 4u + @iu;
        for (var j = 0u; j < 4u; j++) {
            let row = row0 + across + j * 16u;
            if t < p.n.y && row < job.shape.y {
                let y = job.out.x + t * job.out.w + row;
                acts[y] = activate(job.out.y, sum_@i[j], acts[y], job.out.z, row);
            }
        }
    }
//!end
}
