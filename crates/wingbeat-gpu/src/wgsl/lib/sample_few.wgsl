// The draw from a list of at most THREADS tokens, one a thread: everybody's rank, and the sum up to it, come from
// comparing with all others.

fn of_few(row: u32, thread: u32, largest: f32, n: u32, of_all: vec2<f32>, unit: vec2<f32>) -> u32 {
    var key = 0u;
    var id = 0u;
    var weight = 0.0;
    if thread < n {
        id = sampling[p.more.x + row * p.at.y + thread];
        key = key_of(bitcast<u32>(acts[p.at.x + row * p.at.y + id]));
        weight = exp_of(value_of(key) - largest);
    }
    workgroupBarrier();
    keys[thread] = key;
    ids[thread] = id;
    weights[thread] = weight;
    workgroupBarrier();
    var rank = 0u;
    var above = vec2<f32>(0.0);
    for (var i = 0u; i < n; i++) {
        if keys[i] > key || (keys[i] == key && ids[i] < id) {
            rank += 1u;
            above = pair_add(above, vec2<f32>(weights[i], 0.0));
        }
    }
    var kept = thread < n;
    var total = of_all;
    if p.more.w != 0u {
        kept = kept && rank < p.more.w;
        total = pair_sum(vec2<f32>(select(0.0, weight, kept), 0.0), thread);
    }
    if p.cut.y < 1.0 {
        kept = kept && (rank == 0u || pair_less(above, pair_times(vec2<f32>(p.cut.y, 0.0), total)));
    }
    kept = kept && weight >= p.cut.z;
    if p.cut.x != 1.0 && kept {
        weight = exp_of((value_of(key) - largest) / p.cut.x);
    }
    weight = select(0.0, weight, kept);
    let wanted = pair_times(unit, pair_sum(vec2<f32>(weight, 0.0), thread));
    weights[thread] = weight;
    workgroupBarrier();
    var reached = vec2<f32>(weight, 0.0);
    for (var i = 0u; i < n; i++) {
        if keys[i] > key || (keys[i] == key && ids[i] < id) {
            reached = pair_add(reached, vec2<f32>(weights[i], 0.0));
        }
    }
    // The first rank that reaches what is wanted; if rounding leaves none, the last that has a share.
    var order = 2u * THREADS;
    if weight > 0.0 {
        order = select(2u * THREADS - 1u - rank, rank, pair_less(wanted, reached));
    }
    workgroupBarrier();
    keys[thread] = order;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if thread < step {
            keys[thread] = min(keys[thread], keys[thread + step]);
        }
        workgroupBarrier();
    }
    if order == keys[0] && weight > 0.0 {
        chosen = id;
    }
    workgroupBarrier();
    return chosen;
}
