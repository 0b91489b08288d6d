//! RWKV-7's time mix, alone and fused, and the life of states.

use super::Case;
use crate::{
    Backend, Batch, GroupNorm, Pass, SlabAt, SlabKind, SlabSpec, StateLayout, TimeMixV7, V7Keys, V7Readout,
    Wkv7,
    reference::Reference,
    tolerance::{ELEMENTWISE_REL, recurrence_rel},
};

/// Sequence lengths, heads, head size: decode, prompts that do and don't end with a chunk, mixed batches; head sizes that
/// are and aren't lanes.
const SHAPES: [(&[usize], usize, usize); 12] = [
    (&[1], 2, 64),
    (&[33], 3, 64),
    (&[1, 1, 1, 1], 1, 32),
    (&[1, 1], 1, 128),
    (&[1], 2, 48),
    (&[300], 1, 64),
    (&[15, 1, 16, 17, 33], 2, 64),
    (&[19], 2, 20),
    (&[9; 8], 8, 64),
    (&[7, 31, 1, 2], 2, 32),
    (&[5], 2, 10),
    (&[100, 3], 2, 128),
];

/// The buffers and vectors of a time mix, by name.
#[derive(Clone)]
pub(super) struct Operands {
    pub(super) n: usize,
    pub(super) c: usize,
    pub(super) rows: usize,
    pub(super) r: Vec<f32>,
    pub(super) w: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) v_first: Vec<f32>,
    pub(super) v_gate: Vec<f32>,
    pub(super) a: Vec<f32>,
    pub(super) g: Vec<f32>,
    pub(super) kk: Vec<f32>,
    pub(super) y: Vec<f32>,
    pub(super) k_k: Vec<f32>,
    pub(super) k_a: Vec<f32>,
    pub(super) r_k: Vec<f32>,
    pub(super) ln_weight: Vec<f32>,
    pub(super) ln_bias: Vec<f32>,
    pub(super) first_layer: bool,
}

impl Operands {
    pub(super) fn new<B: Backend>(
        case: &mut Case<'_, B>,
        rows: usize,
        heads: usize,
        n: usize,
        first_layer: bool,
    ) -> Operands {
        let c = heads * n;
        let random = &mut case.random;
        let mut kk = random.normals(rows * c);
        for head in kk.chunks_exact_mut(n) {
            let length = head.iter().map(|x| x * x).sum::<f32>().sqrt();
            head.iter_mut().for_each(|x| *x /= length);
        }
        Operands {
            n,
            c,
            rows,
            r: random.normals(rows * c),
            w: random.uniforms(rows * c, 0.545, 1.0),
            k: random.normals(rows * c),
            v: random.normals(rows * c),
            v_first: random.normals(rows * c),
            v_gate: random.uniforms(rows * c, 0.0, 1.0),
            a: random.uniforms(rows * c, 0.0, 1.0),
            g: random.normals(rows * c),
            kk,
            y: random.normals(rows * c),
            k_k: random.normals(c),
            k_a: random.normals(c),
            r_k: random.normals(c),
            ln_weight: random.normals(c),
            ln_bias: random.normals(c),
            first_layer,
        }
    }

    pub(super) fn layout(&self) -> StateLayout {
        let shape = vec![2, self.c / self.n, self.n, self.n];
        StateLayout { slabs: vec![SlabSpec { name: "wkv", shape, kind: SlabKind::HeadMatrices }] }
    }
}

/// What to run.
#[derive(Clone, Copy)]
enum Op {
    Keys,
    Wkv,
    Readout,
    Fused,
}

/// Runs an operation and returns `k v v_first kk y`.
fn run<B: Backend>(
    backend: &B,
    op: Op,
    batch: &Batch,
    states: &mut [B::State],
    o: &Operands,
) -> [B::Buffer; 5] {
    let case = Case::new(backend, 0, String::new());
    let buffer = |values: &[f32]| case.buffers(o.rows, o.c, values).0;
    let vector = |values: &[f32]| case.vectors(values).0;
    let (mut k, mut v, mut v_first) = (buffer(&o.k), buffer(&o.v), buffer(&o.v_first));
    let (mut kk, mut y) = (buffer(&o.kk), buffer(&o.y));
    let (r, w, a, g, gate) = (buffer(&o.r), buffer(&o.w), buffer(&o.a), buffer(&o.g), buffer(&o.v_gate));
    let v_gate = (!o.first_layer).then_some(&gate);
    let (k_k, k_a, r_k) = (vector(&o.k_k), vector(&o.k_a), vector(&o.r_k));
    let ln_x = GroupNorm { weight: vector(&o.ln_weight), bias: vector(&o.ln_bias), eps: 64e-5 };
    let (state, head_size) = (SlabAt { slab: 0, layer: 1 }, o.n);
    let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
    match op {
        Op::Keys => pass.v7_keys(V7Keys {
            k: &mut k,
            v: &mut v,
            v_first: &mut v_first,
            v_gate,
            a: &a,
            kk: &mut kk,
            k_k: &k_k,
            k_a: &k_a,
            head_size,
        }),
        Op::Wkv => {
            pass.wkv7(Wkv7 { r: &r, w: &w, k: &k, v: &v, kk: &kk, a: &a, y: &mut y, state, head_size })
        }
        Op::Readout => {
            pass.v7_readout(V7Readout {
                y: &mut y,
                r: &r,
                k: &k,
                v: &v,
                g: &g,
                r_k: &r_k,
                ln_x: &ln_x,
                head_size,
            });
        }
        Op::Fused => pass.time_mix_v7(TimeMixV7 {
            r: &r,
            w: &w,
            k: &mut k,
            v: &mut v,
            v_first: &mut v_first,
            v_gate,
            a: &a,
            g: &g,
            kk: &mut kk,
            y: &mut y,
            k_k: &k_k,
            k_a: &k_a,
            r_k: &r_k,
            ln_x: &ln_x,
            state,
            head_size,
        }),
    }
    pass.submit().expect("a pass");
    [k, v, v_first, kk, y]
}

fn check<B: Backend>(backend: &B, name: &str, op: Op, limit: impl Fn(usize) -> f64) {
    for (seed, (lengths, heads, n)) in SHAPES.into_iter().enumerate() {
        for first_layer in [true, false] {
            let label = format!("{name} {lengths:?} H={heads} N={n} first_layer={first_layer}");
            let mut case = Case::new(backend, seed as u64, label);
            let batch = case.batch(lengths, 2);
            let operands = Operands::new(&mut case, batch.n_rows(), heads, n, first_layer);
            let layout = operands.layout();
            let (mut states, mut rstates) = case.states(&layout, lengths.len());
            let actual = run(backend, op, &batch, &mut states, &operands);
            let expected = run(&Reference, op, &batch, &mut rstates, &operands);
            let relative = limit(*lengths.iter().max().unwrap_or(&1));
            for (name, (a, e)) in
                ["k", "v", "v_first", "kk", "y"].into_iter().zip(actual.iter().zip(&expected))
            {
                // What a fused operation leaves in its scratch is its own affair.
                if matches!(op, Op::Fused) && matches!(name, "k" | "v" | "kk") {
                    continue;
                }
                case.compare(name, a, e, operands.rows, operands.c, relative);
            }
            case.compare_states(&layout, &states, &rstates, relative);
        }
    }
}

/// [`Pass::v7_keys`].
pub fn v7_keys<B: Backend>(backend: &B) {
    check(backend, "v7_keys", Op::Keys, |_| ELEMENTWISE_REL);
}

/// [`Pass::wkv7`]: outputs and states.
pub fn wkv7<B: Backend>(backend: &B) {
    check(backend, "wkv7", Op::Wkv, recurrence_rel);
}

/// [`Pass::v7_readout`].
pub fn v7_readout<B: Backend>(backend: &B) {
    check(backend, "v7_readout", Op::Readout, |_| ELEMENTWISE_REL);
}

/// [`Pass::time_mix_v7`], which a backend may have fused.
pub fn time_mix_v7<B: Backend>(backend: &B) {
    check(backend, "time_mix_v7", Op::Fused, recurrence_rel);
}

/// States: of nothing at first, written and read unchanged, forks independent, wrong lengths refused.
pub fn states<B: Backend>(backend: &B) {
    let layout = StateLayout {
        slabs: vec![
            SlabSpec { name: "shift", shape: vec![2, 5], kind: SlabKind::Vectors },
            SlabSpec { name: "wkv", shape: vec![2, 3, 4, 4], kind: SlabKind::HeadMatrices },
            SlabSpec { name: "key_first", shape: vec![2, 3, 4, 4], kind: SlabKind::KeyMatrices },
            SlabSpec { name: "exponents", shape: vec![2, 7], kind: SlabKind::Exponents },
        ],
    };
    let mut case = Case::new(backend, 1, "states".to_owned());
    let mut state = backend.state(&layout).expect("a state");
    for (i, slab) in layout.slabs.iter().enumerate() {
        let initial = vec![slab.kind.initial(); slab.len()];
        assert_eq!(backend.read_slab(&state, i).expect("a slab"), initial, "{}", case.label);
        let values = case.random.normals(slab.len());
        backend.write_slab(&mut state, i, &values).expect("the layout's length");
        let fork = backend.fork_state(&state).expect("a fork");
        assert_eq!(backend.read_slab(&fork, i).expect("a slab"), values, "{}", case.label);
        backend.write_slab(&mut state, i, &vec![1.0; slab.len()]).expect("the layout's length");
        assert_eq!(backend.read_slab(&fork, i).expect("a slab"), values, "{}: a fork is its own", case.label);
        // More than one chunk of them, where states come in chunks.
        let forks = backend.fork_states(&fork, 75).expect("forks");
        assert_eq!(forks.len(), 75, "{}", case.label);
        for fork in &forks {
            assert_eq!(backend.read_slab(fork, i).expect("a slab"), values, "{}: forks", case.label);
        }
        assert!(backend.write_slab(&mut state, i, &values[1..]).is_err(), "{}: a wrong length", case.label);
    }
    // All at once, several times: what is used again must not be what it was.
    let mut others = backend.fork_states(&state, 3).expect("forks");
    let values: Vec<Vec<Vec<f32>>> =
        (0..3).map(|_| layout.slabs.iter().map(|slab| case.random.normals(slab.len())).collect()).collect();
    for (other, values) in others.iter_mut().zip(&values) {
        let slabs: Vec<&[f32]> = values.iter().map(|values| &values[..]).collect();
        backend.write_state(other, &layout, &slabs).expect("the layout's lengths");
    }
    for (other, values) in others.iter().zip(&values) {
        assert_eq!(backend.read_state(other, &layout).expect("slabs"), *values, "{}: at once", case.label);
    }
    let short: Vec<&[f32]> =
        values[0].iter().enumerate().map(|(i, slab)| &slab[usize::from(i == 0)..]).collect();
    assert!(backend.write_state(&mut state, &layout, &short).is_err(), "{}: a wrong length", case.label);
}
