// Inside a kernel's main: mean_r and scale_r, one over the standard deviation, of each of NORMS rows, of which a thread has
// the values x_r_q, if own_q. All rows together go through one barrier where SUBGROUP: subgroups of LANES find moments of
// what they have, and those are put together (Chan, Golub, LeVeque 1979), so that nothing is lost to a large mean.
//!if SUBGROUP
    var n_own = 0.0;
//!for q QUADS
    n_own += select(0.0, f32(FEW), own_@q);
//!end
    n_own = subgroupAdd(n_own);
//!for r NORMS
    var sum_@r = 0.0;
    var part_@r = 0.0;
//!for q QUADS
    sum_@r += select(0.0, total(x_@r_@q), own_@q);
//!end
    sum_@r = subgroupAdd(sum_@r) / max(n_own, 1.0);
//!for q QUADS
    part_@r += select(0.0, total((x_@r_@q - sum_@r) * (x_@r_@q - sum_@r)), own_@q);
//!end
    part_@r = subgroupAdd(part_@r);
    if thread % LANES == 0u {
        parts[@ru * GROUPS + thread / LANES] = vec4<f32>(sum_@r, part_@r, n_own, 0.0);
    }
//!end
    workgroupBarrier();
//!for r NORMS
    var mean_@r = 0.0;
    var squares_@r = 0.0;
    for (var i = 0u; i < GROUPS; i++) {
        let of_group = parts[@ru * GROUPS + i];
        mean_@r += of_group.x * of_group.z;
    }
    mean_@r /= n_cols;
    for (var i = 0u; i < GROUPS; i++) {
        let of_group = parts[@ru * GROUPS + i];
        squares_@r += of_group.y + of_group.z * (of_group.x - mean_@r) * (of_group.x - mean_@r);
    }
//!end
//!else
//!for r NORMS
    var sum_@r = 0.0;
    var part_@r = 0.0;
//!for q QUADS
    sum_@r += select(0.0, total(x_@r_@q), own_@q);
//!end
    let mean_@r = workgroup_sum(sum_@r, thread) / n_cols;
//!for q QUADS
    part_@r += select(0.0, total((x_@r_@q - mean_@r) * (x_@r_@q - mean_@r)), own_@q);
//!end
    let squares_@r = workgroup_sum(part_@r, thread);
//!end
//!end
//!for r NORMS
    let scale_@r = 1.0 / sqrt(squares_@r / n_cols + p.eps.x);
//!end
