// Inside kernels of few rows, after rows_first: adds the products of `eights` eights of columns from eight `first8` on, whose
// activations lie in shared memory (xa, xb: the halves of TOKENS times TILE_8), to a thread's sums of its ROWS rows.
    for (var i = lane; i < eights; i += LANES * AHEAD) {
//!for u AHEAD
        {
//!for r ROWS
            let w_@r = unpack8(kind, next_@r_@u);
//!end
            let ahead = first8 + min(i + (@uu + AHEAD) * LANES, eights - 1u);
//!for r ROWS
            next_@r_@u = fetch8(kind, planes, cols, row_@r, ahead);
//!end
            if i + @uu * LANES < eights {
//!for t TOKENS
//!if X_DIRECT
                let xa_@t = acts4[x_at + @tu * cols / 4u + (i + @uu * LANES) * 2u];
                let xb_@t = acts4[x_at + @tu * cols / 4u + (i + @uu * LANES) * 2u + 1u];
//!else
                let xa_@t = xa[@tu * TILE_8 + i + @uu * LANES];
                let xb_@t = xb[@tu * TILE_8 + i + @uu * LANES];
//!end
//!end
//!for r ROWS
//!for t TOKENS
                sum_@r_@t += dot(w_@r.a, xa_@t) + dot(w_@r.b, xb_@t);
//!end
//!end
            }
        }
//!end
    }
