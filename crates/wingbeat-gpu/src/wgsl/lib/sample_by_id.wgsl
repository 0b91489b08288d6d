// The draw from all tokens, walked through by id: the part of a THREADS-th of the ids in which it falls, then a part of
// that part, down to one.

fn share_of(row: u32, id: u32, largest: f32) -> f32 {
    let key = key_of(bitcast<u32>(acts[p.at.x + row * p.at.y + id]));
    if key < LEAST_KEY {
        return 0.0;
    }
    let below = value_of(key) - largest;
    if p.cut.z > 0.0 && exp_of(below) < p.cut.z {
        return 0.0;
    }
    return exp_of(select(below / p.cut.x, below, p.cut.x == 1.0));
}

fn by_id(row: u32, thread: u32, largest: f32, unit: vec2<f32>, best: u32) -> u32 {
    var first = 0u;
    var end = p.at.y;
    var wanted = vec2<f32>(0.0);
    for (var level = 0u; end - first > 1u; level++) {
        let span = (end - first + THREADS - 1u) / THREADS;
        var sum = vec2<f32>(0.0);
        let begin = first + thread * span;
        for (var id = begin; id < min(begin + span, end); id++) {
            sum = pair_add(sum, vec2<f32>(share_of(row, id, largest), 0.0));
        }
        let up_to = pair_scan(sum, thread);
        if level == 0u {
            wanted = pair_times(unit, pairs[THREADS - 1u]);
        }
        // The first part that reaches what is wanted; if rounding leaves none, the last that has a share.
        var order = 2u * THREADS;
        if sum.x > 0.0 {
            order = select(2u * THREADS - 1u - thread, thread, pair_less(wanted, up_to));
        }
        keys[thread] = order;
        workgroupBarrier();
        for (var step = THREADS / 2u; step > 0u; step /= 2u) {
            if thread < step {
                keys[thread] = min(keys[thread], keys[thread + step]);
            }
            workgroupBarrier();
        }
        let found = keys[0];
        if found >= 2u * THREADS {
            return best;
        }
        let part = select(found, 2u * THREADS - 1u - found, found >= THREADS);
        if part > 0u {
            let before = pairs[part - 1u];
            wanted = pair_add(wanted, vec2<f32>(-before.x, -before.y));
        }
        first += part * span;
        end = min(first + span, end);
        workgroupBarrier();
    }
    return first;
}
