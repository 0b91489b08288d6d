// Inside linear_cooperative: multiplies sixteen columns of the step in shared memory, number @s of those that a warp has.
        {
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
