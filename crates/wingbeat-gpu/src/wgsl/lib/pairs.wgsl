// Sums in pairs of f32, a value and what it lacks: some 48 bits, so that tokens are cut and drawn where the host's f64
// would. Sums and scans over a workgroup of THREADS threads; every thread must call them, in uniform control flow.

fn pair_add(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let sum = a.x + b.x;
    let part = sum - a.x;
    let lacks = (a.x - (sum - part)) + (b.x - part) + (a.y + b.y);
    let high = sum + lacks;
    return vec2<f32>(high, lacks - (high - sum));
}

// The first twelve bits of a float: products of two such are exact.
fn head_of(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

fn pair_times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let product = a.x * b.x;
    let heads = vec2<f32>(head_of(a.x), head_of(b.x));
    let tails = vec2<f32>(a.x, b.x) - heads;
    // Not by fma, which need not be fused.
    let rounded = (heads.x * heads.y - product) + heads.x * tails.y + tails.x * heads.y + tails.x * tails.y;
    let lacks = rounded + (a.x * b.y + a.y * b.x);
    let high = product + lacks;
    return vec2<f32>(high, lacks - (high - product));
}

fn pair_less(a: vec2<f32>, b: vec2<f32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

var<workgroup> pairs: array<vec2<f32>, THREADS>;

fn pair_sum(value: vec2<f32>, thread: u32) -> vec2<f32> {
    // What was read of the sums of before must have been read.
    workgroupBarrier();
    pairs[thread] = value;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if thread < step {
            pairs[thread] = pair_add(pairs[thread], pairs[thread + step]);
        }
        workgroupBarrier();
    }
    return pairs[0];
}

// The sum of the values of all threads up to this one, which stays in `pairs`.
fn pair_scan(value: vec2<f32>, thread: u32) -> vec2<f32> {
    workgroupBarrier();
    pairs[thread] = value;
    workgroupBarrier();
    for (var step = 1u; step < THREADS; step *= 2u) {
        var sum = pairs[thread];
        if thread >= step {
            sum = pair_add(pairs[thread - step], sum);
        }
        workgroupBarrier();
        pairs[thread] = sum;
        workgroupBarrier();
    }
    return pairs[thread];
}
