// What the two kernels of sampling share: parameters, and logits as keys, integers that rise with them. Keys say what is
// infinite or no number without comparing floats, of which compilers may assume that they are neither.

struct Params {
    // logits, V, blocks of a row, entries of the rings
    at: vec4<u32>,
    // in the sampler's words: steps done, units, ids, what was found in the blocks
    places: vec4<u32>,
    // in the sampler's words: candidates, counts, biases (0: there are none); top_k (0: off)
    more: vec4<u32>,
    // 1 if the sums of blocks are wanted, rows
    flags: vec4<u32>,
    // temperature, top_p, min_p
    cut: vec4<f32>,
    // presence, frequency, decay
    penalties: vec4<f32>,
}

const NAN_KEY = 0xffffffffu;
const INFINITE_KEY = 0xff800000u;
// Of the least finite logit: what is below is -infinity.
const LEAST_KEY = 0x00800000u;
// Words of what is found in a block: key of the largest logit, its id, sum of the weights relative to it (two).
const FOUND_WORDS = 4u;

fn key_of(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return NAN_KEY;
    }
    if (bits & 0x80000000u) == 0u || bits == 0x80000000u {
        return bits | 0x80000000u;
    }
    return ~bits;
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}
