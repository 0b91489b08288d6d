// y = activation(sums of linear_sparse over all bands), in order of the bands.
//
// A workgroup takes 32 outputs of a row, and eight threads share an output. Grid: (outputs / 32, T).
// partial (bands, T, 8, eights of outputs), y (T, rows) in the activations.

struct Params {
    // partial, bands, T, rows
    at: vec4<u32>,
    // y, activation, bias
    out: vec4<u32>,
}
//!include bindings
//!include activation

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let rows = p.at.w;
    let n8 = (rows + 7u) / 8u;
    // In the order of `partial`: neighbouring threads read neighbouring values.
    let place = group.x * 32u + thread % 32u;
    let at = p.at.x + group.y * 8u * n8 + place;
    var sum = 0.0;
    if place < 8u * n8 {
        for (var band = thread / 32u; band < p.at.y; band += 8u) {
            sum += acts[at + band * p.at.z * 8u * n8];
        }
    }
    parts[thread] = sum;
    workgroupBarrier();
    let row = place % n8 * 8u + place / n8;
    if thread < 32u && place < 8u * n8 && row < rows {
        for (var i = 1u; i < 8u; i++) {
            sum += parts[i * 32u + thread];
        }
        let y = p.out.x + group.y * rows + row;
        acts[y] = activate(p.out.y, sum, acts[y], p.out.z, row);
    }
}
