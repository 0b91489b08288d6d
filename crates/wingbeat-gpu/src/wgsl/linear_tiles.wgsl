// y = activation(x W^T) for a group of independent products and many rows of x, in plain f32.
//
// A workgroup of 256 threads makes a tile of 64 tokens by 64 rows of W, a thread 4 by 4 of it; both operands pass through
// shared memory in steps of 16 columns. Grid: (tiles of all jobs along the rows of W, tiles of tokens).
// W (rows, cols) in the weights; x (T, cols), y (T, stride) in the activations.

//!include jobs
//!include bindings
//!include weights
//!include activation

const SIDE = 64u;
const STEP = 16u;
// A row more, so that a column's values lie in different banks.
var<workgroup> xs: array<f32, STEP * (SIDE + 1u)>;
var<workgroup> ws: array<f32, STEP * (SIDE + 1u)>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let kind = layout_of(job);
    let rows = job.shape.y;
    let cols = job.shape.z;
    let row0 = (group.x - job.shape.w) * SIDE;
    let token0 = group.y * SIDE;
    let across = thread % 16u;
    let down = thread / 16u;
//!for i 4
    var sum_@i = vec4<f32>();
//!end
    for (var k0 = 0u; k0 < cols; k0 += STEP) {
        workgroupBarrier();
        for (var i = thread; i < SIDE * STEP; i += 256u) {
            let t = token0 + i / STEP;
            let k = k0 + i % STEP;
            var value = 0.0;
            if t < p.n.y && k < cols {
                value = acts[job.places.w + t * cols + k];
            }
            xs[(i % STEP) * (SIDE + 1u) + i / STEP] = value;
        }
        if thread < SIDE * STEP / 8u {
            var w: Eight;
//!if BY_INPUT
            // All of the jobs are kept by input then: eight rows of a column.
            let k = thread / (SIDE / 8u);
            let r = (thread % (SIDE / 8u)) * 8u;
            if row0 + r < rows && k0 + k < cols {
                w = load8_outputs(job.shape.x, job.places.xyz, k0 + k, (row0 + r) / 8u);
            }
            for (var j = 0u; j < 4u; j++) {
                ws[k * (SIDE + 1u) + r + j] = w.a[j];
                ws[k * (SIDE + 1u) + r + 4u + j] = w.b[j];
            }
//!else
            let r = thread / (STEP / 8u);
            let k = (thread % (STEP / 8u)) * 8u;
            // Rows are padded with zeros to whole eights.
            if row0 + r < rows && k0 + k < cols {
                w = load8(kind, job.places.xyz, cols, row0 + r, (k0 + k) / 8u);
            }
            for (var j = 0u; j < 4u; j++) {
                ws[(k + j) * (SIDE + 1u) + r] = w.a[j];
                ws[(k + 4u + j) * (SIDE + 1u) + r] = w.b[j];
            }
//!end
        }
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let at = k * (SIDE + 1u);
            let w = vec4<f32>(
                ws[at + across],
                ws[at + across + 16u],
                ws[at + across + 32u],
                ws[at + across + 48u],
            );
//!for i 4
            sum_@i += xs[at + down * 4u + @iu] * w;
//!end
        }
    }
//!for i 4
    {
        let t = token0 + down * 4u + @iu;
        for (var j = 0u; j < 4u; j++) {
            let row = row0 + across + j * 16u;
            if t < p.n.y && row < rows {
                let y = job.out.x + t * job.out.w + row;
                acts[y] = activate(job.out.y, sum_@i[j], acts[y], job.out.z, row);
            }
        }
    }
//!end
}
