//! How long RWKV-7's time mix takes on a GPU, kernel by kernel: decode steps of some batch sizes and prompts of some
//! lengths, in the dimensions of the 1.5B model (or `C` given as the first argument).
//!
//! The layers take turns over several states and sets of weights, as a model's do, so that caches hold no more than there.

use wingbeat_backend::{
    Activation, Backend, BackendError, Batch, GroupNorm, Linear, LowRankMixV7, MatrixSource, Orientation,
    Pass, SlabAt, SlabKind, SlabSpec, StateLayout,
    conformance::{Random, random_matrix},
};
use wingbeat_format::{Bytes, DType};
use wingbeat_gpu::{GpuBackend, GpuOptions};

const N: usize = 64;
const LAYERS: usize = 24;
/// Of w, a, g and the value's gate, as in the 1.5B model.
const RANKS: [usize; 4] = [96, 96, 256, 64];
const PASSES: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let width: usize = std::env::args().nth(1).map_or(Ok(2048), |width| width.parse())?;
    let backend = GpuBackend::new(&GpuOptions::default())?;
    println!("{}; C = {width}", backend.describe());
    for lengths in [&[1; 1][..], &[1; 2], &[1; 4], &[1; 8], &[1; 128], &[64], &[512], &[64; 8], &[4; 8]] {
        measure(&backend, width, lengths)?;
    }
    Ok(())
}

fn measure(backend: &GpuBackend, width: usize, lengths: &[usize]) -> Result<(), BackendError> {
    let mut random = Random::new(1);
    let mut batch = Batch::new();
    for &n in lengths {
        batch.push(&vec![0; n]);
    }
    let rows = batch.n_rows();
    let layout = StateLayout {
        slabs: vec![SlabSpec {
            name: "wkv",
            shape: vec![LAYERS, width / N, N, N],
            kind: SlabKind::HeadMatrices,
        }],
    };
    let mut states = lengths.iter().map(|_| backend.state(&layout)).collect::<Result<Vec<_>, _>>()?;
    let mut vector = |low, high| backend.vector(&random.uniforms(width, low, high));
    let (k_k, k_a, r_k, bias) =
        (vector(-1.0, 1.0)?, vector(0.0, 1.0)?, vector(-1.0, 1.0)?, vector(-1.0, 1.0)?);
    let ln_x = GroupNorm { weight: vector(0.0, 1.0)?, bias: vector(-1.0, 1.0)?, eps: 64e-5 };
    let layers: Vec<_> = (0..LAYERS)
        .map(|_| RANKS.map(|rank| random_matrix(&mut random, DType::F16, width, rank, Orientation::RowMajor)))
        .collect();
    // So that a layer's matrices lie in one buffer.
    backend.reserve(&mut layers.iter().flatten().cloned())?;
    let ups = layers
        .iter()
        .map(|layer| layer.iter().map(|source| backend.matrix(source)).collect::<Result<Vec<_>, _>>())
        .collect::<Result<Vec<_>, _>>()?;
    let values = Random::new(2).normals(width).iter().flat_map(|x| x.to_le_bytes()).collect();
    let table = backend.matrix(&MatrixSource {
        name: "values".to_owned(),
        dtype: DType::F32,
        rows: 1,
        cols: width,
        orientation: Orientation::RowMajor,
        sparse_input: false,
        data: Bytes::from_vec(values),
    })?;
    let buffers =
        |n: usize, width: usize| (0..n).map(|_| backend.buffer(rows, width)).collect::<Result<Vec<_>, _>>();
    let mut inputs = buffers(3, width)?;
    let mut others = buffers(7, width)?;
    let lows = RANKS.iter().map(|&rank| backend.buffer(rows, rank)).collect::<Result<Vec<_>, _>>()?;
    for pass_number in 0..=PASSES {
        // The first pass makes pipelines and is not counted.
        if pass_number == 1 {
            backend.profile(true)?;
        }
        let mut pass = backend.begin(&batch, states.iter_mut().collect())?;
        for (layer, ups) in ups.iter().enumerate() {
            for x in &mut inputs {
                pass.embed(&table, x);
            }
            let [r, k, v] = &mut inputs[..] else { unreachable!("three were made") };
            let [w, a, g, gate, v_first, kk, y] = &mut others[..] else { unreachable!("seven were made") };
            pass.low_rank_mix_v7(LowRankMixV7 {
                w: Linear::new(&ups[0], &lows[0], w, Activation::BiasDecay(&bias)),
                a: Linear::new(&ups[1], &lows[1], a, Activation::BiasSigmoid(&bias)),
                g: Linear::new(&ups[2], &lows[2], g, Activation::None),
                v_gate: Some(Linear::new(&ups[3], &lows[3], gate, Activation::BiasSigmoid(&bias))),
                r,
                k,
                v,
                v_first,
                kk,
                y,
                k_k: &k_k,
                k_a: &k_a,
                r_k: &r_k,
                ln_x: &ln_x,
                state: SlabAt { slab: 0, layer },
                head_size: N,
            });
        }
        pass.submit()?;
    }
    println!("\n{} sequences, {rows} tokens:", lengths.len());
    for kernel in backend.kernel_times() {
        let seconds = kernel.seconds / kernel.runs as f64;
        let bytes = kernel.bytes as f64 / kernel.runs as f64;
        println!("  {:16} {:9.2} us {:8.1} GB/s", kernel.name, seconds * 1e6, bytes / seconds * 1e-9);
    }
    backend.profile(false)
}
