// Weights that are kept by input: of each input all outputs, in bands of 256 inputs (weights/by_input.rs writes them).
// kind: layout, 16, eights of outputs << 8.

// Where eight small integers lie in a word, one after the other.
const LOW = vec4<u32>(0u, 4u, 8u, 12u);
const HIGH = vec4<u32>(16u, 20u, 24u, 28u);
const ONES_LOW = vec4<u32>(0u, 1u, 2u, 3u);
const ONES_HIGH = vec4<u32>(4u, 5u, 6u, 7u);
const PAIRS_LOW = vec4<u32>(0u, 2u, 4u, 6u);
const PAIRS_HIGH = vec4<u32>(8u, 10u, 12u, 14u);

// w = q * s + m, of eight outputs.
struct Scales { s: Eight, m: Eight }

fn halves(v: vec4<u32>) -> Eight {
    return Eight(
        vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)),
        vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)),
    );
}

// Low and high halves of eight words, as floats.
fn both_halves(at: u32) -> array<Eight, 2> {
    let v = weights4[at >> 2u];
    let w = weights4[(at >> 2u) + 1u];
    let x = unpack2x16float(v.x);
    let y = unpack2x16float(v.y);
    let z = unpack2x16float(v.z);
    let t = unpack2x16float(v.w);
    let a = unpack2x16float(w.x);
    let b = unpack2x16float(w.y);
    let c = unpack2x16float(w.z);
    let d = unpack2x16float(w.w);
    return array<Eight, 2>(
        Eight(vec4<f32>(x.x, y.x, z.x, t.x), vec4<f32>(a.x, b.x, c.x, d.x)),
        Eight(vec4<f32>(x.y, y.y, z.y, t.y), vec4<f32>(a.y, b.y, c.y, d.y)),
    );
}

// Byte `which` of eight words.
fn bytes8(at: u32, which: u32) -> array<vec4<u32>, 2> {
    let shift = vec4<u32>(which * 8u);
    return array<vec4<u32>, 2>(
        (weights4[at >> 2u] >> shift) & vec4<u32>(255u),
        (weights4[(at >> 2u) + 1u] >> shift) & vec4<u32>(255u),
    );
}

fn nibbles8(word: u32) -> array<vec4<u32>, 2> {
    let q = vec4<u32>(word);
    return array<vec4<u32>, 2>((q >> LOW) & vec4<u32>(15u), (q >> HIGH) & vec4<u32>(15u));
}

// What completes eight outputs' integers of an input, in bits 4 and up.
fn fifth_bits8(at: u32, r8: u32) -> array<vec4<u32>, 2> {
    let h = vec4<u32>(weights1[at + (r8 >> 2u)] >> ((r8 & 3u) * 8u));
    return array<vec4<u32>, 2>(
        ((h >> ONES_LOW) & vec4<u32>(1u)) << vec4<u32>(4u),
        ((h >> ONES_HIGH) & vec4<u32>(1u)) << vec4<u32>(4u),
    );
}

// Eight consecutive outputs' floats of an input, or their integers; r8: which eight of the outputs.
fn values8(kind: u32, planes: vec3<u32>, input: u32, r8: u32) -> Eight {
    let n8 = kind >> 8u;
    let at = input * n8 + r8;
    switch kind & 15u {
//!if HAS_F32
        case 0u: {
            let v = (planes.x >> 2u) + at * 2u;
            return Eight(bitcast<vec4<f32>>(weights4[v]), bitcast<vec4<f32>>(weights4[v + 1u]));
        }
//!end
//!if HAS_F16
        case 1u: { return halves(weights4[(planes.x >> 2u) + at]); }
//!end
//!if HAS_BF16
        case 2u: {
            let v = weights4[(planes.x >> 2u) + at];
            let low = bitcast<vec4<f32>>(v << vec4<u32>(16u));
            let high = bitcast<vec4<f32>>(v & vec4<u32>(0xffff0000u));
            return Eight(vec4<f32>(low.x, high.x, low.y, high.y), vec4<f32>(low.z, high.z, low.w, high.w));
        }
//!end
//!if HAS_Q8_0
        case 3u: {
            let v = planes.x + at * 2u;
            return Eight(vec4<f32>(unpack4xI8(weights1[v])), vec4<f32>(unpack4xI8(weights1[v + 1u])));
        }
//!end
//!if HAS_Q4_0
        case 4u: {
            let q = nibbles8(weights1[planes.x + at]);
            return Eight(vec4<f32>(q[0]) - 8.0, vec4<f32>(q[1]) - 8.0);
        }
//!end
//!if HAS_Q5_0
        case 5u: {
            let q = nibbles8(weights1[planes.x + at]);
            let h = fifth_bits8(planes.z + input * ((n8 + 3u) >> 2u), r8);
            return Eight(vec4<f32>(q[0] | h[0]) - 16.0, vec4<f32>(q[1] | h[1]) - 16.0);
        }
//!end
//!if HAS_Q5_1
        case 6u: {
            let q = nibbles8(weights1[planes.x + at]);
            let h = fifth_bits8(planes.z + input * ((n8 + 3u) >> 2u), r8);
            return Eight(vec4<f32>(q[0] | h[0]), vec4<f32>(q[1] | h[1]));
        }
//!end
//!if HAS_Q4K
        case 7u: {
            let q = nibbles8(weights1[planes.x + at]);
            return Eight(vec4<f32>(q[0]), vec4<f32>(q[1]));
        }
//!end
//!if HAS_Q5K
        case 8u: {
            let q = nibbles8(weights1[planes.x + at]);
            let h = fifth_bits8(planes.z + input * ((n8 + 3u) >> 2u), r8);
            return Eight(vec4<f32>(q[0] | h[0]), vec4<f32>(q[1] | h[1]));
        }
//!end
//!if HAS_Q6K
        case 9u: {
            let q = nibbles8(weights1[planes.x + at]);
            let h = vec4<u32>(weights1[planes.z + input * ((n8 + 1u) >> 1u) + (r8 >> 1u)] >> ((r8 & 1u) * 16u));
            return Eight(
                vec4<f32>(q[0] | (((h >> PAIRS_LOW) & vec4<u32>(3u)) << vec4<u32>(4u))) - 32.0,
                vec4<f32>(q[1] | (((h >> PAIRS_HIGH) & vec4<u32>(3u)) << vec4<u32>(4u))) - 32.0,
            );
        }
//!end
//!if HAS_Q2K
        case 10u: {
            let q = vec4<u32>(weights1[planes.x + input * ((n8 + 1u) >> 1u) + (r8 >> 1u)] >> ((r8 & 1u) * 16u));
            return Eight(
                vec4<f32>((q >> PAIRS_LOW) & vec4<u32>(3u)),
                vec4<f32>((q >> PAIRS_HIGH) & vec4<u32>(3u)),
            );
        }
//!end
        default: {}
    }
    return Eight();
}

// The scales of eight consecutive outputs for the group that an input is in: 16 or 32 inputs share them.
fn scales8(kind: u32, planes: vec3<u32>, input: u32, r8: u32) -> Scales {
    // Floats have none.
    var out = Scales(Eight(vec4<f32>(1.0), vec4<f32>(1.0)), Eight());
    // Words of scales of all outputs, one word after the other; a band has some.
    let words = (kind >> 8u) * 8u;
    let band = input >> 8u;
    let at = planes.y + r8 * 8u;
    switch kind & 15u {
//!if SCALE_32
        // Two scales a word.
        case 3u, 4u, 5u: {
            let d = both_halves(at + (band * 4u + ((input >> 6u) & 3u)) * words);
            let odd = (input & 32u) != 0u;
            out.s = Eight(select(d[0].a, d[1].a, odd), select(d[0].b, d[1].b, odd));
        }
//!end
//!if HAS_Q5_1
        case 6u: {
            let d = both_halves(at + (input >> 5u) * words);
            out = Scales(d[0], d[1]);
        }
//!end
//!if SCALE_K
        case 7u, 8u: {
            let d = both_halves(at + band * 5u * words);
            let group = (input >> 5u) & 7u;
            let word = at + (band * 5u + 1u + (group >> 1u)) * words;
            let s = bytes8(word, (group & 1u) * 2u);
            let m = bytes8(word, (group & 1u) * 2u + 1u);
            out.s = Eight(d[0].a * vec4<f32>(s[0]), d[0].b * vec4<f32>(s[1]));
            out.m = Eight(-d[1].a * vec4<f32>(m[0]), -d[1].b * vec4<f32>(m[1]));
        }
//!end
//!if HAS_Q6K
        case 9u: {
            let d = (at + band * 5u * words) >> 2u;
            let group = (input >> 4u) & 15u;
            let s = bytes8(at + (band * 5u + 1u + (group >> 2u)) * words, group & 3u);
            let a = vec4<f32>((bitcast<vec4<i32>>(s[0]) ^ vec4<i32>(128)) - 128);
            let b = vec4<f32>((bitcast<vec4<i32>>(s[1]) ^ vec4<i32>(128)) - 128);
            out.s = Eight(bitcast<vec4<f32>>(weights4[d]) * a, bitcast<vec4<f32>>(weights4[d + 1u]) * b);
        }
//!end
//!if HAS_Q2K
        case 10u: {
            let d = both_halves(at + band * 5u * words);
            let group = (input >> 4u) & 15u;
            let s = bytes8(at + (band * 5u + 1u + (group >> 2u)) * words, group & 3u);
            let low = vec4<u32>(15u);
            let four = vec4<u32>(4u);
            out.s = Eight(d[0].a * vec4<f32>(s[0] & low), d[0].b * vec4<f32>(s[1] & low));
            out.m = Eight(-d[1].a * vec4<f32>(s[0] >> four), -d[1].b * vec4<f32>(s[1] >> four));
        }
//!end
        default: {}
    }
    return out;
}

// Eight consecutive outputs' weights of one input.
fn load8_outputs(kind: u32, planes: vec3<u32>, input: u32, r8: u32) -> Eight {
    let q = values8(kind, planes, input, r8);
    let w = scales8(kind, planes, input, r8);
    return Eight(q.a * w.s.a + w.m.a, q.b * w.s.b + w.m.b);
}

// The same as far as reading goes, for unpack8 with `code`, the layout alone: floats as they lie in memory, others are numbers
// already.
fn fetch8_outputs(code: u32, kind: u32, planes: vec3<u32>, input: u32, r8: u32) -> Raw {
    let at = (planes.x >> 2u) + (input * (kind >> 8u) + r8) * select(1u, 2u, code == 0u);
    var f: Raw;
    switch code {
        case 0u: {
            f.a = weights4[at];
            f.b = weights4[at + 1u];
        }
        case 1u, 2u: { f.a = weights4[at]; }
        default: {
            let w = load8_outputs(kind, planes, input, r8);
            f.a = bitcast<vec4<u32>>(w.a);
            f.b = bitcast<vec4<u32>>(w.b);
        }
    }
    return f;
}

// Eight consecutive inputs' weights of one output: right, but eight times the work of load8_outputs.
fn load8_inputs(kind: u32, planes: vec3<u32>, output: u32, k8: u32) -> Eight {
    let r8 = output >> 3u;
    let j = output & 3u;
    let upper = (output & 4u) != 0u;
    // Groups are sixteen inputs at least.
    let w = scales8(kind, planes, k8 * 8u, r8);
    let s = select(w.s.a[j], w.s.b[j], upper);
    let m = select(w.m.a[j], w.m.b[j], upper);
    var out: Eight;
    for (var i = 0u; i < 4u; i++) {
        let q = values8(kind, planes, k8 * 8u + i, r8);
        let t = values8(kind, planes, k8 * 8u + 4u + i, r8);
        out.a[i] = select(q.a[j], q.b[j], upper) * s + m;
        out.b[i] = select(t.a[j], t.b[j], upper) * s + m;
    }
    return out;
}
