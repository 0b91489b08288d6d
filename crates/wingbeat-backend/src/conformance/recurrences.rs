//! What RWKV-4, RWKV-5 and RWKV-6 have and RWKV-7 has not: their recurrences, read-out, shift that depends on the data,
//! and gated residual.

use super::Case;
use crate::{
    Backend, Batch, Decay, GroupNorm, Pass, SlabAt, SlabKind, SlabSpec, StateLayout, TimeMixV6, V6Readout,
    Wkv4, Wkv6,
    reference::Reference,
    tolerance::{ELEMENTWISE_REL, recurrence_rel},
};

/// Sequence lengths, heads, head size: decode, prompts, mixed batches; head sizes that are and aren't lanes.
const SHAPES: [(&[usize], usize, usize); 10] = [
    (&[1], 2, 64),
    (&[33], 3, 64),
    (&[1, 1, 1, 1], 1, 32),
    (&[1], 2, 48),
    (&[300], 1, 64),
    (&[15, 1, 16, 17, 33], 2, 64),
    (&[19], 2, 20),
    (&[9; 8], 4, 32),
    (&[3], 16, 8),
    (&[70, 3], 1, 128),
];

fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().max().unwrap_or(1)
}

/// [`Pass::wkv4`]: outputs and states, from the state of nothing and from others, with keys of very different sizes.
pub fn wkv4<B: Backend>(backend: &B) {
    let slab = |name, kind, width| SlabSpec { name, shape: vec![2, width], kind };
    for (seed, (lengths, heads, n)) in SHAPES.into_iter().enumerate() {
        for from_nothing in [true, false] {
            let width = heads * n + seed % 3;
            let label = format!("wkv4 {lengths:?} C={width} from_nothing={from_nothing}");
            let mut case = Case::new(backend, seed as u64, label);
            let batch = case.batch(lengths, 2);
            let rows = batch.n_rows();
            let layout = StateLayout {
                slabs: vec![
                    slab("aa", SlabKind::Vectors, width),
                    slab("bb", SlabKind::Vectors, width),
                    slab("pp", SlabKind::Exponents, width),
                ],
            };
            let random = &mut case.random;
            // Beyond what e to the power of it can hold, both ways.
            let k: Vec<f32> =
                random.normals(rows * width).iter().map(|k| k * [1.0, 40.0][seed % 2]).collect();
            let operands = Operands4 {
                r: random.uniforms(rows * width, 0.0, 1.0),
                k,
                v: random.normals(rows * width),
                decay: random.uniforms(width, -5.0, -0.001),
                first: random.normals(width),
                width,
            };
            let (mut states, mut rstates) = match from_nothing {
                true => (
                    lengths.iter().map(|_| backend.state(&layout).expect("a state")).collect(),
                    lengths.iter().map(|_| Reference.state(&layout).expect("a state")).collect(),
                ),
                false => case.states(&layout, lengths.len()),
            };
            if !from_nothing {
                // A sum of weights is positive.
                for (state, rstate) in states.iter_mut().zip(&mut rstates) {
                    let weights = case.random.uniforms(2 * width, 0.1, 3.0);
                    backend.write_slab(state, 1, &weights).expect("the layout's length");
                    Reference.write_slab(rstate, 1, &weights).expect("the layout's length");
                }
            }
            let actual = operands.on(backend, &batch, &mut states);
            let expected = operands.on(&Reference, &batch, &mut rstates);
            // The differences that are raised to powers are of exponents up to some hundreds: their roundings are of
            // units of these.
            let relative = recurrence_rel(longest(lengths)) * [1.0, 160.0][seed % 2];
            case.compare("y", &actual, &expected, rows, width, relative);
            case.compare_states(&layout, &states, &rstates, relative);
        }
    }
}

struct Operands4 {
    r: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    decay: Vec<f32>,
    first: Vec<f32>,
    width: usize,
}

impl Operands4 {
    fn on<B: Backend>(&self, backend: &B, batch: &Batch, states: &mut [B::State]) -> B::Buffer {
        let case = Case::new(backend, 0, String::new());
        let rows = batch.n_rows();
        let buffer = |values: &[f32]| case.buffers(rows, self.width, values).0;
        let (r, k, v) = (buffer(&self.r), buffer(&self.k), buffer(&self.v));
        let mut y = backend.buffer(rows, self.width).expect("a buffer");
        let (decay, first) = (case.vectors(&self.decay).0, case.vectors(&self.first).0);
        let at = |slab| SlabAt { slab, layer: 1 };
        let (decay, first) = (&decay, &first);
        let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
        let (aa, bb, pp) = (at(0), at(1), at(2));
        pass.wkv4(Wkv4 { r: &r, k: &k, v: &v, y: &mut y, decay, first, aa, bb, pp });
        pass.submit().expect("a pass");
        y
    }
}

/// [`Pass::wkv6`]: outputs and states, with a decay for each token and one for each channel.
pub fn wkv6<B: Backend>(backend: &B) {
    check6(backend, "wkv6", false);
}

/// [`Pass::time_mix_v6`] likewise, with a gate and without.
pub fn time_mix_v6<B: Backend>(backend: &B) {
    check6(backend, "time_mix_v6", true);
}

fn check6<B: Backend>(backend: &B, name: &str, reads_out: bool) {
    for (seed, (lengths, heads, n)) in SHAPES.into_iter().enumerate() {
        for by_token in [true, false] {
            let label = format!("{name} {lengths:?} H={heads} N={n} by_token={by_token}");
            let mut case = Case::new(backend, seed as u64, label);
            let batch = case.batch(lengths, 2);
            let (rows, c) = (batch.n_rows(), heads * n);
            let shape = vec![2, heads, n, n];
            let slab = SlabSpec { name: "wkv", shape, kind: SlabKind::KeyMatrices };
            let layout = StateLayout { slabs: vec![slab] };
            let random = &mut case.random;
            let operands = Operands6 {
                r: random.normals(rows * c),
                w: random.uniforms(rows * c, 0.3, 1.0),
                k: random.normals(rows * c),
                v: random.normals(rows * c),
                u: random.normals(c),
                g: random.normals(rows * c),
                norm: [random.normals(c), random.normals(c)],
                n,
                by_token,
                reads_out,
            };
            let (mut states, mut rstates) = case.states(&layout, lengths.len());
            let actual = operands.on(backend, &batch, &mut states);
            let expected = operands.on(&Reference, &batch, &mut rstates);
            let relative = recurrence_rel(longest(lengths));
            case.compare("y", &actual, &expected, rows, c, relative);
            case.compare_states(&layout, &states, &rstates, relative);
        }
    }
}

struct Operands6 {
    r: Vec<f32>,
    w: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    u: Vec<f32>,
    g: Vec<f32>,
    norm: [Vec<f32>; 2],
    n: usize,
    by_token: bool,
    /// The read-out too, gated where each token has its decay.
    reads_out: bool,
}

impl Operands6 {
    fn on<B: Backend>(&self, backend: &B, batch: &Batch, states: &mut [B::State]) -> B::Buffer {
        let case = Case::new(backend, 0, String::new());
        let (rows, c) = (batch.n_rows(), self.u.len());
        let buffer = |values: &[f32]| case.buffers(rows, c, values).0;
        let (r, w, k, v) = (buffer(&self.r), buffer(&self.w), buffer(&self.k), buffer(&self.v));
        let g = buffer(&self.g);
        let [weight, bias] = self.norm.each_ref().map(|values| case.vectors(values).0);
        // Heads of few values differ by little now and then, and nothing divides by less than this.
        let ln_x = GroupNorm { weight, bias, eps: 1.0 };
        let mut y = backend.buffer(rows, c).expect("a buffer");
        let (u, constant) = (case.vectors(&self.u).0, case.vectors(&self.w[..c]).0);
        let w = if self.by_token { Decay::Tokens(&w) } else { Decay::Channels(&constant) };
        let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
        let state = SlabAt { slab: 0, layer: 1 };
        let wkv = Wkv6 { r: &r, w, k: &k, v: &v, y: &mut y, u: &u, state, head_size: self.n };
        if self.reads_out {
            pass.time_mix_v6(TimeMixV6 { wkv, g: self.by_token.then_some(&g), ln_x: &ln_x });
        } else {
            pass.wkv6(wkv);
        }
        pass.submit().expect("a pass");
        y
    }
}

/// [`Pass::v6_readout`], with a gate and without.
pub fn v6_readout<B: Backend>(backend: &B) {
    for (seed, (lengths, heads, n)) in SHAPES.into_iter().enumerate() {
        for gated in [true, false] {
            let label = format!("v6_readout {lengths:?} H={heads} N={n} gated={gated}");
            let mut case = Case::new(backend, seed as u64, label);
            let batch = case.batch(lengths, 2);
            let (rows, c) = (batch.n_rows(), heads * n);
            let random = &mut case.random;
            let operands = Rows {
                buffers: vec![random.normals(rows * c), random.normals(rows * c)],
                vectors: vec![random.normals(c), random.normals(c)],
                lengths,
                width: c,
            };
            operands.compare(&case, &batch, &[0], Readout { gated, head_size: n });
        }
    }
}

/// [`Pass::lerp`], [`Pass::add_gated`] and [`Pass::scale`].
pub fn elementwise<B: Backend>(backend: &B) {
    for (seed, lengths) in [&[1][..], &[31], &[1, 1, 1], &[5, 64, 1]].into_iter().enumerate() {
        for width in [64, 131, 768, 3] {
            let mut case = Case::new(backend, seed as u64, format!("elementwise {lengths:?} C={width}"));
            let batch = case.batch(lengths, 2);
            let rows = batch.n_rows();
            let random = &mut case.random;
            let operands = Rows {
                buffers: (0..7).map(|_| random.normals(rows * width)).collect(),
                vectors: (0..5).map(|_| random.normals(width)).collect(),
                lengths,
                width,
            };
            operands.compare(&case, &batch, &[2, 3, 4, 5, 6], Lerp);
            operands.compare(&case, &batch, &[0], AddGated);
            operands.compare(&case, &batch, &[0], Scale);
        }
    }
}

/// Buffers `(T, width)` and vectors `(width)`.
struct Rows<'a> {
    buffers: Vec<Vec<f32>>,
    vectors: Vec<Vec<f32>>,
    lengths: &'a [usize],
    width: usize,
}

/// An operation on some buffers and vectors.
trait Operation: Copy {
    fn run<B: Backend>(self, pass: &mut B::Pass<'_>, buffers: &mut [B::Buffer], vectors: Vec<B::Vector>);
}

impl Rows<'_> {
    /// Runs it on a backend and on the reference and compares the buffers of these numbers.
    fn compare<B: Backend>(&self, case: &Case<'_, B>, batch: &Batch, results: &[usize], op: impl Operation) {
        let actual = self.on(case.backend, batch, op);
        let expected = self.on(&Reference, batch, op);
        for &i in results {
            let what = format!("buffer {i}");
            case.compare(&what, &actual[i], &expected[i], batch.n_rows(), self.width, ELEMENTWISE_REL);
        }
    }

    fn on<B: Backend>(&self, backend: &B, batch: &Batch, op: impl Operation) -> Vec<B::Buffer> {
        let case = Case::new(backend, 0, String::new());
        let rows = batch.n_rows();
        let mut buffers: Vec<B::Buffer> =
            self.buffers.iter().map(|values| case.buffers(rows, self.width, values).0).collect();
        let vectors = self.vectors.iter().map(|values| case.vectors(values).0).collect();
        let layout = StateLayout { slabs: Vec::new() };
        let mut states: Vec<B::State> =
            self.lengths.iter().map(|_| backend.state(&layout).expect("a state")).collect();
        let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
        op.run::<B>(&mut pass, &mut buffers, vectors);
        pass.submit().expect("a pass");
        buffers
    }
}

#[derive(Clone, Copy)]
struct Readout {
    gated: bool,
    head_size: usize,
}

impl Operation for Readout {
    fn run<B: Backend>(self, pass: &mut B::Pass<'_>, buffers: &mut [B::Buffer], vectors: Vec<B::Vector>) {
        let [y, g] = buffers else { unreachable!("two buffers") };
        let [weight, bias] = <[_; 2]>::try_from(vectors).ok().expect("two vectors");
        let ln_x = GroupNorm { weight, bias, eps: 64e-5 };
        let g = self.gated.then_some(&*g);
        pass.v6_readout(V6Readout { y, g, ln_x: &ln_x, head_size: self.head_size });
    }
}

#[derive(Clone, Copy)]
struct Lerp;

impl Operation for Lerp {
    fn run<B: Backend>(self, pass: &mut B::Pass<'_>, buffers: &mut [B::Buffer], vectors: Vec<B::Vector>) {
        let [x, previous, ys @ ..] = buffers else { unreachable!("seven buffers") };
        let mixes: Vec<&B::Vector> = vectors.iter().collect();
        pass.lerp(x, previous, &mixes, &mut ys.iter_mut().collect::<Vec<_>>());
    }
}

#[derive(Clone, Copy)]
struct AddGated;

impl Operation for AddGated {
    fn run<B: Backend>(self, pass: &mut B::Pass<'_>, buffers: &mut [B::Buffer], _: Vec<B::Vector>) {
        let [x, gate, y, ..] = buffers else { unreachable!("seven buffers") };
        pass.add_gated(x, gate, y);
    }
}

#[derive(Clone, Copy)]
struct Scale;

impl Operation for Scale {
    fn run<B: Backend>(self, pass: &mut B::Pass<'_>, buffers: &mut [B::Buffer], _: Vec<B::Vector>) {
        pass.scale(&mut buffers[0], 0.5);
    }
}
