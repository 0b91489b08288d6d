//! Conversion: nothing is lost that the target holds, whatever the direction.

use std::path::{Path, PathBuf};
use wingbeat::{
    CpuOptions, DType, Device, Model, ModelFile, ModelOptions, Sequence, Vocabulary, Want,
    convert::{ConvertOptions, Mix, convert},
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn to(source: &Path, target: &Path, mix: Option<Mix>) -> wingbeat::convert::Converted {
    let source = ModelFile::open(source).unwrap();
    convert(&source, target, &ConvertOptions { mix, ..ConvertOptions::default() }, &mut |_, _| true).unwrap()
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

const SAFETENSORS: [&str; 3] =
    ["rwkv7-1x64.safetensors", "rwkv7-2x96-head32.safetensors", "rwkv7-3x128-odd-ranks.safetensors"];

#[test]
fn f32_there_and_back_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in SAFETENSORS {
        let (gguf, back) = (folder.path().join("a.gguf"), folder.path().join("b.safetensors"));
        to(&fixture(name), &gguf, None);
        to(&gguf, &back, None);
        let (original, back) = (ModelFile::open(fixture(name)).unwrap(), ModelFile::open(&back).unwrap());
        for tensor in back.tensors() {
            let source =
                original.tensor(&tensor.name).unwrap_or_else(|| panic!("{name}: {} is new", tensor.name));
            assert_eq!(source.shape, tensor.shape, "{name}: {}", tensor.name);
            assert_eq!(source.dtype, tensor.dtype, "{name}: {}", tensor.name);
            assert_eq!(&*source.data, &*tensor.data, "{name}: {}", tensor.name);
        }
        assert_eq!(back.tensors().len(), original.tensors().len(), "{name}");
        // Row-major and transposed low-rank matrices go through different kernels.
        let differences = relative(&logits(&gguf), &logits(&fixture(name)));
        assert!(differences < 1e-5, "{name}: {differences}");
    }
}

#[test]
fn every_type_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("rwkv7-2x256-Q8_0.gguf");
    let expected = logits(&source);
    // The largest of 12288 differences: several times the root mean square, which is 0.03, 0.06 and 0.13 for the last three.
    let limits = [
        (Mix::F32, 1e-5),
        (Mix::F16, 3e-3),
        (Mix::BF16, 3e-2),
        (Mix::Q8_0, 1e-5),
        (Mix::Q6_K, 0.2),
        (Mix::Q5_K_M, 0.4),
        (Mix::Q4_K_M, 1.5),
    ];
    for (mix, limit) in limits {
        for ending in ["gguf", "safetensors", "st"] {
            let target = folder.path().join(format!("m.{ending}"));
            let source = ModelFile::open(&source).unwrap();
            let options = ConvertOptions { mix: Some(mix), ..ConvertOptions::default() };
            let result = convert(&source, &target, &options, &mut |_, _| true);
            if mix.matrices().is_quantized() && ending != "gguf" {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("safetensors cannot hold Q") && error.contains("m."), "{error}");
                assert!(!target.exists());
                continue;
            }
            result.unwrap();
            let difference = relative(&logits(&target), &expected);
            assert!(difference < limit, "{} {ending}: {difference}", mix.name());
            std::fs::remove_file(&target).unwrap();
        }
    }
}

/// Types and shapes of every tensor, and the numbers in the metadata.
#[test]
fn mixes_are_those_of_llama_cpp() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.gguf");
    to(&fixture("rwkv7-2x256-Q8_0.gguf"), &target, Some(Mix::Q4_K_M));
    let (ours, theirs) =
        (ModelFile::open(&target).unwrap(), ModelFile::open(fixture("rwkv7-2x256-Q4_K_M.gguf")).unwrap());
    assert_eq!(ours.tensors().len(), theirs.tensors().len());
    for expected in theirs.tensors() {
        let found = ours.tensor(&expected.name).unwrap();
        assert_eq!((found.dtype, &found.shape), (expected.dtype, &expected.shape), "{}", found.name);
    }
    for key in ["general.file_type", "general.quantization_version"] {
        assert_eq!(ours.metadata().u64(key), theirs.metadata().u64(key), "{key}");
    }
}

/// Rows of 384 and 1536 values: what llama.cpp's quantizer makes of the demo model.
#[test]
fn rows_without_whole_blocks_get_smaller_ones() {
    let folder = tempfile::tempdir().unwrap();
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/wingbeat-demo-26m-q8_0.gguf");
    for (name, file_type, head, wide, narrow) in [
        ("q6_k", 18, DType::Q8_0, DType::Q6K, DType::Q8_0),
        ("q5_k", 17, DType::Q8_0, DType::Q5K, DType::Q5_1),
        ("Q4_K_M", 15, DType::Q8_0, DType::Q4K, DType::Q5_0),
        ("q3_k_m", 12, DType::Q8_0, DType::Q3K, DType::Q4_0),
        ("q4_0", 2, DType::Q8_0, DType::Q4_0, DType::Q4_0),
    ] {
        let target = folder.path().join("demo.gguf");
        to(&demo, &target, Mix::parse(name));
        let file = ModelFile::open(&target).unwrap();
        let dtype = |tensor: &str| file.tensor(tensor).unwrap().dtype;
        assert_eq!(dtype("output.weight"), head, "{name}");
        assert_eq!(dtype("blk.3.channel_mix_value.weight"), wide, "{name}");
        for tensor in ["token_embd.weight", "blk.3.channel_mix_key.weight", "blk.3.time_mix_output.weight"] {
            assert_eq!(dtype(tensor), narrow, "{name} {tensor}");
        }
        assert_eq!(dtype("blk.3.time_mix_w1.weight"), DType::F32);
        assert_eq!(dtype("blk.3.time_mix_a1.weight"), DType::F16);
        assert_eq!(file.metadata().u64("general.file_type"), Some(file_type), "{name}");
        // Converting again asks for nothing and says the same.
        let copy = folder.path().join("copy.gguf");
        to(&target, &copy, None);
        assert_eq!(ModelFile::open(&copy).unwrap().metadata().u64("general.file_type"), Some(file_type));
    }
}

#[test]
fn mixes_have_names() {
    for mix in Mix::NAMED {
        assert_eq!(Mix::parse(mix.name()), Some(mix));
        assert_eq!(Mix::parse(&mix.name().to_uppercase()), Some(mix));
    }
    assert_eq!(Mix::parse("q4_k"), Some(Mix::Q4_K_M));
    assert_eq!((Mix::parse("iq4_xs"), Mix::parse(""), Mix::parse("q4")), (None, None, None));
}

#[test]
fn vocabulary_and_template_travel() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("rwkv7-2x256-Q8_0.gguf");
    let (st, gguf) = (folder.path().join("a.st"), folder.path().join("b.gguf"));
    assert!(to(&source, &st, Some(Mix::F16)).has_vocabulary);
    assert!(to(&st, &gguf, None).has_vocabulary);
    let text = "the man, he said: \"it's \u{e9}t\u{e9}\"\n\n".as_bytes();
    let models = [&source, &st, &gguf].map(|path| Model::open(path).unwrap());
    let expected = models[0].tokenizer().unwrap().encode(text).unwrap();
    for model in &models {
        let tokenizer = model.tokenizer().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), expected);
        assert_eq!(tokenizer.vocabulary().len(), 512);
        assert_eq!(model.chat_template().name, "rwkv-world");
    }
    let (a, b) = (ModelFile::open(&source).unwrap(), ModelFile::open(&gguf).unwrap());
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "rwkv7.attention.decay_lora_rank"] {
        assert_eq!(a.metadata().get(key), b.metadata().get(key), "{key}");
    }
}

#[test]
fn a_gguf_copy_has_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rwkv7-2x256-Q8_0.gguf", "rwkv7-2x256-Q4_K_M.gguf"] {
        let copy = folder.path().join(name);
        to(&fixture(name), &copy, None);
        let (a, b) = (ModelFile::open(fixture(name)).unwrap(), ModelFile::open(&copy).unwrap());
        assert_eq!(a.tensors().len(), b.tensors().len());
        for tensor in a.tensors() {
            let other = b.tensor(&tensor.name).unwrap();
            assert_eq!((tensor.dtype, &tensor.shape), (other.dtype, &other.shape), "{}", tensor.name);
            // The first layer's value-residual tensors are not used and are written as llama.cpp's converter does.
            if !tensor.name.starts_with("blk.0.time_mix_v") || tensor.name.contains("value") {
                assert_eq!(&*tensor.data, &*other.data, "{}", tensor.name);
            }
        }
        assert_eq!(a.metadata().len(), b.metadata().len());
    }
}

#[test]
fn a_given_vocabulary_goes_in_and_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelFile::open(fixture("rwkv7-3x128-odd-ranks.safetensors")).unwrap();
    let text: String = (0..130).map(|i| format!("{} '\\x{:02x}' 1\n", i + 1, i)).collect();
    let text: String = text.lines().take(100).map(|l| format!("{l}\n")).collect();
    let vocabulary = Vocabulary::from_text("test", text.as_bytes()).unwrap();
    let options = ConvertOptions { vocabulary: Some(vocabulary), ..ConvertOptions::default() };
    let target = folder.path().join("v.gguf");
    assert!(convert(&source, &target, &options, &mut |_, _| true).unwrap().has_vocabulary);
    assert_eq!(Model::open(&target).unwrap().tokenizer().unwrap().encode(b"AB").unwrap(), [66, 67]);
    let options = ConvertOptions {
        vocabulary: Some(Vocabulary::world()),
        name: Some("w".to_owned()),
        ..ConvertOptions::default()
    };
    let error = convert(&source, &target, &options, &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains("65529") && error.contains("131"), "{error}");
}

#[test]
fn stopped_or_refused_conversions_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelFile::open(fixture(SAFETENSORS[0])).unwrap();
    let target = folder.path().join("x.gguf");
    let error = convert(&source, &target, &ConvertOptions::default(), &mut |done, _| done < 5).unwrap_err();
    assert!(error.to_string().contains("stopped after 5"), "{error}");
    let bad = folder.path().join("x.onnx");
    assert!(convert(&source, &bad, &ConvertOptions::default(), &mut |_, _| true).is_err());
    let nowhere = folder.path().join("no/such/x.gguf");
    assert!(convert(&source, &nowhere, &ConvertOptions::default(), &mut |_, _| true).is_err());
    let options = ConvertOptions { mix: Some(Mix::Q4_K_M), ..ConvertOptions::default() };
    let quantized = folder.path().join("x.st");
    let error = convert(&source, &quantized, &options, &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains("x.st") && error.contains("choose --type f16"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
