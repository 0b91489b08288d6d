// Activations rounded to int8, a scale for each 16, in shared memory: of TOKENS tokens, TILE_16 sixteens of each.

// Of each token, first the first halves of all blocks of 32, then the second: neighbouring threads read neighbours.
var<workgroup> xq: array<vec4<u32>, TOKENS * TILE_16>;
// Their scales d, and d sum(xq).
var<workgroup> xs: array<vec2<f32>, TOKENS * TILE_16>;

// Sixteen values: words of four, the largest magnitude, the sum of the int8.
struct Rounded { words: vec4<u32>, largest: f32, sum: i32 }

// 1 / d, finite: values too small for that count as zeros.
fn inverse(largest: f32) -> f32 {
    return select(0.0, 127.0 / largest, largest > 1e-35);
}

// Stages block `b` of a token's 16s.
fn put(t: u32, b: u32, block: Rounded) {
    let at = t * TILE_16 + (b & 1u) * TILE_32 + (b >> 1u);
    let d = block.largest / 127.0;
    xq[at] = block.words;
    xs[at] = vec2<f32>(d, d * f32(block.sum));
}

fn four(x: u32) -> vec4<f32> {
    return vec4<f32>(acts[x], acts[x + 1u], acts[x + 2u], acts[x + 3u]);
}

fn largest_of(x: vec4<f32>) -> f32 {
    let m = abs(x);
    return max(max(m.x, m.y), max(m.z, m.w));
}

// Four neighbouring threads, each with four consecutive values, round the block that they make; right for the first of the
// four.
//!if SUBGROUP
fn rounded16(x: vec4<f32>, thread: u32) -> Rounded {
    var largest = largest_of(x);
    largest = max(largest, subgroupShuffleXor(largest, 1u));
    largest = max(largest, subgroupShuffleXor(largest, 2u));
    let q = vec4<i32>(round(x * inverse(largest)));
    var sum = q.x + q.y + q.z + q.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    let word = pack4xI8(q);
    let other = subgroupShuffleXor(word, 1u);
    // Of threads 0 and 1, and of threads 2 and 3, in order for the even ones.
    let pair = vec2<u32>(word, other);
    let words = vec4<u32>(pair, subgroupShuffleXor(pair.x, 2u), subgroupShuffleXor(pair.y, 2u));
    return Rounded(words, largest, sum);
}
//!else
//!if SHIFT
var<workgroup> tops: array<f32, THREADS>;
var<workgroup> bytes: array<u32, THREADS>;

// Every thread must call this, in uniform control flow.
fn rounded16(x: vec4<f32>, thread: u32) -> Rounded {
    // What was read of the block of before must have been read.
    workgroupBarrier();
    tops[thread] = largest_of(x);
    workgroupBarrier();
    let at = thread & 0xfffffffcu;
    let largest = max(max(tops[at], tops[at + 1u]), max(tops[at + 2u], tops[at + 3u]));
    bytes[thread] = pack4xI8(vec4<i32>(round(x * inverse(largest))));
    workgroupBarrier();
    let words = vec4<u32>(bytes[at], bytes[at + 1u], bytes[at + 2u], bytes[at + 3u]);
    var sum = 0;
    for (var i = 0u; i < 4u; i++) {
        sum += dot4I8Packed(words[i], 0x01010101u);
    }
    return Rounded(words, largest, sum);
}
//!end
//!end
