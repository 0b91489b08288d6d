// Eight consecutive weights of a row, of any layout (weights/layout.rs writes them).

struct Eight { a: vec4<f32>, b: vec4<f32> }
//!if BY_INPUT
//!include by_input
//!end

const NIBBLES = 0x0f0f0f0fu;
const PAIRS = 0x03030303u;
const BITS = 0x01010101u;

fn bytes_of(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(word));
}

fn half_of(word: u32, which: u32) -> f32 {
    let both = unpack2x16float(word);
    return select(both.x, both.y, which != 0u);
}

// Eight weights as far as reading goes: floats as they lie in memory, so that a kernel can have the next ones on their way
// while it computes; others are numbers already.
struct Raw { a: vec4<u32>, b: vec4<u32> }

// planes: words where the planes begin; k8: which eight of the row.
fn fetch8(kind: u32, planes: vec3<u32>, cols: u32, row: u32, k8: u32) -> Raw {
    var f: Raw;
    let at = row * ((cols + 7u) >> 3u) + k8;
//!if BY_INPUT
    if (kind & 16u) != 0u {
        let w = load8_inputs(kind, planes, row, k8);
        return Raw(bitcast<vec4<u32>>(w.a), bitcast<vec4<u32>>(w.b));
    }
//!end
    switch kind {
//!if HAS_F32
        case 0u: {
            f.a = weights4[(planes.x >> 2u) + at * 2u];
            f.b = weights4[(planes.x >> 2u) + at * 2u + 1u];
        }
//!end
//!if HAS_F16
        case 1u: { f.a = weights4[(planes.x >> 2u) + at]; }
//!end
//!if HAS_BF16
        case 2u: { f.a = weights4[(planes.x >> 2u) + at]; }
//!end
        default: {
            let w = integers8(kind, planes, cols, row, k8);
            f.a = bitcast<vec4<u32>>(w.a);
            f.b = bitcast<vec4<u32>>(w.b);
        }
    }
    return f;
}

fn unpack8(kind: u32, f: Raw) -> Eight {
    var w: Eight;
//!if BY_INPUT
    if (kind & 16u) != 0u {
        return Eight(bitcast<vec4<f32>>(f.a), bitcast<vec4<f32>>(f.b));
    }
//!end
    switch kind {
//!if HAS_F16
        case 1u: {
            w.a = vec4<f32>(unpack2x16float(f.a.x), unpack2x16float(f.a.y));
            w.b = vec4<f32>(unpack2x16float(f.a.z), unpack2x16float(f.a.w));
        }
//!end
//!if HAS_BF16
        case 2u: {
            let low = bitcast<vec4<f32>>(f.a << vec4<u32>(16u));
            let high = bitcast<vec4<f32>>(f.a & vec4<u32>(0xffff0000u));
            w.a = vec4<f32>(low.x, high.x, low.y, high.y);
            w.b = vec4<f32>(low.z, high.z, low.w, high.w);
        }
//!end
        default: {
            w.a = bitcast<vec4<f32>>(f.a);
            w.b = bitcast<vec4<f32>>(f.b);
        }
    }
    return w;
}

fn load8(kind: u32, planes: vec3<u32>, cols: u32, row: u32, k8: u32) -> Eight {
    return unpack8(kind, fetch8(kind, planes, cols, row, k8));
}

fn integers8(kind: u32, planes: vec3<u32>, cols: u32, row: u32, k8: u32) -> Eight {
    var w: Eight;
    switch kind {
//!if HAS_Q8_0
        case 3u: {
            let n32 = cols >> 5u;
            let at = planes.x + row * (n32 * 8u) + k8 * 2u;
            let block = k8 >> 2u;
            let d = half_of(weights1[planes.y + row * ((n32 + 1u) >> 1u) + (block >> 1u)], block & 1u);
            w.a = vec4<f32>(unpack4xI8(weights1[at])) * d;
            w.b = vec4<f32>(unpack4xI8(weights1[at + 1u])) * d;
        }
//!end
//!if HAS_Q4_0
        case 4u: {
            let n32 = cols >> 5u;
            let q = weights1[planes.x + row * (n32 * 4u) + k8];
            let block = k8 >> 2u;
            let d = half_of(weights1[planes.y + row * ((n32 + 1u) >> 1u) + (block >> 1u)], block & 1u);
            w.a = (bytes_of(q & NIBBLES) - 8.0) * d;
            w.b = (bytes_of((q >> 4u) & NIBBLES) - 8.0) * d;
        }
//!end
//!if HAS_Q5_0
        case 5u: {
            let n32 = cols >> 5u;
            let q = weights1[planes.x + row * (n32 * 4u) + k8];
            let block = k8 >> 2u;
            let h = weights1[planes.z + row * n32 + block] >> ((k8 & 3u) * 2u);
            let d = half_of(weights1[planes.y + row * ((n32 + 1u) >> 1u) + (block >> 1u)], block & 1u);
            w.a = (bytes_of((q & NIBBLES) | ((h & BITS) << 4u)) - 16.0) * d;
            w.b = (bytes_of(((q >> 4u) & NIBBLES) | (((h >> 1u) & BITS) << 4u)) - 16.0) * d;
        }
//!end
//!if HAS_Q5_1
        case 6u: {
            let n32 = cols >> 5u;
            let q = weights1[planes.x + row * (n32 * 4u) + k8];
            let block = k8 >> 2u;
            let h = weights1[planes.z + row * n32 + block] >> ((k8 & 3u) * 2u);
            let dm = unpack2x16float(weights1[planes.y + row * n32 + block]);
            w.a = bytes_of((q & NIBBLES) | ((h & BITS) << 4u)) * dm.x + dm.y;
            w.b = bytes_of(((q >> 4u) & NIBBLES) | (((h >> 1u) & BITS) << 4u)) * dm.x + dm.y;
        }
//!end
//!if HAS_Q4K
        case 7u: {
            let n256 = cols >> 8u;
            let q = weights1[planes.x + row * (n256 * 32u) + k8];
            let head = planes.y + (row * n256 + (k8 >> 5u)) * 5u;
            let group = (k8 >> 2u) & 7u;
            let d = unpack2x16float(weights1[head]);
            let packed = weights1[head + 1u + (group >> 1u)] >> ((group & 1u) * 16u);
            let s = d.x * f32(packed & 255u);
            let m = d.y * f32((packed >> 8u) & 255u);
            w.a = bytes_of(q & NIBBLES) * s - m;
            w.b = bytes_of((q >> 4u) & NIBBLES) * s - m;
        }
//!end
//!if HAS_Q5K
        case 8u: {
            let n256 = cols >> 8u;
            let q = weights1[planes.x + row * (n256 * 32u) + k8];
            let h = weights1[planes.z + row * (n256 * 8u) + (k8 >> 2u)] >> ((k8 & 3u) * 2u);
            let head = planes.y + (row * n256 + (k8 >> 5u)) * 5u;
            let group = (k8 >> 2u) & 7u;
            let d = unpack2x16float(weights1[head]);
            let packed = weights1[head + 1u + (group >> 1u)] >> ((group & 1u) * 16u);
            let s = d.x * f32(packed & 255u);
            let m = d.y * f32((packed >> 8u) & 255u);
            w.a = bytes_of((q & NIBBLES) | ((h & BITS) << 4u)) * s - m;
            w.b = bytes_of(((q >> 4u) & NIBBLES) | (((h >> 1u) & BITS) << 4u)) * s - m;
        }
//!end
//!if HAS_Q6K
        case 9u: {
            let n256 = cols >> 8u;
            let q = weights1[planes.x + row * (n256 * 32u) + k8];
            let h = weights1[planes.z + row * (n256 * 16u) + (k8 >> 1u)] >> ((k8 & 1u) * 4u);
            let head = planes.y + (row * n256 + (k8 >> 5u)) * 5u;
            let group = (k8 >> 1u) & 15u;
            let scale = extractBits(bitcast<i32>(weights1[head + 1u + (group >> 2u)]), (group & 3u) * 8u, 8u);
            let s = bitcast<f32>(weights1[head]) * f32(scale);
            w.a = (bytes_of((q & NIBBLES) | ((h & PAIRS) << 4u)) - 32.0) * s;
            w.b = (bytes_of(((q >> 4u) & NIBBLES) | (((h >> 2u) & PAIRS) << 4u)) - 32.0) * s;
        }
//!end
//!if HAS_Q2K
        case 10u: {
            let n256 = cols >> 8u;
            let q = weights1[planes.x + row * (n256 * 16u) + (k8 >> 1u)] >> ((k8 & 1u) * 4u);
            let head = planes.y + (row * n256 + (k8 >> 5u)) * 5u;
            let group = (k8 >> 1u) & 15u;
            let d = unpack2x16float(weights1[head]);
            let packed = weights1[head + 1u + (group >> 2u)] >> ((group & 3u) * 8u);
            let s = d.x * f32(packed & 15u);
            let m = d.y * f32((packed >> 4u) & 15u);
            w.a = bytes_of(q & PAIRS) * s - m;
            w.b = bytes_of((q >> 2u) & PAIRS) * s - m;
        }
//!end
        default: {}
    }
    return w;
}
