//! How many kernels a decode step's operations take: fused ones must not fall back to their parts unnoticed.

use wingbeat_backend::{
    Activation, Backend, Batch, Decay, GroupNorm, LayerNorm, Linear, MatrixSource, Orientation, Pass,
    ShiftLinear, SlabAt, SlabKind, SlabSpec, StateLayout, TimeMixV6, TimeMixV7, Wkv4, Wkv6,
    conformance::{Random, random_matrix},
};
use wingbeat_format::DType;
use wingbeat_gpu::{AdapterChoice, GpuBackend, GpuOptions, Matrix, adapters};

const C: usize = 64;
const F: usize = 512;

fn matrix(backend: &GpuBackend, dtype: DType, rows: usize, cols: usize, sparse_input: bool) -> Matrix {
    let source = random_matrix(&mut Random::new(1), dtype, rows, cols, Orientation::RowMajor);
    backend.matrix(&MatrixSource { sparse_input, ..source }).expect("a matrix")
}

/// Every adapter that has time stamps.
fn timed_backends() -> impl Iterator<Item = GpuBackend> {
    let open = |number| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        GpuBackend::new(&options).expect("an adapter that is listed can be opened")
    };
    (0..adapters().len()).map(open).filter(|backend| {
        let timed = backend.profile(true).is_ok();
        if !timed {
            eprintln!("skipped: {} has no time stamps", backend.describe());
        }
        timed
    })
}

/// What ran since profiling began, which ends.
fn kernels_run(backend: &GpuBackend) -> Vec<(&'static str, u64)> {
    let mut times: Vec<_> = backend.kernel_times().iter().map(|time| (time.name, time.runs)).collect();
    backend.profile(false).expect("no more time stamps");
    times.sort();
    times
}

/// Names and runs of the kernels of a channel mix that also has a product in f16, for some sequences.
fn kernels(backend: &GpuBackend, dtype: DType, n_sequences: usize) -> Vec<(&'static str, u64)> {
    let vector = || backend.vector(&[0.5; C]).expect("a vector");
    let buffer = |width| backend.buffer(n_sequences, width).expect("a buffer");
    let keys = [matrix(backend, dtype, F, C, false), matrix(backend, DType::F16, C, C, false)];
    let value = matrix(backend, dtype, C, F, true);
    let norm = LayerNorm { weight: vector(), bias: vector(), eps: 1e-5 };
    let mixes = [vector(), vector()];
    let (mut x, mut normed, mut ys, mut hidden, mut other) =
        (buffer(C), buffer(C), [buffer(C), buffer(C)], buffer(F), buffer(C));
    let slab = SlabSpec { name: "shift", shape: vec![1, C], kind: SlabKind::Vectors };
    let layout = StateLayout { slabs: vec![slab] };
    let mut states: Vec<_> = (0..n_sequences).map(|_| backend.state(&layout).expect("a state")).collect();
    let mut batch = Batch::new();
    (0..n_sequences).for_each(|_| batch.push(&[0]));
    backend.loaded().expect("weights");
    backend.profile(true).expect("time stamps");
    let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
    let [first, second] = &mut ys;
    pass.shift_linear(
        &x,
        &norm,
        &mut normed,
        SlabAt { slab: 0, layer: 0 },
        &mixes.each_ref(),
        &mut [first, second],
        &mut [
            ShiftLinear { weight: &keys[0], mix: 0, y: &mut hidden, activation: Activation::ReluSquared },
            ShiftLinear { weight: &keys[1], mix: 1, y: &mut other, activation: Activation::None },
        ],
    );
    pass.linear(&mut [Linear { sparse_x: true, ..Linear::new(&value, &hidden, &mut x, Activation::Add) }]);
    pass.submit().expect("a pass");
    kernels_run(backend)
}

#[test]
fn a_channel_mix_takes_three_dispatches() {
    for backend in timed_backends() {
        for (dtype, first) in [(DType::F16, "shift_linear"), (DType::Q8_0, "shift_linear_int8")] {
            for n_sequences in [1, 2, 4] {
                let expected = [("linear_sparse", 1), ("linear_sparse_sum", 1), (first, 1)];
                let found = kernels(&backend, dtype, n_sequences);
                assert_eq!(found, expected, "{n_sequences} sequences of {}", dtype.name());
            }
            // More than the fused kernel takes: the parts.
            let parts = kernels(&backend, dtype, 5);
            assert!(parts.iter().any(|(name, _)| *name == "token_shift"), "{parts:?}");
        }
    }
}

/// The kernels of a prompt's time mix, and their runs.
fn time_mix(backend: &GpuBackend, lengths: &[usize]) -> Vec<(&'static str, u64)> {
    let mut batch = Batch::new();
    lengths.iter().for_each(|&n| batch.push(&vec![0; n]));
    let mut buffers: Vec<_> = (0..10).map(|_| backend.buffer(batch.n_rows(), C).expect("a buffer")).collect();
    let [r, w, k, v, v_first, gate, a, g, kk, y] = &mut buffers[..] else { unreachable!("ten were made") };
    let vector = || backend.vector(&[0.5; C]).expect("a vector");
    let (k_k, k_a, r_k) = (vector(), vector(), vector());
    let ln_x = GroupNorm { weight: vector(), bias: vector(), eps: 1e-5 };
    let slab = SlabSpec { name: "wkv", shape: vec![1, 1, C, C], kind: SlabKind::HeadMatrices };
    let layout = StateLayout { slabs: vec![slab] };
    let mut states: Vec<_> = lengths.iter().map(|_| backend.state(&layout).expect("a state")).collect();
    backend.profile(true).expect("time stamps");
    let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
    pass.time_mix_v7(TimeMixV7 {
        r: &*r,
        w: &*w,
        k,
        v,
        v_first,
        v_gate: Some(&*gate),
        a: &*a,
        g: &*g,
        kk,
        y,
        k_k: &k_k,
        k_a: &k_a,
        r_k: &r_k,
        ln_x: &ln_x,
        state: SlabAt { slab: 0, layer: 0 },
        head_size: C,
    });
    pass.submit().expect("a pass");
    kernels_run(backend)
}

#[test]
fn the_time_mix_of_a_prompt_takes_three_dispatches() {
    for backend in timed_backends() {
        let chunks = [("wkv7_chunks", 1), ("wkv7_readout", 1), ("wkv7_scan", 1)];
        assert_eq!(time_mix(&backend, &[40]), chunks);
        // A step of another sequence goes along.
        assert_eq!(time_mix(&backend, &[16, 1]), chunks);
        let one_by_one = [("v7_keys", 1), ("v7_readout", 1), ("wkv7", 1)];
        assert_eq!(time_mix(&backend, &[3, 2]), one_by_one);
    }
}

/// The kernels of the time mix of a step up to its output product, as RWKV-5 has it and as RWKV-4.
fn steps(backend: &GpuBackend, n_sequences: usize) -> [Vec<(&'static str, u64)>; 2] {
    let vector = || backend.vector(&[0.5; C]).expect("a vector");
    let buffer = || backend.buffer(n_sequences, C).expect("a buffer");
    let weight = matrix(backend, DType::F16, C, C, false);
    let norm = LayerNorm { weight: vector(), bias: vector(), eps: 1e-5 };
    let ln_x = GroupNorm { weight: vector(), bias: vector(), eps: 1e-5 };
    let (mix, u, w) = (vector(), vector(), vector());
    let [x, mut normed, mut shifted, mut k, mut y] = [(); 5].map(|()| buffer());
    let slab = |name, shape, kind| SlabSpec { name, shape, kind };
    let layout = StateLayout {
        slabs: vec![
            slab("shift", vec![1, C], SlabKind::Vectors),
            slab("wkv", vec![1, 1, C, C], SlabKind::KeyMatrices),
            slab("aa", vec![1, C], SlabKind::Vectors),
            slab("bb", vec![1, C], SlabKind::Vectors),
            slab("pp", vec![1, C], SlabKind::Exponents),
        ],
    };
    let mut states: Vec<_> = (0..n_sequences).map(|_| backend.state(&layout).expect("a state")).collect();
    let mut batch = Batch::new();
    (0..n_sequences).for_each(|_| batch.push(&[0]));
    backend.loaded().expect("weights");
    [true, false].map(|v5| {
        backend.profile(true).expect("time stamps");
        let mut pass = backend.begin(&batch, states.iter_mut().collect()).expect("a pass");
        let at = |slab| SlabAt { slab, layer: 0 };
        let product = ShiftLinear { weight: &weight, mix: 0, y: &mut k, activation: Activation::None };
        pass.shift_linear(&x, &norm, &mut normed, at(0), &[&mix], &mut [&mut shifted], &mut [product]);
        let (r, k, v) = (&k, &k, &k);
        if v5 {
            let w = Decay::Channels(&w);
            let wkv = Wkv6 { r, w, k, v, y: &mut y, u: &u, state: at(1), head_size: C };
            pass.time_mix_v6(TimeMixV6 { wkv, g: None, ln_x: &ln_x });
        } else {
            let (aa, bb, pp) = (at(2), at(3), at(4));
            pass.wkv4(Wkv4 { r, k, v, y: &mut y, decay: &w, first: &u, aa, bb, pp });
        }
        pass.submit().expect("a pass");
        kernels_run(backend)
    })
}

#[test]
fn the_time_mix_of_a_step_takes_two_dispatches_in_older_versions() {
    for backend in timed_backends() {
        for n_sequences in [1, 4] {
            let [v5, v4] = steps(&backend, n_sequences);
            assert_eq!(v5, [("shift_linear", 1), ("time_mix_v6", 1)], "{n_sequences} sequences");
            assert_eq!(v4, [("shift_linear", 1), ("wkv4", 1)], "{n_sequences} sequences");
        }
    }
}
