//! RWKV-7's time mix with the products that end its low-rank paths.

use super::{Case, random_matrix, time_mix::Operands};
use crate::{
    Activation, Backend, Batch, GroupNorm, Linear, LowRankMixV7, MatrixSource, Orientation, Pass, SlabAt,
    reference::Reference,
    tolerance::{low_rank_rel, recurrence_rel},
};
use wingbeat_format::DType;

/// Sequence lengths, heads, head size: few and many sequences of one token, a mixed batch.
const SHAPES: [(&[usize], usize, usize); 7] = [
    (&[1], 2, 64),
    (&[1, 1, 1], 1, 64),
    (&[1], 3, 32),
    (&[1], 1, 128),
    (&[1; 9], 2, 64),
    (&[7, 1], 1, 64),
    (&[1], 2, 10),
];

/// Type and rank of the paths of w, a, g and the value's gate: whole blocks, ranks that are no multiple of eight, and
/// ones that a few lanes read in several rounds.
const PATHS: [[(DType, usize); 4]; 3] = [
    [(DType::F16, 96), (DType::F16, 96), (DType::F16, 256), (DType::F16, 64)],
    [(DType::F32, 12), (DType::BF16, 7), (DType::F16, 24), (DType::F32, 8)],
    [(DType::Q8_0, 64), (DType::Q5_0, 32), (DType::Q6K, 256), (DType::F16, 40)],
];

/// A low-rank path's end.
struct Path {
    source: MatrixSource,
    x: Vec<f32>,
    bias: Vec<f32>,
}

/// [`Pass::low_rank_mix_v7`], which a backend may have fused: results and states.
pub fn low_rank_mix_v7<B: Backend>(backend: &B) {
    let mut seed = 0;
    for (lengths, heads, n) in SHAPES {
        for types in PATHS {
            for first_layer in [true, false] {
                let label = format!(
                    "low_rank_mix_v7 {lengths:?} H={heads} N={n} {types:?} first_layer={first_layer}"
                );
                let mut case = Case::new(backend, seed, label);
                let batch = case.batch(lengths, 2);
                let rows = batch.n_rows();
                let operands = Operands::new(&mut case, rows, heads, n, first_layer);
                let paths = types.map(|(dtype, rank)| {
                    let random = &mut case.random;
                    let x = random.normals(rows * rank);
                    Path {
                        source: random_matrix(random, dtype, heads * n, rank, Orientation::RowMajor),
                        x: x.into_iter().map(|x| x / (rank as f32).sqrt()).collect(),
                        bias: random.normals(heads * n),
                    }
                });
                let layout = operands.layout();
                let (mut states, mut rstates) = case.states(&layout, lengths.len());
                let actual = run(backend, &batch, &mut states, &operands, &paths);
                let expected = run(&Reference, &batch, &mut rstates, &operands, &paths);
                let product = paths.iter().map(|path| {
                    let weight = backend.matrix(&path.source).expect("a matrix");
                    low_rank_rel(backend.activation_precision(&weight, rows))
                });
                let relative =
                    recurrence_rel(*lengths.iter().max().unwrap_or(&1)) + product.fold(0.0, f64::max);
                for (name, (a, e)) in ["v_first", "y"].into_iter().zip(actual.iter().zip(&expected)) {
                    case.compare(name, a, e, rows, operands.c, relative);
                }
                case.compare_states(&layout, &states, &rstates, relative);
                seed += 1;
            }
        }
    }
}

/// Runs it and returns `v_first y`.
fn run<B: Backend>(
    backend: &B,
    batch: &Batch,
    states: &mut [B::State],
    o: &Operands,
    paths: &[Path; 4],
) -> [B::Buffer; 2] {
    let case = Case::new(backend, 0, String::new());
    let buffer = |values: &[f32]| case.buffers(o.rows, o.c, values).0;
    let vector = |values: &[f32]| case.vectors(values).0;
    let (mut k, mut v, mut v_first) = (buffer(&o.k), buffer(&o.v), buffer(&o.v_first));
    let (mut kk, mut y, r) = (buffer(&o.kk), buffer(&o.y), buffer(&o.r));
    let (k_k, k_a, r_k) = (vector(&o.k_k), vector(&o.k_a), vector(&o.r_k));
    let ln_x = GroupNorm { weight: vector(&o.ln_weight), bias: vector(&o.ln_bias), eps: 64e-5 };
    let weights = paths.each_ref().map(|path| backend.matrix(&path.source).expect("a matrix"));
    let xs = paths.each_ref().map(|path| case.buffers(o.rows, path.source.cols, &path.x).0);
    let biases = paths.each_ref().map(|path| vector(&path.bias));
    let mut outs = paths.each_ref().map(|_| backend.buffer(o.rows, o.c).expect("a buffer"));
    let [w, a, g, gate] = &mut outs;
    let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
    pass.low_rank_mix_v7(LowRankMixV7 {
        w: Linear::new(&weights[0], &xs[0], w, Activation::BiasDecay(&biases[0])),
        a: Linear::new(&weights[1], &xs[1], a, Activation::BiasSigmoid(&biases[1])),
        g: Linear::new(&weights[2], &xs[2], g, Activation::None),
        v_gate: (!o.first_layer)
            .then(|| Linear::new(&weights[3], &xs[3], gate, Activation::BiasSigmoid(&biases[3]))),
        r: &r,
        k: &mut k,
        v: &mut v,
        v_first: &mut v_first,
        kk: &mut kk,
        y: &mut y,
        k_k: &k_k,
        k_a: &k_a,
        r_k: &r_k,
        ln_x: &ln_x,
        state: SlabAt { slab: 0, layer: 1 },
        head_size: o.n,
    });
    pass.submit().expect("a pass");
    [v_first, y]
}
