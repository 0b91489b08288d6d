//! Models on a GPU beside the CPU: states that move between them, and models that don't fit.
//!
//! Where there is no adapter the tests say so and pass, unless `WINGBEAT_GPU_REQUIRED` is set.

use std::path::PathBuf;
use wingbeat::{
    CpuOptions, Device, Error, GpuOptions, Model, ModelError, ModelOptions, Sequence, State, Want, adapters,
};
use wingbeat_backend::BackendError;

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn open(name: &str, device: Device) -> Result<Model, Error> {
    Model::open_with(path(name), &ModelOptions { device, ..ModelOptions::default() })
}

/// Options for the best adapter, if there is one.
fn gpu() -> Option<GpuOptions> {
    if adapters().is_empty() {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
        return None;
    }
    let mut options = GpuOptions::default();
    (options.exact, options.cache) = (true, Some(PathBuf::new()));
    Some(options)
}

fn run(model: &Model, state: &mut State, tokens: &[u32]) -> Vec<f32> {
    let sequence = Sequence { state, tokens, want: Want::LAST_LOGITS };
    model.forward(&mut [sequence]).expect("a forward call").remove(0).logits
}

/// Largest difference, in units of the expected values' standard deviation.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let n = expected.len() as f32;
    let mean = expected.iter().sum::<f32>() / n;
    let deviation = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / deviation
}

#[test]
fn states_move_between_devices() {
    let Some(options) = gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cpu = CpuOptions { exact: true, ..CpuOptions::default() };
    for name in [
        "rwkv4-2x64.safetensors",
        "rwkv5.1-2x64.safetensors",
        "rwkv6-2x64.safetensors",
        "rwkv7-3x128-odd-ranks.safetensors",
        "rwkv7-2x96-head32.safetensors",
        "rwkv7-2x256-Q8_0.gguf",
    ] {
        let on_cpu = open(name, Device::Cpu(cpu)).expect("a model");
        let on_gpu = open(name, Device::Gpu(options.clone())).expect("a model");
        assert_eq!(on_cpu.fingerprint(), on_gpu.fingerprint());
        let mut expected = on_cpu.new_state().expect("a state");
        run(&on_cpu, &mut expected, &[1, 2, 3, 4, 5, 6, 7]);
        let expected = run(&on_cpu, &mut expected, &[8, 9]);
        for (from, to) in [(&on_cpu, &on_gpu), (&on_gpu, &on_cpu), (&on_gpu, &on_gpu)] {
            let file = folder.path().join("some.state");
            let mut state = from.new_state().expect("a state");
            run(from, &mut state, &[1, 2, 3, 4, 5, 6, 7]);
            state.save(&file).expect("saved");
            let mut loaded = to.load_state(&file).expect("loaded");
            assert_eq!(loaded.n_tokens(), 7);
            // Moving changes no bit.
            assert_eq!(loaded.read_all().expect("slabs"), state.read_all().expect("slabs"), "{name}");
            let far = distance(&run(to, &mut loaded, &[8, 9]), &expected);
            assert!(far < 1e-3, "{name}: {far} off from {} to {}", from.device(), to.device());
        }
        // In memory they stay where they are.
        let mut state = on_cpu.new_state().expect("a state");
        let sequence = Sequence { state: &mut state, tokens: &[1], want: Want::NOTHING };
        assert!(matches!(on_gpu.forward(&mut [sequence]), Err(Error::ForeignState { .. })), "{name}");
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused() {
    let Some(mut options) = gpu() else { return };
    options.memory_bytes = Some(100_000);
    match open("rwkv7-2x256-Q8_0.gguf", Device::Gpu(options.clone())) {
        Err(Error::Model(ModelError::Backend(error @ BackendError::ModelTooLarge { .. }))) => {
            let text = error.to_string();
            assert!(text.starts_with("GPU ") && text.contains("0 MB are to be had"), "{text}");
        }
        Err(other) => panic!("{other}"),
        Ok(model) => panic!("it was opened on {}", model.device()),
    }
    options.memory_bytes = None;
    assert!(open("rwkv7-2x256-Q8_0.gguf", Device::Gpu(options)).is_ok(), "nothing was left behind");
}

/// Fused operations must not fall back to their parts unnoticed: each dispatch of a decode step costs its barrier.
#[test]
fn a_decode_step_takes_six_dispatches_a_layer() {
    let Some(options) = gpu() else { return };
    for (name, exact) in [
        ("rwkv7-2x96-head32.safetensors", false),
        ("rwkv7-2x256-Q8_0.gguf", false),
        ("rwkv7-2x256-Q8_0.gguf", true),
        ("rwkv7-2x256-Q4_K_M.gguf", false),
    ] {
        let mut options = options.clone();
        options.exact = exact;
        let model = open(name, Device::Gpu(options)).expect("a model");
        let mut state = model.new_state().expect("a state");
        run(&model, &mut state, &[1, 2, 3]);
        if model.profile(true).is_err() {
            return eprintln!("skipped: {} has no time stamps", model.device());
        }
        run(&model, &mut state, &[4]);
        let times = model.kernel_times();
        let runs: u64 = times.iter().map(|time| time.runs).sum();
        let kernels: Vec<_> = times.iter().map(|time| (time.name, time.runs)).collect();
        println!("{name}, exact {exact}: {runs} dispatches: {kernels:?}");
        // At the ends: embed, layer_norm, select_rows, layer_norm, linear.
        let most = 6 * model.config().n_layers as u64 + 5;
        assert!(runs <= most, "{name}, exact {exact}: {runs} dispatches, at most {most}: {kernels:?}");
    }
}
