// Rows of up to four low-rank matrices for one head of one row: what time_mix_v7 begins with where UPS of them are its to
// compute.
//
// EIGHT threads share rows of a matrix, neighbouring threads eights of its columns; what each has of a row's sum goes to
// `parts`, and the thread that wants the row adds them up. Of matrix u: KIND_u its layout, RANK_u its columns, ROUNDS_u how
// often the threads go on to get through them, STAGE_u where its input begins in eights, ACT_u its activation. A thread has
// a part in TURNS rows of each.

const EIGHT = 8u;
const TEAMS = THREADS / EIGHT;
// Four teams write neighbouring rows at once: so they meet other banks.
const PART = UPS * N + 4u;
// The input, the halves of its eights apart, each matrix's padded with zeros to whole rounds.
var<workgroup> xa: array<vec4<f32>, STAGED>;
var<workgroup> xb: array<vec4<f32>, STAGED>;
var<workgroup> parts: array<f32, EIGHT * PART>;

fn low(x: u32, k: u32, rank: u32) -> f32 {
    if k < rank {
        return acts[x + k];
    }
    return 0.0;
}

// Computes the rows from `head` on. Every thread must call this, in uniform control flow; a barrier must follow.
fn compute_ups(row: u32, head: u32, thread: u32) {
    for (var i = thread; i < STAGED * 2u; i += THREADS) {
        var x = 0u;
        var k = 0u;
        var rank = 0u;
//!for u UPS
        if i >= STAGE_@u * 2u {
            x = p.ups[@u].at.x + row * RANK_@u;
            k = (i - STAGE_@u * 2u) * 4u;
            rank = RANK_@u;
        }
//!end
        let four = vec4<f32>(low(x, k, rank), low(x, k + 1u, rank), low(x, k + 2u, rank), low(x, k + 3u, rank));
        if (i & 1u) == 0u {
            xa[i >> 1u] = four;
        } else {
            xb[i >> 1u] = four;
        }
    }
    workgroupBarrier();
    let team = thread / EIGHT;
    let lane = thread % EIGHT;
//!for u UPS
//!for t TURNS
    var sum_@u_@t = 0.0;
//!end
    for (var i = 0u; i < ROUNDS_@u; i++) {
        let k8 = i * EIGHT + lane;
        let a = xa[STAGE_@u + k8];
        let b = xb[STAGE_@u + k8];
        // Past the end the input is zero, whatever it meets.
        let w8 = min(k8, (RANK_@u - 1u) / 8u);
//!for t TURNS
        let w_@t = load8(KIND_@u, p.ups[@u].planes.xyz, RANK_@u, head + @tu * TEAMS + team, w8);
        sum_@u_@t += dot(w_@t.a, a) + dot(w_@t.b, b);
//!end
    }
//!end
//!for u UPS
//!for t TURNS
    parts[lane * PART + @uu * N + @tu * TEAMS + team] = sum_@u_@t;
//!end
//!end
}

// Row i of the head, of matrix u.
fn up(u: u32, kind: u32, head: u32, i: u32) -> f32 {
    var sum = 0.0;
    for (var lane = 0u; lane < EIGHT; lane++) {
        sum += parts[lane * PART + u * N + i];
    }
    return activate(kind, sum, 0.0, p.ups[u].at.y, head + i);
}
