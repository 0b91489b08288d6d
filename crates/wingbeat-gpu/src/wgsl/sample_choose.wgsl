// The second half of sampling: from what was found in the blocks to one token a row, as the host's sampler chooses it:
// greedy (at temperature 0, or where a logit is infinite), else top_k, top_p, min_p, temperature as p^(1/T), one draw.
//
// A row a workgroup. Grid: rows. Logits (rows, V) in the activations, all else in the sampler's buffer. Sums have a fixed
// order: the same logits give the same token.
//
// Where rank counts (top_k or top_p are on), the tokens that may matter are listed first: those not too far below the
// best. A list of at most THREADS is ranked by comparing all with all; in a longer one the edge of each set, and the token
// drawn, are searched for by bisection. Where rank does not count, tokens are walked through by id.

//!include sampling
//!include bindings
//!include exp
//!include pairs

// How far below the best logit tokens are looked for at first, and how often that is doubled; then all are taken.
const DEPTH = 4.0;
const DOUBLINGS = 4u;
// What a bound is searched for: so many tokens, so much of a sum, more than so much of a sum of tempered weights.
const COUNT = 0u;
const SHARE = 1u;
const DRAW = 2u;

var<workgroup> weights: array<f32, THREADS>;
var<workgroup> chosen: u32;

//!include sample_largest
//!include sample_record
//!include sample_best
//!include sample_list
//!include sample_few
//!include sample_many
//!include sample_by_id

fn draw(row: u32, thread: u32, best: vec2<u32>) -> u32 {
    let largest = value_of(best.x);
    let entry = p.places.y + ((sampling[p.places.x + row] % p.at.w) * p.flags.y + row) * 2u;
    let unit = vec2<f32>(bitcast<f32>(sampling[entry]), bitcast<f32>(sampling[entry + 1u]));
    if p.more.w == 0u && p.cut.y >= 1.0 {
        return by_id(row, thread, largest, unit, best.y);
    }
    var total = vec2<f32>(0.0);
    if p.more.w == 0u {
        total = sum_of_blocks(row, thread, largest);
    }
    let n = list(row, thread, largest, pair_times(vec2<f32>(p.cut.y, 0.0), total));
    if n <= THREADS {
        return of_few(row, thread, largest, n, total, unit);
    }
    return of_many(row, thread, best, n, total, unit);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    let best = best_of_blocks(row, thread);
    var token = best.y;
    if best.x == NAN_KEY || best.x < LEAST_KEY {
        token = NO_TOKEN;
    } else if p.cut.x > 0.0 && best.x < INFINITE_KEY {
        token = draw(row, thread, best);
    }
    if thread == 0u {
        record(row, token);
    }
}
