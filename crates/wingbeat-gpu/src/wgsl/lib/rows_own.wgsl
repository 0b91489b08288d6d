// Inside kernels of few rows: the sum that a thread will store (lib/rows_store.wgsl), and what its place holds before, which is
// asked for long before it is needed.
//!if SUBGROUP
//!if CROWDED
//!else
    let own_row = row0 + lane / TOKENS;
    let own_token = lane % TOKENS;
    let owns = lane < ROWS * TOKENS && own_token < n_tokens && own_row < job.shape.y;
    let own_y = job.out.x + (token0 + own_token) * job.out.w + own_row;
    var before = 0.0;
    if owns && job.out.y == 1u {
        before = acts[own_y];
    }
//!end
//!end
