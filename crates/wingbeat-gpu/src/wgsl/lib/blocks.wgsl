// Thirty-two consecutive weights of a row as packed int8, for the quantized layouts (weights/layout.rs writes them).
//
// Reading and unpacking are apart, so that a kernel can have the next weights on their way while it computes.

// As they lie in memory: integers, more of them or their high bits, scales.
struct Fetched { q: vec4<u32>, more: vec4<u32>, head: vec2<u32> }

// w = scale q + offset, for each half of sixteen; a word of q has four consecutive weights.
struct Block { a: vec4<u32>, b: vec4<u32>, scale: vec2<f32>, offset: vec2<f32> }

const FOURTHS_A = vec4<u32>(0u, 1u, 2u, 3u);
const FOURTHS_B = vec4<u32>(4u, 5u, 6u, 7u);
const TWICE = vec4<u32>(0u, 2u, 4u, 6u);
const FOUR_BITS = vec4<u32>(4u);

// planes: words where the planes begin; k32: which thirty-two of the row.
fn fetch32(kind: u32, planes: vec3<u32>, cols: u32, row: u32, k32: u32) -> Fetched {
    var f: Fetched;
    let n32 = cols >> 5u;
    let at = row * n32 + k32;
    // Of layouts with a word for two scales, and with a header for eight blocks.
    let scales = planes.y + row * ((n32 + 1u) >> 1u) + (k32 >> 1u);
    let header = planes.y + (row * (n32 >> 3u) + (k32 >> 3u)) * 5u;
    let word = header + 1u + ((k32 & 7u) >> 1u);
    switch kind {
//!if HAS_Q8_0
        case 3u: {
            f.q = weights4[(planes.x >> 2u) + at * 2u];
            f.more = weights4[(planes.x >> 2u) + at * 2u + 1u];
            f.head.x = weights1[scales];
        }
//!end
//!if HAS_Q4_0
        case 4u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.head.x = weights1[scales];
        }
//!end
//!if HAS_Q5_0
        case 5u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.more.x = weights1[planes.z + at];
            f.head.x = weights1[scales];
        }
//!end
//!if HAS_Q5_1
        case 6u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.more.x = weights1[planes.z + at];
            f.head.x = weights1[planes.y + at];
        }
//!end
//!if HAS_Q4K
        case 7u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.head = vec2<u32>(weights1[header], weights1[word]);
        }
//!end
//!if HAS_Q5K
        case 8u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.more.x = weights1[planes.z + at];
            f.head = vec2<u32>(weights1[header], weights1[word]);
        }
//!end
//!if HAS_Q6K
        case 9u: {
            f.q = weights4[(planes.x >> 2u) + at];
            f.more.x = weights1[planes.z + at * 2u];
            f.more.y = weights1[planes.z + at * 2u + 1u];
            f.head = vec2<u32>(weights1[header], weights1[word]);
        }
//!end
//!if HAS_Q2K
        case 10u: {
            f.q.x = weights1[planes.x + at * 2u];
            f.q.y = weights1[planes.x + at * 2u + 1u];
            f.head = vec2<u32>(weights1[header], weights1[word]);
        }
//!end
        default: {}
    }
    return f;
}

fn unpack32(kind: u32, f: Fetched, k32: u32) -> Block {
    var w: Block;
    let low = f.q & vec4<u32>(0x0f0f0f0fu);
    let high = (f.q >> FOUR_BITS) & vec4<u32>(0x0f0f0f0fu);
    // Of layouts of nibbles.
    w.a = vec4<u32>(low.x, high.x, low.y, high.y);
    w.b = vec4<u32>(low.z, high.z, low.w, high.w);
    let both = unpack2x16float(f.head.x);
    let d = select(both.x, both.y, (k32 & 1u) != 0u);
    // Scales of this block in a header's word.
    let packed = f.head.y >> ((k32 & 1u) * 16u);
    switch kind {
//!if HAS_Q8_0
        case 3u: {
            w.a = f.q;
            w.b = f.more;
            w.scale = vec2<f32>(d);
        }
//!end
//!if HAS_Q4_0
        case 4u: {
            w.scale = vec2<f32>(d);
            w.offset = vec2<f32>(-8.0 * d);
        }
//!end
//!if HAS_Q5_0
        case 5u: {
            w.a |= fifth(f.more.x, FOURTHS_A);
            w.b |= fifth(f.more.x, FOURTHS_B);
            w.scale = vec2<f32>(d);
            w.offset = vec2<f32>(-16.0 * d);
        }
//!end
//!if HAS_Q5_1
        case 6u: {
            w.a |= fifth(f.more.x, FOURTHS_A);
            w.b |= fifth(f.more.x, FOURTHS_B);
            w.scale = vec2<f32>(both.x);
            w.offset = vec2<f32>(both.y);
        }
//!end
//!if HAS_Q4K
        case 7u: {
            w.scale = vec2<f32>(both.x * f32(packed & 255u));
            w.offset = vec2<f32>(-both.y * f32((packed >> 8u) & 255u));
        }
//!end
//!if HAS_Q5K
        case 8u: {
            w.a |= fifth(f.more.x, FOURTHS_A);
            w.b |= fifth(f.more.x, FOURTHS_B);
            w.scale = vec2<f32>(both.x * f32(packed & 255u));
            w.offset = vec2<f32>(-both.y * f32((packed >> 8u) & 255u));
        }
//!end
//!if HAS_Q6K
        case 9u: {
            w.a |= pairs(f.more.x) << FOUR_BITS;
            w.b |= pairs(f.more.y) << FOUR_BITS;
            let s = bitcast<i32>(packed);
            w.scale = bitcast<f32>(f.head.x) * vec2<f32>(vec2<i32>(extractBits(s, 0u, 8u), extractBits(s, 8u, 8u)));
            w.offset = -32.0 * w.scale;
        }
//!end
//!if HAS_Q2K
        case 10u: {
            w.a = pairs(f.q.x);
            w.b = pairs(f.q.y);
            w.scale = both.x * vec2<f32>(vec2<u32>(packed & 15u, (packed >> 8u) & 15u));
            w.offset = -both.y * vec2<f32>(vec2<u32>((packed >> 4u) & 15u, (packed >> 12u) & 15u));
        }
//!end
        default: {}
    }
    return w;
}

// The fifth bits of sixteen weights, in their places.
fn fifth(bits: u32, which: vec4<u32>) -> vec4<u32> {
    return ((vec4<u32>(bits) >> which) & vec4<u32>(0x01010101u)) << FOUR_BITS;
}

// The pairs of bits of sixteen weights.
fn pairs(bits: u32) -> vec4<u32> {
    return (vec4<u32>(bits) >> TWICE) & vec4<u32>(0x03030303u);
}
