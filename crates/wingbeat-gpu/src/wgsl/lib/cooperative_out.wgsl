// Inside linear_cooperative: the sums of a tile, fragment after fragment through shared memory, to y, or to where linear_sum
// adds up those of all parts.
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
//!if OWN_SUMS
    // Nobody else has sums of a warp's own fragment: a thread's stores to an array and its loads from it keep their order, and
    // the barrier brings the warp's threads together.
    subgroupBarrier();
    for (var n = warp * 64u + lane; n < (warp + 1u) * 64u; n += 32u) {
//!else
    workgroupBarrier();
    for (var n = thread; n < WARPS_TR * 64u; n += THREADS) {
//!end
        // Four rows of W for one token.
        let of_warp = n / 64u;
        let start_of = of_warp * OUT_SIZE + n % 64u / 4u * OUT_PITCH + n % 4u * 4u;
        var z = vec4<f32>();
        for (var k = 0u; k < WARPS_K; k++) {
            let at = start_of + k * WARPS_TR * OUT_SIZE;
            z += vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
//!if SPLIT
            z += vec4<f32>(low_sums[at], low_sums[at + 1u], low_sums[at + 2u], low_sums[at + 3u]) / LESS;
//!end
        }
        let in_t = (of_warp % WARPS_T * FRAGMENTS_T + @iu) * 16u + n % 64u / 4u;
        let in_r = (of_warp / WARPS_T * FRAGMENTS_R + @ju) * 16u + n % 4u * 4u;
//!if PARTED
        if token0 + in_t < p.n.y && row0 + in_r < job.shape.y {
            acts[(p.carry[0].x + (group.z * p.n.y + token0 + in_t) * job.out.w + row0 + in_r) >> 2u] = z;
        }
//!else
        if token0 + in_t < p.n.y && row0 + in_r < job.shape.y {
            store(job, token0 + in_t, row0 + in_r, z);
        }
//!end
    }
//!if OWN_SUMS
    subgroupBarrier();
//!else
    workgroupBarrier();
//!end
//!end
//!end
