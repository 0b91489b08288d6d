//! How long what RWKV-4, RWKV-5 and RWKV-6 do between products takes on a GPU, kernel by kernel: decode steps of some batch
//! sizes and prompts of some lengths, in the dimensions of the 1.6B models (or `C` given as the first argument), and with
//! heads of a size for which there is only the plain kernel.
//!
//! The layers take turns over several states, as a model's do, so that caches hold no more than there.

use wingbeat_backend::{
    Backend, BackendError, Batch, Decay, GroupNorm, MatrixSource, Orientation, Pass, SlabAt, SlabKind,
    SlabSpec, StateLayout, TimeMixV6, Wkv4, Wkv6, conformance::Random,
};
use wingbeat_format::{Bytes, DType};
use wingbeat_gpu::{GpuBackend, GpuOptions};

const LAYERS: usize = 24;
const PASSES: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let width: usize = std::env::args().nth(1).map_or(Ok(2048), |width| width.parse())?;
    let backend = GpuBackend::new(&GpuOptions::default())?;
    println!("{}; C = {width}", backend.describe());
    for lengths in [&[1; 1][..], &[1; 4], &[1; 128], &[64], &[512], &[64; 8]] {
        measure(&backend, width, 64, lengths)?;
    }
    measure(&backend, width / 62 * 62, 62, &[512])?;
    Ok(())
}

fn measure(backend: &GpuBackend, width: usize, n: usize, lengths: &[usize]) -> Result<(), BackendError> {
    let mut batch = Batch::new();
    for &length in lengths {
        batch.push(&vec![0; length]);
    }
    let rows = batch.n_rows();
    let vectors = |name, kind| SlabSpec { name, shape: vec![LAYERS, width], kind };
    let matrices = vec![LAYERS, width / n, n, n];
    let layout = StateLayout {
        slabs: vec![
            SlabSpec { name: "wkv", shape: matrices, kind: SlabKind::KeyMatrices },
            vectors("aa", SlabKind::Vectors),
            vectors("bb", SlabKind::Vectors),
            vectors("pp", SlabKind::Exponents),
        ],
    };
    let mut states = lengths.iter().map(|_| backend.state(&layout)).collect::<Result<Vec<_>, _>>()?;
    let mut random = Random::new(1);
    let mut vector = |low, high| backend.vector(&random.uniforms(width, low, high));
    let (decay, u, w) = (vector(-5.0, -0.1)?, vector(-1.0, 1.0)?, vector(0.3, 1.0)?);
    let mixes =
        [vector(0.0, 1.0)?, vector(0.0, 1.0)?, vector(0.0, 1.0)?, vector(0.0, 1.0)?, vector(0.0, 1.0)?];
    let ln_x = GroupNorm { weight: vector(0.0, 1.0)?, bias: vector(-1.0, 1.0)?, eps: 64e-5 };
    let values = Random::new(2).uniforms(width, 0.3, 1.0).iter().flat_map(|x| x.to_le_bytes()).collect();
    let table = backend.matrix(&MatrixSource {
        name: "values".to_owned(),
        dtype: DType::F32,
        rows: 1,
        cols: width,
        orientation: Orientation::RowMajor,
        sparse_input: false,
        data: Bytes::from_vec(values),
    })?;
    let mut buffers = (0..10).map(|_| backend.buffer(rows, width)).collect::<Result<Vec<_>, _>>()?;
    let [r, k, v, g, decays, ys @ ..] = &mut buffers[..] else { unreachable!("ten were made") };
    for pass_number in 0..=PASSES {
        // The first pass makes pipelines and is not counted.
        if pass_number == 1 {
            backend.profile(true)?;
        }
        let mut pass = backend.begin(&batch, states.iter_mut().collect())?;
        for layer in 0..LAYERS {
            for x in [&mut *r, &mut *k, &mut *v, &mut *g, &mut *decays] {
                pass.embed(&table, x);
            }
            let at = |slab| SlabAt { slab, layer };
            let (aa, bb, pp) = (at(1), at(2), at(3));
            pass.wkv4(Wkv4 { r, k, v, y: &mut ys[0], decay: &decay, first: &u, aa, bb, pp });
            // RWKV-5's decay in odd layers.
            let w = if layer % 2 == 0 { Decay::Tokens(decays) } else { Decay::Channels(&w) };
            let wkv = Wkv6 { r, w, k, v, y: &mut ys[0], u: &u, state: at(0), head_size: n };
            pass.time_mix_v6(TimeMixV6 { wkv, g: Some(g), ln_x: &ln_x });
            let mut results: Vec<_> = ys.iter_mut().collect();
            pass.lerp(r, k, &mixes.each_ref(), &mut results);
            pass.add_gated(&mut ys[0], r, k);
            pass.scale(&mut ys[0], 0.5);
        }
        pass.submit()?;
    }
    println!("\n{} sequences, {rows} tokens, heads of {n}:", lengths.len());
    for kernel in backend.kernel_times() {
        let seconds = kernel.seconds / kernel.runs as f64;
        let bytes = kernel.bytes as f64 / kernel.runs as f64;
        println!("  {:16} {:9.2} us {:8.1} GB/s", kernel.name, seconds * 1e6, bytes / seconds * 1e-9);
    }
    backend.profile(false)
}
