// Sums of a product x W^T where most of x is zero and W is kept by input: inputs that are zero in all rows of x cost
// nothing.
//
// A workgroup takes 256 outputs and some bands of 256 inputs. Of a band each of 8 teams of 32 lanes takes 32 inputs, a lane
// 8 outputs. Which inputs are not zero is a mask of bits a team, so that the order of the sums is always the same. What the
// teams have is added up and goes to `partial`, which linear_sparse_sum adds up over the bands.
// Grid: (outputs / 256, bands / STEPS).
// x (T, cols) in the activations; partial (grid.y, T, 8, eights of outputs), a lane's first outputs first.

struct Params {
    // kind, rows, cols, bands a workgroup takes
    shape: vec4<u32>,
    // planes, x
    places: vec4<u32>,
    // partial, T
    out: vec4<u32>,
    carry: array<vec4<u32>, 2>,
}
//!include bindings
//!include weights
//!include carry

const TEAMS = 8u;
var<workgroup> xs: array<f32, TOKENS * 256u>;
var<workgroup> used: array<atomic<u32>, TEAMS>;
var<workgroup> parts: array<vec4<f32>, (TEAMS - 1u) * 64u>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let kind = p.shape.x;
//!if CARRY_ONE
    let carried = carry_take((group.y * groups.x + group.x) * 256u + thread);
//!end
    let n8 = kind >> 8u;
    let cols = p.shape.z;
    let planes = p.places.xyz;
    let team = thread / 32u;
    let lane = thread % 32u;
    let own8 = group.x * 32u + lane;
    // Lanes past the end repeat the last eight and store nothing.
    let r8 = min(own8, n8 - 1u);
//!for t TOKENS
    var a_@t = vec4<f32>();
    var b_@t = vec4<f32>();
//!end
    for (var step = 0u; step < p.shape.w; step++) {
        let first = (group.y * p.shape.w + step) * 256u;
        if first >= cols {
            break;
        }
        workgroupBarrier();
        if thread < TEAMS {
            atomicStore(&used[thread], 0u);
        }
        let base = first + team * 32u;
//!if SCALED
        // Most groups have an input that counts: their scales can be on their way before it is known which.
//!for h GROUPS
        let scales_@h = scales8(kind, planes, base + @hu * (32u / GROUPS), r8);
//!end
//!end
        workgroupBarrier();
        var counts = false;
//!for t TOKENS
        {
            var x = 0.0;
            if first + thread < cols && @tu < p.out.y {
                x = acts[p.places.w + @tu * cols + first + thread];
            }
            xs[@tu * 256u + thread] = x;
            counts = counts || x != 0.0;
        }
//!end
        if counts {
            atomicOr(&used[team], 1u << lane);
        }
        workgroupBarrier();
        let mask = atomicLoad(&used[team]);
//!for h GROUPS
        {
            var left = extractBits(mask, @hu * (32u / GROUPS), 32u / GROUPS) << (@hu * (32u / GROUPS));
            while left != 0u {
                // Several at once, so that their weights are on their way together; where fewer are left, the last again.
                var j = 0u;
//!for i FETCH
                let any_@i = left != 0u;
                j = select(j, firstTrailingBit(left), any_@i);
                let j_@i = j;
                left &= left - 1u;
//!end
//!for i FETCH
                let w_@i = values8(kind, planes, base + j_@i, r8);
//!end
//!for i FETCH
                {
                    var a = w_@i.a;
                    var b = w_@i.b;
//!if SCALED
                    a = a * scales_@h.s.a + scales_@h.m.a;
                    b = b * scales_@h.s.b + scales_@h.m.b;
//!end
//!for t TOKENS
                    let x_@t = select(0.0, xs[@tu * 256u + team * 32u + j_@i], any_@i);
                    a_@t += x_@t * a;
                    b_@t += x_@t * b;
//!end
                }
//!end
            }
        }
//!end
    }
//!for t TOKENS
    workgroupBarrier();
    if team != 0u {
        parts[(team - 1u) * 64u + lane] = a_@t;
        parts[(team - 1u) * 64u + 32u + lane] = b_@t;
    }
    workgroupBarrier();
    if team == 0u && own8 < n8 && @tu < p.out.y {
        for (var i = 0u; i < TEAMS - 1u; i++) {
            a_@t += parts[i * 64u + lane];
            b_@t += parts[i * 64u + 32u + lane];
        }
        let at = p.out.x + (group.y * p.out.y + @tu) * 8u * n8 + r8;
        for (var i = 0u; i < 4u; i++) {
            acts[at + i * n8] = a_@t[i];
            acts[at + (i + 4u) * n8] = b_@t[i];
        }
    }
//!end
//!if CARRY
//!if CARRY_ONE
    carry_put((group.y * groups.x + group.x) * 256u + thread, carried);
//!else
    carry_shift((group.y * groups.x + group.x) * 256u + thread, groups.x * groups.y * 256u);
//!end
//!end
}
