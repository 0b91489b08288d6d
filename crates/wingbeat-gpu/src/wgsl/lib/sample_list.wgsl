// The tokens that may be among the top_k or, without top_k, in the nucleus: their ids, in the sampler's buffer, in an
// order that depends on nothing but the logits. How many they are.

// The key of a logit; of one beyond the vocabulary, none that is listed. It is loaded all the same: loads that depend on
// nothing can be under way together.
fn key_or_none(logits: u32, id: u32) -> u32 {
    let key = key_of(bitcast<u32>(acts[logits + min(id, p.at.y - 1u)]));
    return select(0u, key, id < p.at.y);
}

fn list(row: u32, thread: u32, largest: f32, target_sum: vec2<f32>) -> u32 {
    let logits = p.at.x + row * p.at.y;
    let found = p.places.w + row * p.at.z * FOUND_WORDS;
    let out = p.more.x + row * p.at.y;
    var depth = DEPTH;
    var floor_key = LEAST_KEY;
    var count = 0u;
    for (var rung = 0u; rung <= DOUBLINGS; rung++) {
        floor_key = LEAST_KEY;
        if rung < DOUBLINGS {
            floor_key = max(key_of(bitcast<u32>(largest - depth)), LEAST_KEY);
        }
        depth *= 2.0;
        count = 0u;
        var sum = vec2<f32>(0.0);
        for (var block = 0u; block < p.at.z; block++) {
            if sampling[found + block * FOUND_WORDS] < floor_key {
                continue;
            }
            let first = block * THREADS * PER + thread;
//!for j PER
            let key_@j = key_or_none(logits, first + @ju * THREADS);
//!end
//!for j PER
            if key_@j >= floor_key {
                count += 1u;
                if p.more.w == 0u {
                    sum = pair_add(sum, vec2<f32>(exp_of(value_of(key_@j) - largest), 0.0));
                }
            }
//!end
        }
        var enough = false;
        if p.more.w != 0u {
            enough = pair_sum(vec2<f32>(f32(count), 0.0), thread).x >= f32(p.more.w);
        } else {
            enough = !pair_less(pair_sum(sum, thread), target_sum);
        }
        if enough {
            break;
        }
    }
    var place = out + u32(pair_scan(vec2<f32>(f32(count), 0.0), thread).x) - count;
    for (var block = 0u; block < p.at.z; block++) {
        if sampling[found + block * FOUND_WORDS] < floor_key {
            continue;
        }
        let first = block * THREADS * PER + thread;
//!for j PER
        let key_@j = key_or_none(logits, first + @ju * THREADS);
//!end
//!for j PER
        if key_@j >= floor_key {
            sampling[place] = first + @ju * THREADS;
            place += 1u;
        }
//!end
    }
    storageBarrier();
    workgroupBarrier();
    return u32(pairs[THREADS - 1u].x);
}
