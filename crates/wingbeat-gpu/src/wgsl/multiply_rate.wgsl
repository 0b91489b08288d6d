// Multiplies and adds values in registers, to see how fast that goes: what products of many rows are bound by.
// With COOPERATIVE a warp of 32 threads has FRAGMENTS x FRAGMENTS sums of 16 x 16 in f32 and as many fragments of halves on
// either side; a step is a product for each sum. Without, a thread has SUMS sums of four in f32; a step is a multiplication and
// an addition for each value. No sum waits for another. Grid: workgroups, as many as one likes, of WARPS x 32 threads.
// Needs: f16, cooperative matrices, with COOPERATIVE.

struct Params {
    // Steps.
    n: vec4<u32>,
    // What no result is: its writing is what keeps a compiler from dropping the products.
    never: vec4<u32>,
}
//!include bindings

//!if COOPERATIVE
// Sixteen rows of four fours in each fragment.
var<workgroup> values: array<vec4<f16>, FRAGMENTS * 64u>;
var<workgroup> sums: array<f32, WARPS * 256u>;
//!end

@compute @workgroup_size(WARPS * 32u)
fn main(@builtin(local_invocation_index) thread: u32) {
//!if COOPERATIVE
    let warp = thread / 32u;
    // Of both signs, so that sums stay small.
    for (var i = thread; i < FRAGMENTS * 64u; i += WARPS * 32u) {
        let v = vec4<u32>(i * 37u, i * 37u + 11u, i * 37u + 22u, i * 37u + 33u) % vec4<u32>(127u);
        values[i] = vec4<f16>((vec4<f32>(v) - 63.0) / 64.0);
    }
    workgroupBarrier();
//!for i FRAGMENTS
    let a_@i = coopLoadT<coop_mat16x16<f16, A>>(&values[@iu * 64u], 4u);
    let b_@i = coopLoad<coop_mat16x16<f16, B>>(&values[@iu * 64u], 4u);
//!end
//!for i FRAGMENTS
//!for j FRAGMENTS
    var sum_@i_@j: coop_mat16x16<f32, C>;
//!end
//!end
    for (var step = 0u; step < p.n.x; step += UNROLLED) {
//!for u UNROLLED
//!for i FRAGMENTS
//!for j FRAGMENTS
        sum_@i_@j = coopMultiplyAdd(a_@i, b_@j, sum_@i_@j);
//!end
//!end
//!end
    }
    var unlikely = true;
//!for i FRAGMENTS
//!for j FRAGMENTS
    coopStoreT(sum_@i_@j, &sums[warp * 256u], 16u);
    workgroupBarrier();
    unlikely &= bitcast<u32>(sums[thread]) == p.never.x;
    workgroupBarrier();
//!end
//!end
    if unlikely {
        acts[0] = 0.0;
    }
//!else
    // A little below one, and a little: sums stay where they are.
    let x = vec4<f32>(0.5, 0.625, 0.75, 0.875) + f32(thread) / 4096.0;
//!for i SUMS
    var sum_@i = vec4<f32>(@i.0, 1.0, 2.0, 3.0);
    let w_@i = x * (@i.0 + 1.0);
//!end
    for (var step = 0u; step < p.n.x; step += UNROLLED) {
//!for u UNROLLED
//!for i SUMS
        sum_@i = fma(sum_@i, x, w_@i);
//!end
//!end
    }
    var sum = vec4<f32>();
//!for i SUMS
    sum += sum_@i;
//!end
    if all(bitcast<vec4<u32>>(sum) == p.never) {
        acts[0] = 0.0;
    }
//!end
}
