// y = activation(x W^T) for a group of products and many rows of x: cooperative matrices of halves, sums in f32.
//
// A workgroup makes a tile of TILE_T tokens by TILE_R rows of W in steps of STEP columns: WARPS_T x WARPS_R warps of 32
// threads, each with FRAGMENTS_T x FRAGMENTS_R fragments of 16 x 16, and WARPS_K times as many where few rows leave a
// device idle: those take every WARPS_K-th sixteen columns and add their sums up at the end. Operands become halves in
// shared memory; what a thread brings of the AHEAD steps to come stays as it lies in memory until its step, so that nothing
// waits for it while matrices are multiplied. With X_HALF x lies there in halves already.
// PARTED, the columns of a tile are shared out among several workgroups, whose sums linear_sum adds up.
// With SPLIT a value is two halves, the second 2048 times what the first lacks: x w = xh wh + (xh wl + xl wh) / 2048.
// Grid: (tiles of all jobs along the rows of W, tiles of tokens, parts).
// W (rows, cols) of the layout LAYOUT in the weights; x (T, cols), y (T, stride) in the activations, seen in fours with
// ACTS4. Needs: f16, cooperative matrices. Without COOPERATIVE the same is done in plain loops, which is for tests.

//!include jobs
//!include bindings
//!include activation
//!include cooperative
//!include carry

const WARPS_TR = WARPS_T * WARPS_R;
const THREADS = WARPS_TR * WARPS_K * 32u;
const TILE_T = WARPS_T * FRAGMENTS_T * 16u;
const TILE_R = WARPS_R * FRAGMENTS_R * 16u;
// From one row to the next in shared memory, in fours: rows are aligned to 16 bytes, and lie in different banks.
const PITCH = (STEP + 8u) / 4u;
const X_SIZE = TILE_T * PITCH;
//!if BY_INPUT
// Of each column all rows of the tile.
const W_PITCH = (TILE_R + 8u) / 4u;
const W_SIZE = STEP * W_PITCH;
//!else
const W_SIZE = TILE_R * PITCH;
//!end
var<workgroup> xh: array<vec4<f16>, BUFFERS * X_SIZE>;
var<workgroup> wh: array<vec4<f16>, BUFFERS * W_SIZE>;
// Sums on their way out: of each warp a fragment.
const OUT_PITCH = 16u;
const OUT_SIZE = 16u * OUT_PITCH;
var<workgroup> sums: array<f32, WARPS_TR * WARPS_K * OUT_SIZE>;
//!if SPLIT
const LESS = 2048.0;
var<workgroup> xl: array<vec4<f16>, BUFFERS * X_SIZE>;
var<workgroup> wl: array<vec4<f16>, BUFFERS * W_SIZE>;
var<workgroup> low_sums: array<f32, WARPS_TR * WARPS_K * OUT_SIZE>;
//!end

// Where a thread's fours of a row of x lie in shared memory, and its parts of W.
const X_FOURS = STEP / 4u;
const X_ROWS = THREADS / X_FOURS;
//!if BY_INPUT
const W_PARTS = TILE_R / W_WIDTH;
//!else
const W_PARTS = STEP / W_WIDTH;
//!end
const W_ROWS = THREADS / W_PARTS;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let job = job_of(group.x);
    let cols = job.shape.z;
    let row0 = (group.x - job.shape.w) * TILE_R;
    let token0 = group.y * TILE_T;
    let warp = thread / 32u;
    let lane = thread % 32u;
    let warp_t = (warp % WARPS_T) * FRAGMENTS_T * 16u;
    let warp_r = (warp / WARPS_T % WARPS_R) * FRAGMENTS_R * 16u;
    let warp_k = warp / WARPS_TR;
//!if PARTED
    let start = group.z * p.n.w;
    let end = min(cols, start + p.n.w);
//!else
    let start = 0u;
    let end = cols;
//!end
    // The last step's columns: what is asked for beyond is that again.
    let last = start + (end - start - 1u) / STEP * STEP;
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
//!if COOPERATIVE
    var sum_@i_@j: coop_mat16x16<f32, C>;
//!if SPLIT
    var low_@i_@j: coop_mat16x16<f32, C>;
//!end
//!else
    // Token lane / 2, columns from lane % 2 * 8 on.
    var sum_@i_@j: array<f32, 8>;
//!if SPLIT
    var low_@i_@j: array<f32, 8>;
//!end
//!end
//!end
//!end
    // Neighbouring threads bring neighbouring values. Tokens and rows past the end repeat the last and are not stored.
    let x_k = thread % X_FOURS * 4u;
    let x_to = thread / X_FOURS * PITCH + thread % X_FOURS;
//!for i X_LOADS
    let x_at_@i = x_place(job) + min(token0 + thread / X_FOURS + @iu * X_ROWS, p.n.y - 1u) * cols;
//!end
//!if BY_INPUT
    let line = min(row0 / W_WIDTH + thread % W_PARTS, (job.shape.y + W_WIDTH - 1u) / W_WIDTH - 1u);
    let w_to = thread / W_PARTS * W_PITCH + thread % W_PARTS * (W_WIDTH / 4u);
//!for i W_LOADS
    let w_line_@i = line;
    let w_k_@i = thread / W_PARTS + @iu * W_ROWS;
    let w_to_@i = w_to + @iu * W_ROWS * W_PITCH;
//!end
//!else
    let w_to = thread / W_PARTS * PITCH + thread % W_PARTS * (W_WIDTH / 4u);
//!for i W_LOADS
    let w_line_@i = min(row0 + thread / W_PARTS + @iu * W_ROWS, job.shape.y - 1u);
    let w_k_@i = thread % W_PARTS * W_WIDTH;
    let w_to_@i = w_to + @iu * W_ROWS * PITCH;
//!end
//!end
//!if BRINGS_SOME
    // Of a small tile not all threads bring weights.
    let brings_w = thread < W_THREADS;
//!else
    const brings_w = true;
//!end
//!for a AHEAD
//!for i X_LOADS
    var x_@a_@i = load_x(x_at_@i, min(start + @au * STEP, last) + x_k, cols);
//!end
//!for i W_LOADS
    var w_@a_@i: Brought;
    if brings_w {
        w_@a_@i = load_w(job, w_line_@i, min(start + @au * STEP, last) + w_k_@i);
    }
//!end
//!end
    // Which of the two buffers, or the only one.
    var buffer = 0u;
    for (var k0 = start; k0 < end; k0 += STEP * AHEAD) {
//!for a AHEAD
      // Not an `if` around it: matrices want control flow that is plainly uniform.
      if k0 + @au * STEP >= end {
        break;
      }
      {
        let xs = buffer * X_SIZE;
        let ws = buffer * W_SIZE;
//!for i X_LOADS
//!if X_HALF
        xh[xs + x_to + @iu * X_ROWS * PITCH] = x_@a_@i;
//!else
        xh[xs + x_to + @iu * X_ROWS * PITCH] = half4(x_@a_@i);
//!end
//!if SPLIT
        xl[xs + x_to + @iu * X_ROWS * PITCH] = rest4(x_@a_@i);
//!end
//!end
        if brings_w {
//!for i W_LOADS
            store_w(ws + w_to_@i, w_@a_@i, k0 + @au * STEP + w_k_@i);
//!end
        }
        workgroupBarrier();
        let next = min(k0 + (@au + AHEAD) * STEP, last);
//!for i X_LOADS
        x_@a_@i = load_x(x_at_@i, next + x_k, cols);
//!end
        if brings_w {
//!for i W_LOADS
            w_@a_@i = load_w(job, w_line_@i, next + w_k_@i);
//!end
        }
//!for s SLICES
//!include cooperative_slice
//!end
        // Of two buffers, the one that comes next was read before the last barrier.
        buffer = (buffer + 1u) % BUFFERS;
//!if ONE_BUFFER
        workgroupBarrier();
//!end
      }
//!end
    }
//!include cooperative_out
//!if CARRY
    carry_shift((group.y * groups.x + group.x) * THREADS + thread, groups.x * groups.y * THREADS);
//!end
}
