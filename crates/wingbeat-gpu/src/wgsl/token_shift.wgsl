// ys[i][t] = n[t] + (n[t-1] - n[t]) * mixes[i], with n = layer norm of x (NORM) or x itself; n[-1] of a sequence is its
// state. A row a workgroup. Grid: rows of the sequences whose states lie in one buffer.
//
// Where ALONE, every sequence has one token. A sequence of one token writes its state here, as nobody else reads it; the others leave that to shift_state.
// x, normed, ys (T, C) in the activations; mixes (C) in the vectors.

struct Params {
    // x, normed, C, first entry of the row list
    at: vec4<u32>,
    // weight, bias, state slab within a slot, floats of a slot
    norm: vec4<u32>,
    // number of ys
    n: vec4<u32>,
    eps: vec4<f32>,
    ys: array<vec4<u32>, 2>,
    mixes: array<vec4<u32>, 2>,
}
//!include bindings
//!include reduce

// Bits of a row's entry, beside its slot.
const FIRST = 0x80000000u;
const LAST = 0x40000000u;

fn moments(x: u32, cols: u32, thread: u32) -> vec2<f32> {
    var sum = 0.0;
    for (var c = thread; c < cols; c += THREADS) {
        sum += acts[x + c];
    }
    let mean = workgroup_sum(sum, thread) / f32(cols);
    var squares = 0.0;
    for (var c = thread; c < cols; c += THREADS) {
        let d = acts[x + c] - mean;
        squares += d * d;
    }
    return vec2<f32>(mean, 1.0 / sqrt(workgroup_sum(squares, thread) / f32(cols) + p.eps.x));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cols = p.at.z;
    let entry = p.at.w + group.x * 2u;
    let row = map[entry];
    let flags = map[entry + 1u];
    let first = (flags & FIRST) != 0u;
    let alone = first && (flags & LAST) != 0u;
    let state = (flags & 0x3fffffffu) * p.norm.w + p.norm.z;
    let x = p.at.x + row * cols;
//!if NORM
    let own = moments(x, cols, thread);
//!end
//!if ALONE
//!else
    // The row before; of the first, any that exists: it is not used.
    let before = select(x - cols, x, first);
//!if NORM
    let other = moments(before, cols, thread);
//!end
//!end
    for (var c = thread; c < cols; c += THREADS) {
        var now = acts[x + c];
        var last = 0.0;
//!if ALONE
//!else
        last = acts[before + c];
//!end
//!if NORM
        let weight = vectors[p.norm.x + c];
        let bias = vectors[p.norm.y + c];
        now = (now - own.x) * own.y * weight + bias;
//!if ALONE
//!else
        last = (last - other.x) * other.y * weight + bias;
//!end
        acts[p.at.y + row * cols + c] = now;
//!end
        if first {
            last = states[state + c];
        }
        for (var i = 0u; i < p.n.x; i++) {
            let mix = vectors[p.mixes[i >> 2u][i & 3u] + c];
            acts[p.ys[i >> 2u][i & 3u] + row * cols + c] = now + (last - now) * mix;
        }
        if alone {
            states[state + c] = now;
        }
    }
}
