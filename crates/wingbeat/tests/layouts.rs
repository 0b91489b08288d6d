//! Every version through every format and back: nothing is lost that types can hold.

use std::path::{Path, PathBuf};
use wingbeat::{
    CpuOptions, DType, Device, Model, ModelFile, ModelOptions, Sequence, Vocabulary, Want,
    convert::{ConvertOptions, Mix, Target, convert},
};
use wingbeat_backend::Orientation;
use wingbeat_model::{Catalog, Layout, Version, Weight};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

const MODELS: [&str; 7] = [
    "rwkv4-2x64.safetensors",
    "rwkv5.1-2x64.safetensors",
    "rwkv5.2-2x64.safetensors",
    "rwkv6-2x64.safetensors",
    "rwkv7-1x64.safetensors",
    "rwkv7-2x96-head32.safetensors",
    "rwkv7-3x128-odd-ranks.safetensors",
];

fn to(source: &Path, target: &Path, options: &ConvertOptions) {
    let file = ModelFile::open(source).unwrap();
    let converted = convert(&file, target, options, &mut |_, _| true);
    converted.unwrap_or_else(|e| panic!("{} to {}: {e}", source.display(), target.display()));
}

fn plain(to: Target) -> ConvertOptions {
    ConvertOptions { to: Some(to), ..ConvertOptions::default() }
}

fn logits(path: &Path) -> Vec<f32> {
    let cpu = CpuOptions { exact: true, threads: Some(1), ..CpuOptions::default() };
    let options = ModelOptions { device: Device::Cpu(cpu), ..ModelOptions::default() };
    let model = Model::open_with(path, &options).unwrap();
    let mut state = model.new_state().unwrap();
    let tokens: Vec<u32> = (0..24).map(|i| i * 5 % 60).collect();
    let sequence = Sequence { state: &mut state, tokens: &tokens, want: Want::ALL_LOGITS };
    model.forward(&mut [sequence]).unwrap().remove(0).logits
}

fn relative(a: &[f32], e: &[f32]) -> f32 {
    let deviation = (e.iter().map(|x| x * x).sum::<f32>() / e.len() as f32).sqrt();
    a.iter().zip(e).fold(0.0f32, |m, (a, e)| m.max((a - e).abs())) / deviation
}

/// A weight's values, rows first.
fn values(weight: &Weight) -> Vec<f32> {
    let values = weight.vector();
    let (n, rows, cols) = match *weight.shape {
        [n, rows, cols] => (n, rows, cols),
        [rows, cols] => (1, rows, cols),
        _ => return values,
    };
    if weight.orientation == Orientation::RowMajor {
        return values;
    }
    let at = |k: usize, i: usize, j: usize| values[(k * cols + j) * rows + i];
    (0..n).flat_map(|k| (0..rows).flat_map(move |i| (0..cols).map(move |j| at(k, i, j)))).collect()
}

/// Every weight's values are the same; decays that went through rwkv.cpp's exponentials, to within their rounding.
fn same_weights(a: &ModelFile, b: &ModelFile, rounded: bool, what: &str) {
    let (a, b) = (Catalog::open(a).unwrap(), Catalog::open(b).unwrap());
    assert_eq!(a.weights().len(), b.weights().len(), "{what}");
    for (a, b) in a.weights().iter().zip(b.weights()) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "{what}");
        let (x, y) = (values(a), values(b));
        if rounded && matches!(a.row.name, "att.time_decay" | "att.time_first") {
            // A unit in the last place of exp(−exp(x)) is exp(exp(x)−x) of x.
            let limit = |x: f32| 3e-7 * (1.0 + x.abs() + (x.exp() - x).exp());
            assert!(
                x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= limit(*x)),
                "{what} {}: {x:?} {y:?}",
                a.name
            );
        } else {
            let same = x.iter().zip(&y).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same && x.len() == y.len(), "{what} {}", a.name);
        }
    }
}

fn targets(version: Version) -> impl Iterator<Item = Target> {
    let all = [Target::Gguf, Target::Safetensors, Target::Pth, Target::RwkvCpp, Target::HuggingFace];
    all.into_iter().filter(move |to| *to != Target::HuggingFace || version == Version::V7)
}

fn version(path: &Path) -> Version {
    Version::detect(&ModelFile::open(path).unwrap()).unwrap()
}

#[test]
fn every_pair_of_formats_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let source = fixture(name);
        let original = ModelFile::open(&source).unwrap();
        let expected = logits(&source);
        let version = version(&source);
        let has_exponentials = matches!(version, Version::V4 | Version::V5);
        for first in targets(version) {
            let there = folder.path().join(format!("{name}-{first:?}"));
            to(&source, &there, &plain(first));
            let rounded = has_exponentials && first == Target::RwkvCpp;
            same_weights(&original, &ModelFile::open(&there).unwrap(), rounded, &format!("{name} {first:?}"));
            let difference = relative(&logits(&there), &expected);
            assert!(difference < 2e-5, "{name} {first:?}: {difference}");
            for second in targets(version) {
                let on = folder.path().join(format!("on-{second:?}"));
                to(&there, &on, &plain(second));
                let what = format!("{name} {first:?} {second:?}");
                let rounded = has_exponentials && (first == Target::RwkvCpp || second == Target::RwkvCpp);
                same_weights(&original, &ModelFile::open(&on).unwrap(), rounded, &what);
                let back = folder.path().join("back.safetensors");
                to(&on, &back, &plain(Target::Safetensors));
                let back = ModelFile::open(&back).unwrap();
                if !rounded {
                    assert_eq!(back.tensors().len(), original.tensors().len(), "{what}");
                }
                for tensor in back.tensors().iter().filter(|_| !rounded) {
                    let source =
                        original.tensor(&tensor.name).unwrap_or_else(|| panic!("{what} {}", tensor.name));
                    assert_eq!(
                        (source.dtype, &source.shape),
                        (tensor.dtype, &tensor.shape),
                        "{what} {}",
                        tensor.name
                    );
                    assert!(*source.data == *tensor.data, "{what} {}", tensor.name);
                }
                if second == Target::HuggingFace {
                    std::fs::remove_dir_all(&on).unwrap();
                }
            }
        }
    }
}

/// Halves stay halves, and decays of 16 bits are exact even through rwkv.cpp's exponentials.
#[test]
fn halves_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        for mix in [Mix::BF16, Mix::F16] {
            let half = folder.path().join(format!("{}-{name}", mix.name()));
            to(&fixture(name), &half, &ConvertOptions { mix: Some(mix), ..ConvertOptions::default() });
            // All vectors too, as the official checkpoints have them.
            let narrowed = folder.path().join(format!("narrowed-{}-{name}", mix.name()));
            narrow(&half, &narrowed, mix.matrices());
            let original = ModelFile::open(&narrowed).unwrap();
            for middle in targets(version(&narrowed)) {
                if middle == Target::RwkvCpp && mix == Mix::BF16 {
                    continue;
                }
                let (there, back) =
                    (folder.path().join(format!("{middle:?}-{name}")), folder.path().join("back.pth"));
                to(&narrowed, &there, &plain(middle));
                to(&there, &back, &plain(Target::Pth));
                let back = ModelFile::open(&back).unwrap();
                for tensor in original.tensors() {
                    let found = back.tensor(&tensor.name).unwrap();
                    assert_eq!(found.dtype, tensor.dtype, "{name} {middle:?} {}", tensor.name);
                    assert!(*found.data == *tensor.data, "{name} {middle:?} {}", tensor.name);
                }
                let _ = std::fs::remove_dir_all(&there);
            }
        }
    }
}

/// Every tensor of a file in one type.
fn narrow(source: &Path, target: &Path, dtype: DType) {
    let file = ModelFile::open(source).unwrap();
    let specs: Vec<_> =
        file.tensors().iter().map(|tensor| wingbeat_format::TensorSpec { dtype, ..tensor.spec() }).collect();
    let mut writer = wingbeat_format::safetensors::Writer::create(target, file.metadata(), &specs).unwrap();
    for tensor in file.tensors() {
        let mut bytes = Vec::new();
        dtype.encode_row(&tensor.to_f32(), &mut bytes).unwrap();
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn metadata_travel_through_every_format_that_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("rwkv7-2x256-Q8_0.gguf");
    let original = ModelFile::open(&source).unwrap();
    let first = folder.path().join("first.gguf");
    // Types that every format holds, and keys that nobody here knows.
    to(&source, &first, &ConvertOptions { mix: Some(Mix::F16), ..ConvertOptions::default() });
    let mut metadata = ModelFile::open(&first).unwrap().metadata().clone();
    metadata.insert("author.number", wingbeat_format::Value::F32(0.1));
    metadata.insert("author.list", wingbeat_format::Array::U16(vec![1, 65535]));
    metadata.insert("author.text", "\u{e9}t\u{e9}\n");
    let file = ModelFile::open(&first).unwrap();
    let specs: Vec<_> = file.tensors().iter().map(|tensor| tensor.spec()).collect();
    let start = folder.path().join("start.gguf");
    let mut writer = wingbeat_format::gguf::Writer::create(&start, &metadata, &specs).unwrap();
    file.tensors().iter().for_each(|tensor| writer.write(&tensor.data).unwrap());
    writer.finish().unwrap();
    for middle in [Target::Safetensors, Target::Pth, Target::HuggingFace] {
        let (there, back) = (folder.path().join(format!("{middle:?}")), folder.path().join("back.gguf"));
        to(&start, &there, &plain(middle));
        to(&there, &back, &plain(Target::Gguf));
        let back = ModelFile::open(&back).unwrap();
        for (key, value) in metadata.iter() {
            assert_eq!(back.metadata().get(key), Some(value), "{middle:?}: {key}");
        }
        let (a, b) = (Model::open(&there).unwrap(), Model::open(&start).unwrap());
        assert_eq!(
            (&a.config().name, a.chat_template().name),
            (&b.config().name, "rwkv-world"),
            "{middle:?}"
        );
        let text = "the man said: \u{e9}t\u{e9}\n\n".as_bytes();
        assert_eq!(
            a.tokenizer().unwrap().encode(text).unwrap(),
            b.tokenizer().unwrap().encode(text).unwrap()
        );
    }
    assert_eq!(original.metadata().str("general.name"), metadata.str("general.name"));
    // There and back between folders, with a configuration of its own and a template in Jinja.
    let hf = folder.path().join("HuggingFace");
    let config = std::fs::read_to_string(hf.join("config.json")).unwrap();
    assert!(config.contains("\"norm_eps\": 0.00001") || config.contains("\"norm_eps\": 1e-5"), "{config}");
    std::fs::write(hf.join("config.json"), config.replacen('{', "{\"mine\": [1, {\"a\": null}],", 1))
        .unwrap();
    std::fs::write(hf.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let (st, again) = (folder.path().join("m.st"), folder.path().join("again"));
    to(&hf, &st, &plain(Target::Safetensors));
    to(&st, &again, &plain(Target::HuggingFace));
    let config = std::fs::read_to_string(again.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["mine"], serde_json::json!([1, {"a": null}]));
    assert_eq!(config["architectures"], serde_json::json!(["RWKV7ForCausalLM"]));
    assert!(again.join("vocab.txt").is_file());
}

#[test]
fn a_template_in_a_file_goes_along() {
    let folder = tempfile::tempdir().unwrap();
    let (hf, st, again) =
        (folder.path().join("hf"), folder.path().join("a.pth"), folder.path().join("again"));
    to(&fixture("rwkv7-1x64.safetensors"), &hf, &plain(Target::HuggingFace));
    std::fs::write(hf.join("chat_template.jinja"), "{{ messages }}").unwrap();
    to(&hf, &st, &plain(Target::Pth));
    to(&st, &again, &plain(Target::HuggingFace));
    assert_eq!(std::fs::read_to_string(again.join("chat_template.jinja")).unwrap(), "{{ messages }}");
    assert_eq!(ModelFile::open(&again).unwrap().metadata().str("general.name"), Some("rwkv7-1x64"));
}

/// Files as web-rwkv's converter makes them of the official ones: other names, pairs transposed.
#[test]
fn web_rwkv_files_are_the_same_models() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let source = ModelFile::open(fixture(name)).unwrap();
        let target = folder.path().join(name);
        let transposed = |name: &str| {
            ["time_mix_w1", "time_mix_w2", "time_decay_w1", "time_decay_w2"]
                .iter()
                .any(|part| name.contains(part))
        };
        let mut specs = Vec::new();
        let mut data = Vec::new();
        for tensor in source.tensors() {
            let mut spec = tensor.spec();
            spec.name = spec.name.replace("time_faaaa", "time_first").replace("time_maa", "time_mix");
            let mut bytes = tensor.data.to_vec();
            if transposed(&spec.name) {
                let n = spec.shape.len();
                let (rows, cols) = (spec.shape[n - 2], spec.shape[n - 1]);
                let at = |k: usize, i: usize, j: usize| 4 * ((k * rows + i) * cols + j);
                let stack = tensor.n_elements() / rows / cols;
                bytes = (0..stack)
                    .flat_map(|k| (0..cols).flat_map(move |j| (0..rows).map(move |i| at(k, i, j))))
                    .flat_map(|at| tensor.data[at..at + 4].to_vec())
                    .collect();
                spec.shape.swap(n - 2, n - 1);
            }
            specs.push(spec);
            data.push(bytes);
        }
        let metadata = source.metadata();
        let mut writer = wingbeat_format::safetensors::Writer::create(&target, metadata, &specs).unwrap();
        data.iter().for_each(|bytes| writer.write(bytes).unwrap());
        writer.finish().unwrap();
        let file = ModelFile::open(&target).unwrap();
        same_weights(&source, &file, false, name);
        assert_eq!(logits(&target), logits_of_layout(&fixture(name), &target), "{name}");
        let renamed = source.tensors().iter().any(|t| t.name.contains("faaaa") || t.name.contains("maa"));
        let expected = if renamed { Layout::WebRwkv } else { Layout::BlinkDl };
        assert_eq!(Layout::of(&file), expected, "{name}");
    }
}

/// Row-major and transposed pairs go through different kernels: the second's logits, if the first's are near.
fn logits_of_layout(official: &Path, other: &Path) -> Vec<f32> {
    let (a, b) = (logits(official), logits(other));
    assert!(relative(&b, &a) < 2e-5, "{}", relative(&b, &a));
    b
}

/// RWKV-6 with weights divided for the sake of halves, as llama.cpp's converter makes it.
#[test]
fn divided_weights_are_multiplied_again() {
    let folder = tempfile::tempdir().unwrap();
    let plain_gguf = folder.path().join("plain.gguf");
    to(&fixture("rwkv6-2x64.safetensors"), &plain_gguf, &plain(Target::Gguf));
    let file = ModelFile::open(&plain_gguf).unwrap();
    let mut metadata = file.metadata().clone();
    assert_eq!(metadata.u64("rwkv6.rescale_every_n_layers"), Some(0));
    metadata.insert("rwkv6.rescale_every_n_layers", 1u32);
    let specs: Vec<_> = file.tensors().iter().map(|tensor| tensor.spec()).collect();
    let divided = folder.path().join("divided.gguf");
    let mut writer = wingbeat_format::gguf::Writer::create(&divided, &metadata, &specs).unwrap();
    for tensor in file.tensors() {
        let is_divided =
            ["blk.1.time_mix_output.weight", "blk.1.channel_mix_value.weight"].contains(&&*tensor.name);
        let factor = if is_divided { 0.5 } else { 1.0 };
        let values: Vec<f32> = tensor.to_f32().iter().map(|x| x * factor).collect();
        let mut bytes = Vec::new();
        tensor.dtype.encode_row(&values, &mut bytes).unwrap();
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap();
    assert!(relative(&logits(&divided), &logits(&plain_gguf)) < 1e-5);
    let original = ModelFile::open(fixture("rwkv6-2x64.safetensors")).unwrap();
    for target in [Target::Safetensors, Target::Pth, Target::RwkvCpp] {
        let path = folder.path().join(format!("{target:?}"));
        to(&divided, &path, &plain(target));
        same_weights(&original, &ModelFile::open(&path).unwrap(), false, &format!("{target:?}"));
        // And from there on nothing is said of it any more.
        to(&path, &plain_gguf, &plain(Target::Gguf));
        let again = ModelFile::open(&plain_gguf).unwrap();
        assert_eq!(again.metadata().u64("rwkv6.rescale_every_n_layers"), Some(0));
    }
    // A GGUF stays what it is.
    let copy = folder.path().join("copy.gguf");
    to(&divided, &copy, &plain(Target::Gguf));
    assert_eq!(ModelFile::open(&copy).unwrap().metadata().u64("rwkv6.rescale_every_n_layers"), Some(1));
    assert!(relative(&logits(&copy), &logits(&divided)) < 1e-6);
}

#[test]
fn types_and_versions_that_a_format_lacks_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |source: &str, to: Target, mix: Option<Mix>| {
        let source = ModelFile::open(fixture(source)).unwrap();
        let options = ConvertOptions { mix, to: Some(to), ..ConvertOptions::default() };
        convert(&source, &folder.path().join("x"), &options, &mut |_, _| true).unwrap_err().to_string()
    };
    let message = refusal("rwkv7-2x256-Q8_0.gguf", Target::Pth, None);
    assert!(
        message.contains("PyTorch checkpoint cannot hold Q8_0") && message.contains("--type f16"),
        "{message}"
    );
    let message = refusal("rwkv7-2x256-Q8_0.gguf", Target::HuggingFace, None);
    assert!(message.contains("cannot hold Q8_0") && message.contains("--type f16"), "{message}");
    let message = refusal("rwkv7-2x256-Q4_K_M.gguf", Target::RwkvCpp, None);
    assert!(
        message.contains("cannot hold Q4_K") && message.contains("choose --type f16, f32, q8_0"),
        "{message}"
    );
    let message = refusal("rwkv7-1x64.safetensors", Target::RwkvCpp, Some(Mix::BF16));
    assert!(message.contains("cannot hold BF16"), "{message}");
    let message = refusal("rwkv6-2x64.safetensors", Target::HuggingFace, None);
    assert!(message.contains("fla's layout is RWKV-7's") && message.contains("RWKV-6"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_replaces_a_model_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model");
    let source = ModelFile::open(fixture("rwkv7-1x64.safetensors")).unwrap();
    let vocabulary = Vocabulary::from_text("v", b"1 'a' 1\n").unwrap();
    let options = ConvertOptions { vocabulary: Some(vocabulary), ..plain(Target::HuggingFace) };
    convert(&source, &target, &options, &mut |_, _| true).unwrap();
    assert!(target.join("vocab.txt").is_file());
    // Stopped: the old one stays, and nothing beside it.
    let stopped = convert(&source, &target, &plain(Target::HuggingFace), &mut |done, _| done < 3);
    assert!(stopped.unwrap_err().to_string().contains("stopped after 3"));
    assert!(target.join("vocab.txt").is_file());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // From the folder into the folder: its maps outlive the files.
    let from_it = ModelFile::open(&target).unwrap();
    convert(&from_it, &target, &ConvertOptions { mix: Some(Mix::F16), ..options.clone() }, &mut |_, _| true)
        .unwrap();
    let tensor = "model.layers.0.attn.k_proj.weight";
    assert_eq!(ModelFile::open(&target).unwrap().tensor(tensor).unwrap().dtype, DType::F16);
    std::fs::write(target.join("thesis.tex"), "mine").unwrap();
    let message = convert(&from_it, &target, &options, &mut |_, _| true).unwrap_err().to_string();
    assert!(message.contains("thesis.tex") && message.contains("nothing there"), "{message}");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(convert(&source, &file, &plain(Target::HuggingFace), &mut |_, _| true).is_err());
    assert_eq!(std::fs::read_to_string(target.join("thesis.tex")).unwrap(), "mine");
}
