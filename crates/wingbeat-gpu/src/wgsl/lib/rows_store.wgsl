// Inside kernels of few rows: adds up what the LANES threads of a team have of each sum, and stores it, each thread one sum,
// so that what an output holds before is read once for all. Needs: subgroups where SUBGROUP, else room for TOKENS times
// THREADS in `parts`.
//!if SUBGROUP
    var total = 0.0;
//!for r ROWS
//!for t TOKENS
    {
        let sum = subgroupAdd(sum_@r_@t);
        total = select(total, sum, lane == (@ru * TOKENS + @tu) % LANES);
    }
//!if CROWDED
    if lane == (@ru * TOKENS + @tu) % LANES && @tu < n_tokens && row0 + @ru < job.shape.y {
        let y = job.out.x + (token0 + @tu) * job.out.w + row0 + @ru;
        acts[y] = activate(job.out.y, total, acts[y], job.out.z, row0 + @ru);
    }
//!end
//!end
//!end
//!if CROWDED
//!else
    if owns {
        acts[own_y] = activate(job.out.y, total, before, job.out.z, own_row);
    }
//!end
//!else
//!for r ROWS
    workgroupBarrier();
//!for t TOKENS
    parts[@tu * THREADS + thread] = sum_@r_@t;
//!end
    workgroupBarrier();
    for (var t = lane; t < n_tokens; t += LANES) {
        if row0 + @ru < job.shape.y {
            var total = 0.0;
            for (var i = 0u; i < LANES; i++) {
                total += parts[t * THREADS + team * LANES + i];
            }
            let y = job.out.x + (token0 + t) * job.out.w + row0 + @ru;
            acts[y] = activate(job.out.y, total, acts[y], job.out.z, row0 + @ru);
        }
    }
//!end
//!end
