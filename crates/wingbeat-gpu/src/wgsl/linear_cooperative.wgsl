// y = activation(x W^T) for a group of products and many rows of x: cooperative matrices of halves, sums in f32.
//
// A workgroup makes a tile of TILE_T tokens by TILE_R rows of W in steps of 32 columns: WARPS_T x WARPS_R warps of 32
// threads, each with FRAGMENTS_T x FRAGMENTS_R fragments of 16 x 16. Both operands become halves in shared memory, one
// step while the next is on its way; a thread brings X_LOADS values of x and W_LOADS eights of W a step.
// Grid: (tiles of all jobs along the rows of W, tiles of tokens).
// W (rows, cols) in the weights; x (T, cols), y (T, stride) in the activations.
// Needs: f16, cooperative matrices. Without COOPERATIVE the same is done in plain loops, which is for tests.

//!include jobs
//!include bindings
//!include weights
//!include activation

const WARPS = WARPS_T * WARPS_R;
const THREADS = WARPS * 32u;
const TILE_T = WARPS_T * FRAGMENTS_T * 16u;
const TILE_R = WARPS_R * FRAGMENTS_R * 16u;
const STEP = 32u;
// Halves from one row to the next in shared memory: rows are aligned to 16 bytes, and lie in different banks.
const PITCH = 40u;
const QUARTER_PITCH = PITCH / 4u;
var<workgroup> xh: array<f16, TILE_T * PITCH>;
//!if BY_INPUT
// Of each column all rows of the tile, and a rest for the banks.
const R_PITCH = (TILE_R + 8u) / 4u;
var<workgroup> wh: array<vec4<f16>, STEP * R_PITCH>;
//!else
var<workgroup> wh: array<vec4<f16>, TILE_R * QUARTER_PITCH>;
//!end
// Sums on their way out: of each warp 16 tokens.
const OUT_WIDTH = FRAGMENTS_R * 16u;
const OUT_PITCH = OUT_WIDTH + 4u;
var<workgroup> sums: array<f32, WARPS * 16u * OUT_PITCH>;

// x[token][k]; tokens past the end repeat the last and are not stored.
fn load_x(job: Job, token: u32, k: u32) -> f32 {
    let x = job.places.w + min(token, p.n.y - 1u) * job.shape.z;
//!if RAGGED
    return select(0.0, acts[x + min(k, job.shape.z - 1u)], k < job.shape.z);
//!else
    return acts[x + k];
//!end
}

// The largest half instead of an infinity.
fn half4(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// Eight weights of a row; past the end the last row, which is not stored.
struct Halves { a: vec4<f16>, b: vec4<f16> }
fn load_w(job: Job, row0: u32, k0: u32, n: u32) -> Halves {
    var h: Halves;
//!if BY_INPUT
    // Eight rows of a column; columns are padded with zeros to whole steps.
    let rows8 = (job.shape.y + 7u) / 8u;
    let k = k0 + n / (TILE_R / 8u);
    let w = load8_outputs(job.shape.x, job.places.xyz, k, min(row0 / 8u + n % (TILE_R / 8u), rows8 - 1u));
//!else
    let row = row0 + n / 4u;
    let k = k0 + n % 4u * 8u;
//!if RAGGED
    // Rows are padded with zeros to whole eights.
    if k >= job.shape.z {
        return h;
    }
//!end
    let w = load8(layout_of(job), job.places.xyz, job.shape.z, min(row, job.shape.y - 1u), k / 8u);
//!end
    h.a = half4(w.a);
    h.b = half4(w.b);
    return h;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let cols = job.shape.z;
    let row0 = (group.x - job.shape.w) * TILE_R;
    let token0 = group.y * TILE_T;
    let warp = thread / 32u;
    let lane = thread % 32u;
    let warp_t = (warp % WARPS_T) * FRAGMENTS_T * 16u;
    let warp_r = (warp / WARPS_T) * FRAGMENTS_R * 16u;
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
//!if COOPERATIVE
    var sum_@i_@j: coop_mat16x16<f32, C>;
//!else
    // Token lane / 2, columns from lane % 2 * 8 on.
    var sum_@i_@j: array<f32, 8>;
//!end
//!end
//!end
    // Neighbouring threads bring neighbouring values of x, and four of them a row of W.
//!for i X_LOADS
    var x_@i = load_x(job, token0 + @iu * WARPS + warp, lane);
//!end
//!for i W_LOADS
    var w_@i = load_w(job, row0, 0u, @iu * THREADS + thread);
//!end
    for (var k0 = 0u; k0 < cols; k0 += STEP) {
//!for i X_LOADS
        xh[(@iu * WARPS + warp) * PITCH + lane] = f16(clamp(x_@i, -65504.0, 65504.0));
//!end
//!for i W_LOADS
        {
            let n = @iu * THREADS + thread;
//!if BY_INPUT
            let at = n / (TILE_R / 8u) * R_PITCH + n % (TILE_R / 8u) * 2u;
//!else
            let at = n / 4u * QUARTER_PITCH + n % 4u * 2u;
//!end
            wh[at] = w_@i.a;
            wh[at + 1u] = w_@i.b;
        }
//!end
        workgroupBarrier();
        if k0 + STEP < cols {
//!for i X_LOADS
            x_@i = load_x(job, token0 + @iu * WARPS + warp, k0 + STEP + lane);
//!end
//!for i W_LOADS
            w_@i = load_w(job, row0, k0 + STEP, @iu * THREADS + thread);
//!end
        }
//!for s 2
        {
//!if COOPERATIVE
//!for i FRAGMENTS_T
            let part_x_@i = coopLoadT<coop_mat16x16<f16, A>>(&xh[(warp_t + @iu * 16u) * PITCH + @su * 16u], PITCH);
//!end
//!for j FRAGMENTS_R
//!if BY_INPUT
            let part_w_@j = coopLoadT<coop_mat16x16<f16, B>>(
                &wh[@su * 16u * R_PITCH + (warp_r + @ju * 16u) / 4u],
                R_PITCH,
            );
//!else
            let part_w_@j = coopLoad<coop_mat16x16<f16, B>>(
                &wh[(warp_r + @ju * 16u) * QUARTER_PITCH + @su * 4u],
                QUARTER_PITCH,
            );
//!end
//!end
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
            sum_@i_@j = coopMultiplyAdd(part_x_@i, part_w_@j, sum_@i_@j);
//!end
//!end
//!else
            for (var k = @su * 16u; k < @su * 16u + 16u; k++) {
                for (var e = 0u; e < 8u; e++) {
                    let column = warp_r + lane % 2u * 8u + e;
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
                    {
                        let x = f32(xh[(warp_t + @iu * 16u + lane / 2u) * PITCH + k]);
//!if BY_INPUT
                        sum_@i_@j[e] += x * f32(wh[k * R_PITCH + (column + @ju * 16u) / 4u][column % 4u]);
//!else
                        sum_@i_@j[e] += x * f32(wh[(column + @ju * 16u) * QUARTER_PITCH + k / 4u][k % 4u]);
//!end
                    }
//!end
//!end
                }
            }
//!end
        }
//!end
        workgroupBarrier();
    }
    let out = warp * 16u * OUT_PITCH;
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
//!if COOPERATIVE
    coopStoreT(sum_@i_@j, &sums[out + @ju * 16u], OUT_PITCH);
//!else
    for (var e = 0u; e < 8u; e++) {
        sums[out + lane / 2u * OUT_PITCH + @ju * 16u + lane % 2u * 8u + e] = sum_@i_@j[e];
    }
//!end
//!end
    workgroupBarrier();
    for (var n = lane; n < 16u * OUT_WIDTH; n += 32u) {
        let t = token0 + warp_t + @iu * 16u + n / OUT_WIDTH;
        let row = row0 + warp_r + n % OUT_WIDTH;
        if t < p.n.y && row < job.shape.y {
            let y = job.out.x + t * job.out.w + row;
            acts[y] = activate(job.out.y, sums[out + n / OUT_WIDTH * OUT_PITCH + n % OUT_WIDTH], acts[y], job.out.z, row);
        }
    }
    workgroupBarrier();
//!end
}
