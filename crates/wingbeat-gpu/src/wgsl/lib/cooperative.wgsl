// What linear_cooperative reads and writes: activations by fours, weights as they lie in memory, halves.

//!if IS_HALF
alias Brought = vec4<f16>;
//!else
//!include weights
//!if BLOCKS
//!include blocks
alias Brought = Fetched;
//!else
alias Brought = Raw;
//!end
//!end

// Where the rows of x begin, in values.
fn x_place(job: Job) -> u32 {
//!if X_HALF
    return job.places.w * 2u;
//!else
    return job.places.w;
//!end
}

//!if X_HALF
// Four values of x from `at` on, which is column k of a row; 0 past the end of it.
fn load_x(at: u32, k: u32, cols: u32) -> vec4<f16> {
//!if RAGGED
    return select(vec4<f16>(), halves4[(at + min(k, cols - 4u)) >> 2u], k < cols);
//!else
    return halves4[(at + k) >> 2u];
//!end
}
//!else
fn load_x(at: u32, k: u32, cols: u32) -> vec4<f32> {
//!if ACTS4
//!if RAGGED
    return select(vec4<f32>(), acts[(at + min(k, cols - 4u)) >> 2u], k < cols);
//!else
    return acts[(at + k) >> 2u];
//!end
//!else
//!if RAGGED
    let ks = vec4<u32>(k, k + 1u, k + 2u, k + 3u);
    let start = min(ks, vec4<u32>(cols - 1u)) + at;
    let v = vec4<f32>(acts[start.x], acts[start.y], acts[start.z], acts[start.w]);
    return select(vec4<f32>(), v, ks < vec4<u32>(cols));
//!else
    let start = at + k;
    return vec4<f32>(acts[start], acts[start + 1u], acts[start + 2u], acts[start + 3u]);
//!end
//!end
}
//!end

//!if BLOCKS
// The integers of row `line` from column k on that share a scale.
fn load_w(job: Job, line: u32, k: u32) -> Brought {
//!if RAGGED
    if k >= job.shape.z {
        return Fetched();
    }
//!end
    return fetch32(LAYOUT, job.places.xyz, job.shape.z, line, k >> 5u);
}
//!else
// W_WIDTH weights: of row `line` from column k on; of matrices kept by input, of column k the rows from `line` times as many.
fn load_w(job: Job, line: u32, k: u32) -> Brought {
//!if BY_INPUT
    // Columns are padded with zeros to whole bands.
//!if IS_HALF
    return weights_half[(job.places.x >> 1u) + k * ((job.shape.x >> 8u) * 2u) + line];
//!else
    return fetch8_outputs(LAYOUT, job.shape.x, job.places.xyz, k, line);
//!end
//!else
    // Rows are padded with zeros to whole eights.
//!if RAGGED
    if k >= job.shape.z {
        return Brought();
    }
//!end
//!if IS_HALF
    return weights_half[(job.places.x >> 1u) + line * (((job.shape.z + 7u) >> 3u) * 2u) + (k >> 2u)];
//!else
    return fetch8(LAYOUT, job.places.xyz, job.shape.z, line, k >> 3u);
//!end
//!end
}
//!end

// Puts what a thread brought, which begins at column k, into shared memory.
fn store_w(to: u32, brought: Brought, k: u32) {
//!if IS_HALF
    wh[to] = brought;
//!else
//!if BLOCKS
    let w = unpack32(LAYOUT, brought, k >> 5u);
//!for m 4
    wh[to + @mu] = half4(vec4<f32>(unpack4xI8(w.a[@m])) * w.scale.x + w.offset.x);
    wh[to + 4u + @mu] = half4(vec4<f32>(unpack4xI8(w.b[@m])) * w.scale.y + w.offset.y);
//!end
//!else
    let w = unpack8(LAYOUT, brought);
    wh[to] = half4(w.a);
    wh[to + 1u] = half4(w.b);
//!if SPLIT
    wl[to] = rest4(w.a);
    wl[to + 1u] = rest4(w.b);
//!end
//!end
//!end
}

// The largest half instead of an infinity.
fn finite4(v: vec4<f32>) -> vec4<f32> {
    return clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0));
}

//!if SPLIT
// The leading eleven bits. By a mask, as a compiler may take a float that became a half and came back for the float that it
// was (seen on hardware), which leaves no rest.
fn leading4(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(finite4(v)) & vec4<u32>(0xffffe000u));
}
fn half4(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(leading4(v));
}

// What they lack.
fn rest4(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(finite4((v - leading4(v)) * LESS));
}
//!else
fn half4(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(finite4(v));
}
//!end

// Four sums to y: for a token, the first for row `row`.
fn store(job: Job, token: u32, row: u32, z: vec4<f32>) {
    let kind = job.out.y;
    let bias = job.out.z;
    let y = job.out.x + token * job.out.w + row;
//!if ACTS4
    var before = vec4<f32>();
    if kind == 1u {
        before = acts[y >> 2u];
    }
    let out = vec4<f32>(
        activate(kind, z.x, before.x, bias, row),
        activate(kind, z.y, before.y, bias, row + 1u),
        activate(kind, z.z, before.z, bias, row + 2u),
        activate(kind, z.w, before.w, bias, row + 3u),
    );
    acts[y >> 2u] = out;
//!if Y_HALF
    // Of the products of a dispatch only that of relu squared has a place.
    if kind == 4u {
        halves4[(p.n.z * 2u + token * job.out.w + row) >> 2u] = half4(out);
    }
//!end
//!else
//!for e 4
    if row + @eu < job.shape.y {
        acts[y + @eu] = activate(kind, z[@e], acts[y + @eu], bias, row + @eu);
    }
//!end
//!end
}
