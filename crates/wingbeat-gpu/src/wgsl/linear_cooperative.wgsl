// y = activation(x W^T) for a group of products and many rows of x: cooperative matrices of halves, sums in f32.
//
// A workgroup makes a tile of TILE_T tokens by TILE_R rows of W in steps of STEP columns: WARPS_T x WARPS_R warps of 32
// threads, each with FRAGMENTS_T x FRAGMENTS_R fragments of 16 x 16, and WARPS_K times as many where few rows leave a
// device idle: those take every WARPS_K-th sixteen columns and add their sums up at the end. Operands become halves in
// shared memory. A thread brings X_LOADS fours of x and W_LOADS parts of rows of W a step: eights, or with BLOCKS those
// of integers that share a scale. They stay as they lie in memory
// until the next step stores them, so that nothing waits for them while matrices are multiplied.
// With SPLIT a value is two halves, the second 2048 times what the first lacks: x w = xh wh + (xh wl + xl wh) / 2048.
// Grid: (tiles of all jobs along the rows of W, tiles of tokens).
// W (rows, cols) of the layout LAYOUT in the weights; x (T, cols), y (T, stride) in the activations, seen in fours with
// ACTS4.
// Needs: f16, cooperative matrices. Without COOPERATIVE the same is done in plain loops, which is for tests.

//!include jobs
//!include bindings
//!include weights
//!include activation
//!include cooperative

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
const OUT_PITCH = 20u;
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
const W_PARTS = TILE_R / 8u;
//!else
//!if BLOCKS
const W_PARTS = STEP / 32u;
const W_WIDTH = 32u;
//!else
const W_PARTS = STEP / 8u;
const W_WIDTH = 8u;
//!end
//!end
const W_ROWS = THREADS / W_PARTS;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let job = job_of(group.x);
    let cols = job.shape.z;
    let row0 = (group.x - job.shape.w) * TILE_R;
    let token0 = group.y * TILE_T;
    let warp = thread / 32u;
    let lane = thread % 32u;
    let warp_t = (warp % WARPS_T) * FRAGMENTS_T * 16u;
    let warp_r = (warp / WARPS_T % WARPS_R) * FRAGMENTS_R * 16u;
    let warp_k = warp / WARPS_TR;
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
    let x_at_@i = job.places.w + min(token0 + thread / X_FOURS + @iu * X_ROWS, p.n.y - 1u) * cols;
    var x_@i = load_x(x_at_@i, x_k, cols);
//!end
//!if BY_INPUT
    let line = min(row0 / 8u + thread % W_PARTS, (job.shape.y + 7u) / 8u - 1u);
    let w_to = thread / W_PARTS * W_PITCH + thread % W_PARTS * 2u;
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
//!if BLOCKS
    // Of a small tile not all threads do.
    let brings_w = thread < TILE_R * W_PARTS;
//!for i W_LOADS
    var w_@i: Fetched;
    if brings_w {
        w_@i = load_w(job, w_line_@i, w_k_@i);
    }
//!end
//!else
//!for i W_LOADS
    var w_@i = load_w(job, w_line_@i, w_k_@i);
//!end
//!end
    // Which of the two buffers, or the only one.
    var buffer = 0u;
    for (var k0 = 0u; k0 < cols; k0 += STEP) {
        let xs = buffer * X_SIZE;
        let ws = buffer * W_SIZE;
//!for i X_LOADS
        xh[xs + x_to + @iu * X_ROWS * PITCH] = half4(x_@i);
//!if SPLIT
        xl[xs + x_to + @iu * X_ROWS * PITCH] = rest4(x_@i);
//!end
//!end
//!for i W_LOADS
//!if BLOCKS
        if brings_w {
            let w = unpack32(LAYOUT, w_@i, (k0 + w_k_@i) >> 5u);
//!for m 4
            wh[ws + w_to_@i + @mu] = half4(vec4<f32>(unpack4xI8(w.a[@m])) * w.scale.x + w.offset.x);
            wh[ws + w_to_@i + 4u + @mu] = half4(vec4<f32>(unpack4xI8(w.b[@m])) * w.scale.y + w.offset.y);
//!end
        }
//!else
        {
            let w = unpack8(LAYOUT, w_@i);
//!if IS_HALF
            wh[ws + w_to_@i] = vec4<f16>(w.a);
            wh[ws + w_to_@i + 1u] = vec4<f16>(w.b);
//!else
            wh[ws + w_to_@i] = half4(w.a);
            wh[ws + w_to_@i + 1u] = half4(w.b);
//!end
//!if SPLIT
            wl[ws + w_to_@i] = rest4(w.a);
            wl[ws + w_to_@i + 1u] = rest4(w.b);
//!end
        }
//!end
//!end
        workgroupBarrier();
        let next = k0 + STEP;
        if next < cols {
//!for i X_LOADS
            x_@i = load_x(x_at_@i, next + x_k, cols);
//!end
//!for i W_LOADS
//!if BLOCKS
            if brings_w {
                w_@i = load_w(job, w_line_@i, next + w_k_@i);
            }
//!else
            w_@i = load_w(job, w_line_@i, next + w_k_@i);
//!end
//!end
        }
//!for s SLICES
        {
            // Sixteen columns of the step.
            let slice = @su * WARPS_K + warp_k;
            let x_from = xs + warp_t * PITCH + slice * 4u;
//!if BY_INPUT
            let w_from = ws + slice * 16u * W_PITCH + warp_r / 4u;
//!else
            let w_from = ws + warp_r * PITCH + slice * 4u;
//!end
//!if COOPERATIVE
//!for i FRAGMENTS_T
            let part_x_@i = coopLoadT<coop_mat16x16<f16, A>>(&xh[x_from + @iu * 16u * PITCH], PITCH);
//!if SPLIT
            let rest_x_@i = coopLoadT<coop_mat16x16<f16, A>>(&xl[x_from + @iu * 16u * PITCH], PITCH);
//!end
//!end
//!for j FRAGMENTS_R
//!if BY_INPUT
            let part_w_@j = coopLoadT<coop_mat16x16<f16, B>>(&wh[w_from + @ju * 4u], W_PITCH);
//!if SPLIT
            let rest_w_@j = coopLoadT<coop_mat16x16<f16, B>>(&wl[w_from + @ju * 4u], W_PITCH);
//!end
//!else
            let part_w_@j = coopLoad<coop_mat16x16<f16, B>>(&wh[w_from + @ju * 16u * PITCH], PITCH);
//!if SPLIT
            let rest_w_@j = coopLoad<coop_mat16x16<f16, B>>(&wl[w_from + @ju * 16u * PITCH], PITCH);
//!end
//!end
//!end
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
            sum_@i_@j = coopMultiplyAdd(part_x_@i, part_w_@j, sum_@i_@j);
//!if SPLIT
            low_@i_@j = coopMultiplyAdd(part_x_@i, rest_w_@j, low_@i_@j);
            low_@i_@j = coopMultiplyAdd(rest_x_@i, part_w_@j, low_@i_@j);
//!end
//!end
//!end
//!else
            for (var k = 0u; k < 16u; k++) {
                let x_at = x_from + lane / 2u * PITCH + k / 4u;
                for (var e = 0u; e < 8u; e++) {
                    let column = lane % 2u * 8u + e;
//!if BY_INPUT
                    let w_at = w_from + k * W_PITCH + column / 4u;
                    let which = column % 4u;
                    const NEXT = 4u;
//!else
                    let w_at = w_from + column * PITCH + k / 4u;
                    let which = k % 4u;
                    const NEXT = 16u * PITCH;
//!end
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
                    {
                        let x = f32(xh[x_at + @iu * 16u * PITCH][k % 4u]);
                        let w = f32(wh[w_at + @ju * NEXT][which]);
                        sum_@i_@j[e] += x * w;
//!if SPLIT
                        let x_rest = f32(xl[x_at + @iu * 16u * PITCH][k % 4u]);
                        low_@i_@j[e] += x * f32(wl[w_at + @ju * NEXT][which]) + x_rest * w;
//!end
                    }
//!end
//!end
                }
            }
//!end
        }
//!end
        // Of two buffers, the one that comes next was read before the last barrier.
        buffer = (buffer + 1u) % BUFFERS;
//!if ONE_BUFFER
        workgroupBarrier();
//!end
    }
    let out = warp * OUT_SIZE;
//!for i FRAGMENTS_T
//!for j FRAGMENTS_R
//!if COOPERATIVE
    coopStoreT(sum_@i_@j, &sums[out], OUT_PITCH);
//!if SPLIT
    coopStoreT(low_@i_@j, &low_sums[out], OUT_PITCH);
//!end
//!else
    for (var e = 0u; e < 8u; e++) {
        sums[out + lane / 2u * OUT_PITCH + lane % 2u * 8u + e] = sum_@i_@j[e];
//!if SPLIT
        low_sums[out + lane / 2u * OUT_PITCH + lane % 2u * 8u + e] = low_@i_@j[e];
//!end
    }
//!end
    workgroupBarrier();
    // Four rows of W for one token.
    for (var n = thread; n < WARPS_TR * 64u; n += THREADS) {
        let of_warp = n / 64u;
        let t = token0 + (of_warp % WARPS_T * FRAGMENTS_T + @iu) * 16u + n % 64u / 4u;
        let row = row0 + (of_warp / WARPS_T * FRAGMENTS_R + @ju) * 16u + n % 4u * 4u;
        if t < p.n.y && row < job.shape.y {
            let start = of_warp * OUT_SIZE + n % 64u / 4u * OUT_PITCH + n % 4u * 4u;
            var z = vec4<f32>();
            for (var k = 0u; k < WARPS_K; k++) {
                let at = start + k * WARPS_TR * OUT_SIZE;
                z += vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
//!if SPLIT
                z += vec4<f32>(low_sums[at], low_sums[at + 1u], low_sums[at + 2u], low_sums[at + 3u]) / LESS;
//!end
            }
            store(job, job.out.x + t * job.out.w + row, row, z);
        }
    }
    workgroupBarrier();
//!end
//!end
}
