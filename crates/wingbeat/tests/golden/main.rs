//! Golden outputs: every fixture's logits, hidden vectors and states against a float64 reference, on the reference
//! backend and on the CPU (each instruction set), exact and with int8 activations.
//!
//! Fixtures in the repository always run. Larger ones are looked for in the folder that the environment variable
//! `WINGBEAT_MODELS` names; without it those tests say that they are skipped. With `WINGBEAT_ACCURACY=FILE` the
//! measured differences are written as the table of `docs/accuracy.md`.

mod expected;
mod table;

use expected::{Case, Difference, cases, differences};
use std::path::{Path, PathBuf};
use wingbeat::{AdapterChoice, CpuOptions, Device, GpuOptions, Level, Model, ModelOptions, adapters};
use wingbeat_backend::tolerance::{
    MODEL_F16_REL, MODEL_F32_REL, MODEL_HALF_STATE_REL, MODEL_INT8_RMS, MODEL_INT16_STATE_REL,
    MODEL_QUANT_EXACT_REL,
};

/// What a fixture's weights are, which decides its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    F32,
    F16,
    Quantized,
}

/// A model with expected outputs.
struct Fixture {
    name: &'static str,
    /// Folder and file below the fixtures or below `WINGBEAT_MODELS`.
    model: &'static str,
    expected: &'static str,
    weights: Weights,
    bundled: bool,
}

const fn bundled(
    name: &'static str,
    model: &'static str,
    expected: &'static str,
    weights: Weights,
) -> Fixture {
    Fixture { name, model, expected, weights, bundled: true }
}

const fn external(
    name: &'static str,
    model: &'static str,
    expected: &'static str,
    weights: Weights,
) -> Fixture {
    Fixture { name, model, expected, weights, bundled: false }
}

#[rustfmt::skip]
const FIXTURES: &[Fixture] = &[
    bundled("rwkv4-2x64", "rwkv4-2x64.safetensors", "rwkv4-2x64.expected.safetensors", Weights::F32),
    bundled("rwkv5.1-2x64", "rwkv5.1-2x64.safetensors", "rwkv5.1-2x64.expected.safetensors", Weights::F32),
    bundled("rwkv5.2-2x64", "rwkv5.2-2x64.safetensors", "rwkv5.2-2x64.expected.safetensors", Weights::F32),
    bundled("rwkv6-2x64", "rwkv6-2x64.safetensors", "rwkv6-2x64.expected.safetensors", Weights::F32),
    bundled("rwkv7-1x64", "rwkv7-1x64.safetensors", "rwkv7-1x64.expected.safetensors", Weights::F32),
    bundled("rwkv7-2x96-head32", "rwkv7-2x96-head32.safetensors", "rwkv7-2x96-head32.expected.safetensors", Weights::F32),
    bundled("rwkv7-3x128-odd-ranks", "rwkv7-3x128-odd-ranks.safetensors", "rwkv7-3x128-odd-ranks.expected.safetensors", Weights::F32),
    bundled("rwkv7-2x256-Q8_0", "rwkv7-2x256-Q8_0.gguf", "rwkv7-2x256-Q8_0.expected.safetensors", Weights::Quantized),
    bundled("rwkv7-2x256-Q4_K_M", "rwkv7-2x256-Q4_K_M.gguf", "rwkv7-2x256-Q4_K_M.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-F16", "quant/rwkv7-2x256-F16.gguf", "quant/rwkv7-2x256-F16.expected.safetensors", Weights::F16),
    external("rwkv7-2x256-Q6_K", "quant/rwkv7-2x256-Q6_K.gguf", "quant/rwkv7-2x256-Q6_K.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q5_K_M", "quant/rwkv7-2x256-Q5_K_M.gguf", "quant/rwkv7-2x256-Q5_K_M.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q5_0", "quant/rwkv7-2x256-Q5_0.gguf", "quant/rwkv7-2x256-Q5_0.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q4_1", "quant/rwkv7-2x256-Q4_1.gguf", "quant/rwkv7-2x256-Q4_1.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q4_0", "quant/rwkv7-2x256-Q4_0.gguf", "quant/rwkv7-2x256-Q4_0.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q3_K_M", "quant/rwkv7-2x256-Q3_K_M.gguf", "quant/rwkv7-2x256-Q3_K_M.expected.safetensors", Weights::Quantized),
    external("rwkv7-2x256-Q2_K", "quant/rwkv7-2x256-Q2_K.gguf", "quant/rwkv7-2x256-Q2_K.expected.safetensors", Weights::Quantized),
    external("tiny-rwkv-4", "tiny/tiny-rwkv-4.safetensors", "tiny/tiny-rwkv-4.expected.safetensors", Weights::F32),
    external("tiny-rwkv-6", "tiny/tiny-rwkv-6.safetensors", "tiny/tiny-rwkv-6.expected.safetensors", Weights::F16),
    external("tiny-rwkv-7", "tiny/tiny-rwkv-7.safetensors", "tiny/tiny-rwkv-7.expected.safetensors", Weights::F32),
    external("demo (F16)", "demo/model.safetensors", "demo/reference_logits.safetensors", Weights::F16),
];

impl Fixture {
    /// Its files, if they are there.
    fn paths(&self) -> Option<(PathBuf, PathBuf)> {
        let root = if self.bundled {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
        } else {
            let Some(root) = std::env::var_os("WINGBEAT_MODELS") else {
                eprintln!("skipped: {} (WINGBEAT_MODELS is not set)", self.name);
                return None;
            };
            PathBuf::from(root)
        };
        let paths = (root.join(self.model), root.join(self.expected));
        if !self.bundled && !paths.0.exists() {
            eprintln!("skipped: {} (not in the folder of WINGBEAT_MODELS)", self.name);
            return None;
        }
        Some(paths)
    }
}

fn open(path: &Path, device: Device) -> Model {
    let options = ModelOptions { device, ..ModelOptions::default() };
    Model::open_with(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn cpu(level: Level, exact: bool) -> Device {
    Device::Cpu(CpuOptions { threads: Some(2), level: Some(level), exact })
}

/// Every adapter of this machine, as good as it can and with plain kernels only. Where there is none, tests say so and
/// pass, unless `WINGBEAT_GPU_REQUIRED` is set.
fn gpus(exact: bool) -> Vec<Device> {
    let n = adapters().len();
    if n == 0 {
        assert!(std::env::var_os("WINGBEAT_GPU_REQUIRED").is_none(), "no adapter, but one is required");
        eprintln!("skipped: this machine has no adapter");
    }
    let device = |(number, without): (usize, &str)| {
        let mut options = GpuOptions::default();
        options.adapter = AdapterChoice::Number(number);
        options.without = Some(without.parse().expect("a list of capabilities"));
        options.exact = exact;
        Device::Gpu(options)
    };
    (0..n).flat_map(|number| [(number, ""), (number, "all")]).map(device).collect()
}

/// Runs a fixture's prompts, all tokens in one call, and compares everything.
fn compare(fixture: &Fixture, device: Device) -> Option<(String, Difference)> {
    let (model, expected) = fixture.paths()?;
    let model = open(&model, device);
    let cases = cases(&expected);
    assert!(!cases.is_empty(), "{}: no prompts in the expected file", fixture.name);
    Some((model.device(), differences(&model, &cases, fixture.name)))
}

/// The promise for exact activations.
fn exact_limit(fixture: &Fixture) -> f64 {
    match fixture.weights {
        Weights::F32 => MODEL_F32_REL,
        Weights::F16 => MODEL_F16_REL,
        Weights::Quantized => MODEL_QUANT_EXACT_REL,
    }
}

fn check_exact(fixture: &Fixture, device: Device) {
    if let Some((device, difference)) = compare(fixture, device) {
        let limit = exact_limit(fixture);
        let worst = difference.worst();
        assert!(
            worst.1 <= limit,
            "{} on {device}: {} differs by {:.2e}, limit {limit:.0e}",
            fixture.name,
            worst.0,
            worst.1
        );
    }
}

#[test]
fn reference_agrees_exactly() {
    for fixture in FIXTURES.iter().filter(|fixture| !fixture.name.starts_with("demo")) {
        check_exact(fixture, Device::Reference);
    }
}

#[test]
fn cpu_agrees_exactly_on_every_level() {
    for level in Level::available() {
        for fixture in FIXTURES {
            check_exact(fixture, cpu(level, true));
        }
    }
}

#[test]
fn gpu_agrees_exactly() {
    for device in gpus(true) {
        for fixture in FIXTURES {
            check_exact(fixture, device.clone());
        }
    }
}

/// With half-precision and int8 activations, where an adapter has them.
#[test]
fn gpu_agrees_by_default() {
    for device in gpus(false) {
        for fixture in FIXTURES.iter().filter(|fixture| fixture.weights != Weights::Quantized) {
            let Some((device, difference)) = compare(fixture, device.clone()) else { continue };
            let limit = exact_limit(fixture);
            let state_limit = if fixture.weights == Weights::F16 { MODEL_HALF_STATE_REL } else { limit };
            let within = difference.logits.max(difference.hidden) <= limit && difference.state <= state_limit;
            assert!(within, "{} on {device}: {difference:?}", fixture.name);
        }
        for fixture in FIXTURES.iter().filter(|fixture| fixture.weights == Weights::Quantized) {
            let Some((model, expected)) = fixture.paths() else { continue };
            let model = open(&model, device.clone());
            let cases = cases(&expected);
            for chunk in [1, 5, usize::MAX] {
                let rms = expected::rms(&model, &cases, chunk);
                let device = model.device();
                assert!(rms <= MODEL_INT8_RMS, "{} on {device}, {chunk} tokens: RMS {rms:.2e}", fixture.name);
            }
        }
    }
}

#[test]
fn cpu_agrees_by_default() {
    // Quantized files are computed with int8 activations: see below.
    for fixture in FIXTURES.iter().filter(|fixture| fixture.weights != Weights::Quantized) {
        let Some((device, difference)) = compare(fixture, cpu(Level::best(), false)) else { continue };
        let limit = exact_limit(fixture);
        let state_limit = if fixture.weights == Weights::F16 { MODEL_INT16_STATE_REL } else { limit };
        let within = difference.logits.max(difference.hidden) <= limit && difference.state <= state_limit;
        assert!(within, "{} on {device}: {difference:?}", fixture.name);
    }
}

#[test]
fn int8_activations_stay_within_their_promise() {
    for level in Level::available() {
        for fixture in FIXTURES.iter().filter(|fixture| fixture.weights == Weights::Quantized) {
            let Some((model, expected)) = fixture.paths() else { continue };
            let model = open(&model, cpu(level, false));
            let cases = cases(&expected);
            for chunk in [1, 5, usize::MAX] {
                let rms = expected::rms(&model, &cases, chunk);
                assert!(
                    rms <= MODEL_INT8_RMS,
                    "{} at level {level}, {chunk} tokens: RMS {rms:.2e}",
                    fixture.name
                );
                assert!(rms > 1e-6, "{} at level {level}: int8 activations were not used", fixture.name);
            }
        }
    }
}

/// The tiny models were trained by others, who published the logits of a prompt.
#[test]
fn published_logits_agree() {
    let Some(root) = std::env::var_os("WINGBEAT_MODELS") else {
        return eprintln!("skipped: published logits (WINGBEAT_MODELS is not set)");
    };
    let root = Path::new(&root).join("tiny");
    // Of RWKV-6 there was only a form of 5 bits, while the logits are the original's: they are close, no more.
    for (version, limit) in [(4, MODEL_F32_REL), (6, 0.2), (7, MODEL_F32_REL)] {
        let model = open(&root.join(format!("tiny-rwkv-{version}.safetensors")), cpu(Level::best(), true));
        let published = expected::published(&root.join(format!("tiny-rwkv-{version}.published.safetensors")));
        let logits = expected::last_logits(&model, &published.tokens);
        let worst = expected::relative(&logits, &published.logits);
        assert!(worst <= limit, "RWKV-{version}: published logits differ by {worst:.2e}");
    }
}

/// Not a check but a table: what `docs/accuracy.md` shows.
#[test]
fn accuracy_table() {
    let Some(path) = std::env::var_os("WINGBEAT_ACCURACY") else {
        return eprintln!("skipped: the accuracy table (WINGBEAT_ACCURACY is not set)");
    };
    let mut table = table::Table::new();
    for fixture in FIXTURES {
        let Some((model_path, expected_path)) = fixture.paths() else { continue };
        let cases: Vec<Case> = cases(&expected_path);
        let default = ("cpu", cpu(Level::best(), false));
        let mut devices =
            vec![("reference", Device::Reference), ("cpu exact", cpu(Level::best(), true)), default];
        let labels = ["gpu exact", "gpu exact, plain kernels"];
        devices.extend(labels.into_iter().zip(gpus(true)));
        devices.extend(["gpu"].into_iter().zip(gpus(false)));
        for (label, device) in devices {
            if label == "reference" && fixture.name.starts_with("demo") {
                continue; // minutes of plain loops
            }
            if matches!(label, "cpu" | "gpu") && fixture.weights == Weights::Quantized {
                continue; // int8 activations, below
            }
            let difference = differences(&open(&model_path, device), &cases, fixture.name);
            table.add(fixture.name, label, &difference, exact_limit(fixture));
        }
        if fixture.weights == Weights::Quantized {
            let devices = [("cpu", cpu(Level::best(), false))];
            for (label, device) in devices.into_iter().chain(["gpu"].into_iter().zip(gpus(false))) {
                let model = open(&model_path, device);
                for (words, chunk) in [("token by token", 1), ("whole prompts", usize::MAX)] {
                    let rms = expected::rms(&model, &cases, chunk);
                    table.add_int8(fixture.name, &format!("{label}, {words}"), rms, MODEL_INT8_RMS);
                }
            }
        }
    }
    std::fs::write(&path, table.markdown())
        .unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()));
}
