// y = activation(sums of linear_cooperative over the parts that columns were shared out in), in order of the parts.
//
// A thread has four outputs of a row. Grid: fours of all rows / 256. partial (parts, T, rows), y (T, rows) in the activations,
// rows a multiple of four; with Y_HALF y in halves, too.

struct Params {
    // partial, parts, T, rows
    at: vec4<u32>,
    // y, activation, bias, y in halves
    out: vec4<u32>,
}
//!include bindings
//!include activation

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = p.at.z * p.at.w / 4u;
    if id.x >= n {
        return;
    }
    let y = p.out.x / 4u + id.x;
    let before = acts[y];
    var z = vec4<f32>();
    for (var part = 0u; part < p.at.y; part++) {
        z += acts[p.at.x / 4u + part * n + id.x];
    }
    let row = id.x * 4u % p.at.w;
    let out = vec4<f32>(
        activate(p.out.y, z.x, before.x, p.out.z, row),
        activate(p.out.y, z.y, before.y, p.out.z, row + 1u),
        activate(p.out.y, z.z, before.z, p.out.z, row + 2u),
        activate(p.out.y, z.w, before.w, p.out.z, row + 3u),
    );
    acts[y] = out;
//!if Y_HALF
    halves4[p.out.w / 2u + id.x] = vec4<f16>(clamp(out, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
//!end
}
