// Inside shift_linear and shift_linear_int8: each of TOKENS rows of x through the norm and the shift towards its state, by a
// job's mix. A row after the other; of each a thread has QUADS times four values, which it hands to `stage`.
//!for i QUADS
    // Threads past the end repeat the last four values and store nothing.
    let c_@i = min((@iu * THREADS + thread) * 4u, WIDTH - 4u);
    let own_@i = (@iu * THREADS + thread) * 4u < WIDTH;
    let scale_@i = vectors4(p.norm.x + c_@i);
    let bias_@i = vectors4(p.norm.y + c_@i);
    let mix_@i = vectors4(job.places.w + c_@i);
//!end
    for (var t = 0u; t < TOKENS; t++) {
//!if ONE
        const row = 0u;
        let state = p.norm.z;
//!else
        let entry = p.at.w + t * 2u;
        let row = map[entry];
        let state = (map[entry + 1u] & 0x3fffffffu) * p.norm.w + p.norm.z;
//!end
        var sum = 0.0;
//!for i QUADS
        let x_@i = acts4(p.at.x + row * WIDTH + c_@i);
        let last_@i = states4(state + c_@i);
        sum += select(0.0, dot(x_@i, vec4<f32>(1.0)), own_@i);
//!end
        let mean = workgroup_sum(sum, thread) / f32(WIDTH);
        var squares = 0.0;
//!for i QUADS
        let d_@i = x_@i - mean;
        squares += select(0.0, dot(d_@i, d_@i), own_@i);
//!end
        let scale = 1.0 / sqrt(workgroup_sum(squares, thread) / f32(WIDTH) + p.eps.x);
//!for i QUADS
        {
            let now = d_@i * scale * scale_@i + bias_@i;
            stage(kind, row, c_@i, own_@i, now + (last_@i - now) * mix_@i, thread);
            // For the dispatch that writes the states.
            if own_@i && group.x == 0u {
                let normed = p.at.y + row * WIDTH + c_@i;
                acts[normed] = now.x;
                acts[normed + 1u] = now.y;
                acts[normed + 2u] = now.z;
                acts[normed + 3u] = now.w;
            }
        }
//!end
    }
    workgroupBarrier();
