// Integers that are kept by input (weights/by_input.rs) as halves, kept by input too, for products of more rows, whose tiles
// would unpack each weight again and again.
//
// A thread has eight outputs of sixteen inputs, which share their scales. Grid: (eights of outputs / 64, sixteens of inputs).
// expanded (cols, eights of outputs): of each input all outputs, columns padded to whole bands.

struct Params {
    // kind, planes
    at: vec4<u32>,
}
//!include bindings
//!include weights

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let kind = p.at.x;
    let n8 = kind >> 8u;
    let r8 = group.x * 64u + thread;
    if r8 >= n8 {
        return;
    }
    let first = group.y * 16u;
    let w = scales8(kind, p.at.yzw, first, r8);
//!for i 16
    {
        let q = values8(kind, p.at.yzw, first + @iu, r8);
        let a = clamp(q.a * w.s.a + w.m.a, vec4<f32>(-65504.0), vec4<f32>(65504.0));
        let b = clamp(q.b * w.s.b + w.m.b, vec4<f32>(-65504.0), vec4<f32>(65504.0));
        expanded[(first + @iu) * n8 + r8] =
            vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
    }
//!end
}
