// ys[i][t] = n[t] + (n[t-1] - n[t]) * mixes[i], with n = layer norm of x (NORM) or x itself; n[-1] of a sequence is its
// state.
//
// ROWS rows a workgroup, one after the other in the list of rows, QUADS fours (or single values) of each a thread: mixes are
// read once for them, and all that is read from far away is asked for before anything is computed. Where ALONE, every
// sequence has one token, and its state is written here, as nobody else reads it; else a later dispatch does that
// (lib/carry.wgsl). With HALVES, ys are halves, two a word, rows of C / 2 words.
// Grid: rows of the sequences whose states lie in one buffer / ROWS.
// x, normed, ys (T, C) in the activations; mixes (C) in the vectors.
// Needs: subgroups where SUBGROUP.

struct Params {
    // x, normed, C, first entry of the row list
    at: vec4<u32>,
    // weight, bias, state slab within a slot, floats of a slot
    norm: vec4<u32>,
    // rows
    n: vec4<u32>,
    eps: vec4<f32>,
    ys: array<vec4<u32>, 2>,
    mixes: array<vec4<u32>, 2>,
}
//!include bindings
//!include few
//!if NORM
//!include sums
//!end
//!if HALVES
//!include halves
//!end

// Of a row's entry, beside its slot: it is the first of its sequence.
const FIRST = 0x80000000u;
const SLOT = 0x3fffffffu;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = p.at.z / FEW;
    let n_cols = f32(p.at.z);
//!for q QUADS
    // Threads past the end repeat the last values and store nothing.
//!if HALVES
    // Two fours that lie together are one of halves.
    let column_@q = (thread + @qu / 2u * THREADS) * 2u + @qu % 2u;
//!else
    let column_@q = thread + @qu * THREADS;
//!end
    let own_@q = column_@q < cols;
    let c_@q = min(column_@q, cols - 1u);
//!if NORM
    let weight_@q = vectors[p.norm.x / FEW + c_@q];
    let bias_@q = vectors[p.norm.y / FEW + c_@q];
//!end
//!for i MIXES
    let mix_@i_@q = vectors[p.mixes[@iu / 4u][@iu % 4u] / FEW + c_@q];
//!end
//!end
    // Row 0 is the one before, but where ALONE; of a first row any that exists: it is not used.
    let first_row = group.x * ROWS;
//!for r NORMS
//!if ALONE
    let here_@r = first_row + @ru;
//!else
    let here_@r = max(first_row + @ru, 1u) - 1u;
//!end
    let entry_@r = p.at.w + min(here_@r, p.n.x - 1u) * 2u;
    let row_@r = map[entry_@r];
    let flags_@r = map[entry_@r + 1u];
    let is_first_@r = (flags_@r & FIRST) != 0u;
//!for q QUADS
    let x_@r_@q = acts[p.at.x / FEW + row_@r * cols + c_@q];
    var state_@r_@q = Few();
    if is_first_@r {
        state_@r_@q = states[((flags_@r & SLOT) * p.norm.w + p.norm.z) / FEW + c_@q];
    }
//!end
//!end
//!if NORM
//!include moments
//!end
//!if ALONE
//!else
//!for q QUADS
    var last_@q = Few();
//!end
//!end
//!for r NORMS
//!for q QUADS
//!if NORM
    let now_@r_@q = (x_@r_@q - mean_@r) * scale_@r * weight_@q + bias_@q;
//!else
    let now_@r_@q = x_@r_@q;
//!end
//!end
//!if ALONE
    let stored_@r = here_@r < p.n.x;
//!else
    let stored_@r = @ru > 0u && here_@r < p.n.x;
//!end
    if stored_@r {
//!for q QUADS
//!if ALONE
        let before_@q = state_@r_@q;
//!else
        let before_@q = select(last_@q, state_@r_@q, is_first_@r);
//!end
        let less_@q = before_@q - now_@r_@q;
        if own_@q {
//!if NORM
            acts[p.at.y / FEW + row_@r * cols + c_@q] = now_@r_@q;
//!end
//!if ALONE
            states[((flags_@r & SLOT) * p.norm.w + p.norm.z) / FEW + c_@q] = now_@r_@q;
//!end
        }
//!end
//!for i MIXES
        {
            let y = p.ys[@iu / 4u][@iu % 4u] / FEW;
//!if HALVES
            var even = vec2<u32>();
//!end
//!for q QUADS
            let y_@q = now_@r_@q + less_@q * mix_@i_@q;
//!if HALVES
            let half_@q = halves4(y_@q);
            if @qu % 2u == 0u {
                even = half_@q;
            } else if own_@q {
                acts[y + (row_@r * cols + c_@q) / 2u] = bitcast<vec4<f32>>(vec4<u32>(even, half_@q));
            }
//!else
            if own_@q {
                acts[y + row_@r * cols + c_@q] = y_@q;
            }
//!end
//!end
        }
//!end
    }
//!if ALONE
//!else
//!for q QUADS
    last_@q = now_@r_@q;
//!end
//!end
//!end
}
