// What was found in all blocks of a row.

// Key and id of the best logit: of equals the lowest id.
fn best_of_blocks(row: u32, thread: u32) -> vec2<u32> {
    var key = 0u;
    var id = 0xffffffffu;
    for (var block = thread; block < p.at.z; block += THREADS) {
        let found = p.places.w + (row * p.at.z + block) * FOUND_WORDS;
        if sampling[found] > key {
            key = sampling[found];
            id = sampling[found + 1u];
        }
    }
    return largest_of_all(key, id, thread);
}

// The sum of e^(logit - largest) over the row.
fn sum_of_blocks(row: u32, thread: u32, largest: f32) -> vec2<f32> {
    var sum = vec2<f32>(0.0);
    for (var block = thread; block < p.at.z; block += THREADS) {
        let found = p.places.w + (row * p.at.z + block) * FOUND_WORDS;
        if sampling[found] >= LEAST_KEY {
            let part = vec2<f32>(bitcast<f32>(sampling[found + 2u]), bitcast<f32>(sampling[found + 3u]));
            let scale = exp_of(value_of(sampling[found]) - largest);
            sum = pair_add(sum, pair_times(part, vec2<f32>(scale, 0.0)));
        }
    }
    return pair_sum(sum, thread);
}
