// The first half of sampling: penalties and biases on the logits, in place, and of each block of logits the largest and
// the sum of e^(logit - largest).
//   count >= 0 (said before): logit -= presence + count * frequency;  count *= decay
//   logit += bias (-infinity: banned)
// A block of a row a workgroup. Grid: (blocks of a row, rows). Logits (rows, V) in the activations; counts (rows, V),
// biases (V) and what is found (rows, blocks) in the sampler's buffer.

//!include sampling
//!include bindings
//!include exp
//!include pairs
//!include sample_penalised
//!include sample_largest

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y;
    let first = group.x * THREADS * PER + thread;
    let end = min(first + THREADS * PER, p.at.y);
    var key = 0u;
    var id = 0xffffffffu;
    for (var i = first; i < end; i += THREADS) {
        let other = penalised(row, i, bitcast<u32>(acts[p.at.x + row * p.at.y + i]));
        if other > key {
            key = other;
            id = i;
        }
    }
    let of_block = largest_of_all(key, id, thread);
    let best = of_block.x;
    var sum = vec2<f32>(0.0);
    if p.flags.x != 0u && best >= LEAST_KEY && best < INFINITE_KEY {
        let largest = value_of(best);
        for (var i = first; i < end; i += THREADS) {
            let key = key_of(bitcast<u32>(acts[p.at.x + row * p.at.y + i]));
            if key >= LEAST_KEY {
                sum = pair_add(sum, vec2<f32>(exp_of(value_of(key) - largest), 0.0));
            }
        }
    }
    sum = pair_sum(sum, thread);
    if thread == 0u {
        let found = p.places.w + (row * p.at.z + group.x) * FOUND_WORDS;
        sampling[found] = best;
        sampling[found + 1u] = of_block.y;
        sampling[found + 2u] = bitcast<u32>(sum.x);
        sampling[found + 3u] = bitcast<u32>(sum.y);
    }
}
