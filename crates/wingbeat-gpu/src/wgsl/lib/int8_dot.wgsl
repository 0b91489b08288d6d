// Inside kernels of products in int8: adds the products of `units` thirty-twos of columns from number `first` on, whose
// activations lie in shared memory (lib/int8_stage.wgsl), to a thread's sums of its ROWS rows of layout `integer`. The first
// weights are in next_@r_@u of each (lib/int8_first.wgsl); those that a thread needs next are on their way while it computes.
    for (var i0 = lane; i0 < units; i0 += LANES * AHEAD_32) {
//!for u AHEAD_32
        {
            let i = i0 + @uu * LANES;
//!for r ROWS
            let w_@r = unpack32(integer, next_@r_@u, first + i);
//!end
            let ahead = first + min(i + AHEAD_32 * LANES, units - 1u);
//!for r ROWS
            next_@r_@u = fetch32(integer, planes, cols, row_@r, ahead);
//!end
            if i < units {
//!for t TOKENS
                {
                    let xa = xq[@tu * TILE_16 + i];
                    let xb = xq[@tu * TILE_16 + TILE_32 + i];
                    let da = xs[@tu * TILE_16 + i];
                    let db = xs[@tu * TILE_16 + TILE_32 + i];
                    let d = vec2<f32>(da.x, db.x);
                    let sums = vec2<f32>(da.y, db.y);
//!for r ROWS
                    {
                        let a = dot4I8Packed(w_@r.a.x, xa.x) + dot4I8Packed(w_@r.a.y, xa.y)
                            + dot4I8Packed(w_@r.a.z, xa.z) + dot4I8Packed(w_@r.a.w, xa.w);
                        let b = dot4I8Packed(w_@r.b.x, xb.x) + dot4I8Packed(w_@r.b.y, xb.y)
                            + dot4I8Packed(w_@r.b.z, xb.z) + dot4I8Packed(w_@r.b.w, xb.w);
                        sum_@r_@t += dot(w_@r.scale * d, vec2<f32>(f32(a), f32(b))) + dot(w_@r.offset, sums);
                    }
//!end
                }
//!end
            }
        }
//!end
    }
