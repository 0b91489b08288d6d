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

// A count below this is 0, as on the host.
const NEGLIGIBLE = 1e-30;

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;

// The logit of a token with penalties and bias, as a key.
fn penalised(row: u32, id: u32) -> u32 {
    let at = p.at.x + row * p.at.y + id;
    let before = bitcast<u32>(acts[at]);
    var key = key_of(before);
    let finite = key >= LEAST_KEY && key < INFINITE_KEY;
    if p.more.y != 0u {
        let place = p.more.y + row * p.at.y + id;
        let count = bitcast<f32>(sampling[place]);
        if count >= 0.0 {
            if finite {
                key = key_of(bitcast<u32>(acts[at] - (p.penalties.x + count * p.penalties.y)));
            }
            let faded = count * p.penalties.z;
            sampling[place] = bitcast<u32>(select(faded, 0.0, faded < NEGLIGIBLE));
        }
    }
    if p.more.z != 0u && key != NAN_KEY {
        let bias = sampling[p.more.z + id];
        if bias == 0xff800000u {
            key = ~bias;
        } else if finite {
            key = key_of(bitcast<u32>(value_of(key) + bitcast<f32>(bias)));
        }
    }
    if (p.more.y | p.more.z) != 0u && key != NAN_KEY {
        acts[at] = value_of(key);
    }
    return key;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y;
    let first = group.x * THREADS * PER + thread;
    let end = min(first + THREADS * PER, p.at.y);
    var key = 0u;
    var id = 0xffffffffu;
    for (var i = first; i < end; i += THREADS) {
        let other = penalised(row, i);
        if other > key {
            key = other;
            id = i;
        }
    }
    keys[thread] = key;
    ids[thread] = id;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if thread < step {
            let other = keys[thread + step];
            if other > keys[thread] || (other == keys[thread] && ids[thread + step] < ids[thread]) {
                keys[thread] = other;
                ids[thread] = ids[thread + step];
            }
        }
        workgroupBarrier();
    }
    let best = keys[0];
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
        sampling[found + 1u] = ids[0];
        sampling[found + 2u] = bitcast<u32>(sum.x);
        sampling[found + 3u] = bitcast<u32>(sum.y);
    }
}
