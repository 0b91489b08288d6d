// The draw from a long list: the worst token of each set, and the token drawn, by bisection on key and id.

// Whether a token is at least as good as a bound (key, id).
fn within(key: u32, id: u32, bound: vec2<u32>) -> bool {
    return key > bound.x || (key == bound.x && id <= bound.y);
}

// The sum over the tokens of the list within two bounds.
fn sum_within(
    row: u32, thread: u32, largest: f32, n: u32, what: u32, bound: vec2<u32>, other: vec2<u32>,
) -> vec2<f32> {
    var sum = vec2<f32>(0.0);
    for (var i = thread; i < n; i += THREADS) {
        let id = sampling[p.more.x + row * p.at.y + i];
        let key = key_of(bitcast<u32>(acts[p.at.x + row * p.at.y + id]));
        if within(key, id, bound) && within(key, id, other) {
            var weight = 1.0;
            if what != COUNT {
                weight = exp_of(value_of(key) - largest);
            }
            if what == DRAW {
                let kept = weight >= p.cut.z;
                if p.cut.x != 1.0 {
                    weight = exp_of((value_of(key) - largest) / p.cut.x);
                }
                weight = select(0.0, weight, kept);
            }
            sum = pair_add(sum, vec2<f32>(weight, 0.0));
        }
    }
    return pair_sum(sum, thread);
}

fn reaches(what: u32, sum: vec2<f32>, wanted: vec2<f32>) -> bool {
    if what == DRAW {
        return pair_less(wanted, sum);
    }
    return !pair_less(sum, wanted);
}

// The best bound within `other` whose sum reaches what is wanted.
fn search(
    row: u32, thread: u32, best: vec2<u32>, n: u32, what: u32, wanted: vec2<f32>, other: vec2<u32>,
) -> vec2<u32> {
    let largest = value_of(best.x);
    var low = other.x;
    var high = best.x;
    while low < high {
        let middle = low + (high - low - 1u) / 2u + 1u;
        let bound = vec2<u32>(middle, 0xffffffffu);
        if reaches(what, sum_within(row, thread, largest, n, what, bound, other), wanted) {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    var first = 0u;
    var last = p.at.y - 1u;
    while first < last {
        let middle = (first + last) / 2u;
        let bound = vec2<u32>(low, middle);
        if reaches(what, sum_within(row, thread, largest, n, what, bound, other), wanted) {
            last = middle;
        } else {
            first = middle + 1u;
        }
    }
    return vec2<u32>(low, first);
}

fn of_many(
    row: u32, thread: u32, best: vec2<u32>, n: u32, of_all: vec2<f32>, unit: vec2<f32>,
) -> u32 {
    let largest = value_of(best.x);
    var bound = vec2<u32>(LEAST_KEY, 0xffffffffu);
    var total = of_all;
    if p.more.w != 0u {
        bound = search(row, thread, best, n, COUNT, vec2<f32>(f32(p.more.w), 0.0), bound);
        total = sum_within(row, thread, largest, n, SHARE, bound, bound);
    }
    if p.cut.y < 1.0 {
        bound = search(row, thread, best, n, SHARE, pair_times(vec2<f32>(p.cut.y, 0.0), total), bound);
    }
    let wanted = pair_times(unit, sum_within(row, thread, largest, n, DRAW, bound, bound));
    let drawn = search(row, thread, best, n, DRAW, wanted, bound);
    // Where rounding alone led past the end there is no token at the bound.
    if reaches(DRAW, sum_within(row, thread, largest, n, DRAW, drawn, bound), wanted) {
        return drawn.y;
    }
    return best.y;
}
