//! Finding the format, what all formats share, and real files.

use std::path::PathBuf;

use super::*;
use crate::DType;

fn refusal(bytes: &[u8]) -> String {
    ModelFile::from_vec("model.bin", bytes.to_vec()).expect_err("it is no model").to_string()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A fixture of the workspace, or `None` (and a note) where only this crate is at hand.
fn open_fixture(name: &str) -> Option<ModelFile> {
    let path = fixture(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(ModelFile::open(path).expect("fixtures are good files"))
}

#[test]
fn says_what_a_file_is_not() {
    assert_eq!(
        refusal(b""),
        "model.bin: expected a GGUF, safetensors, .pth or rwkv.cpp file, found an empty file (0 bytes)"
    );
    let message = refusal(b"hello\n\"you\"");
    assert_eq!(
        message,
        r#"model.bin: not a GGUF, safetensors, .pth or rwkv.cpp file (first bytes 68 65 6c 6c 6f 0a 22 79 "hello\n\"y")"#
    );
    assert!(refusal(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M").contains("from before 1.6"));
    assert!(refusal(b"\x80\x02}q\x00.").contains("a pickle"));
    assert!(refusal(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS pointer"));
    assert!(refusal(b"<!DOCTYPE html>").contains("web page"));
    assert!(refusal(b"FUGG\0\0\0\x03").contains("big-endian"));
    assert!(refusal(b"G").contains("first bytes 47 \"G\""));
}

#[test]
fn says_what_a_path_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let refusal =
        |path: PathBuf| (ModelFile::open(&path).unwrap_err().to_string(), path.display().to_string());
    let (message, path) = refusal(directory.path().to_path_buf());
    assert!(message.starts_with(&format!("{path}: folder: expected model.safetensors, or one")), "{message}");
    assert!(message.ends_with("found none"), "{message}");
    let (message, path) = refusal(directory.path().join("absent.gguf"));
    assert!(message.starts_with(&format!("{path}: cannot open: ")), "{message}");
    let empty = directory.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    let (message, path) = refusal(empty);
    assert_eq!(
        message,
        format!("{path}: expected a GGUF, safetensors, .pth or rwkv.cpp file, found an empty file (0 bytes)")
    );
    #[cfg(unix)]
    assert!(refusal(PathBuf::from("/dev/null")).0.contains("a device"));
}

#[test]
fn opens_ggufs_of_llama_cpp() {
    for (name, types) in [
        ("rwkv7-2x256-Q8_0.gguf", vec![DType::Q8_0]),
        ("rwkv7-2x256-Q4_K_M.gguf", vec![DType::Q4K, DType::Q6K]),
    ] {
        let Some(file) = open_fixture(name) else { return };
        assert_eq!((file.format(), file.format_version(), file.tensors().len()), (FileFormat::Gguf, 3, 62));
        assert!(file.label().ends_with(name) && format!("{file:?}").contains("62 tensors"));
        let metadata = file.metadata();
        assert_eq!(metadata.len(), 23);
        assert_eq!(metadata.str("general.architecture"), Some("rwkv7"));
        assert_eq!(metadata.u64("rwkv7.embedding_length"), Some(256));
        assert_eq!(metadata.f32("rwkv7.attention.layer_norm_epsilon"), Some(1e-5));
        let tokens = metadata.strings("tokenizer.ggml.tokens").expect("the vocabulary");
        assert_eq!((tokens.len(), tokens.iter().nth(1)), (512, Some(&b"\\x00"[..])));
        assert_eq!(file.tensor("token_embd.weight").map(|t| t.shape.clone()), Some(vec![512, 256]));
        assert_eq!(
            file.tensor("blk.0.channel_mix_key.weight").map(|t| t.shape.clone()),
            Some(vec![1024, 256])
        );
        assert!(file.tensor("absent").is_none());
        for dtype in types.into_iter().chain([DType::F32, DType::F16]) {
            assert!(file.tensors().iter().any(|t| t.dtype == dtype), "{name} has {dtype:?}");
        }
        for tensor in file.tensors() {
            assert!(std::ptr::eq(file.tensor(&tensor.name).expect("found by its name"), tensor));
            assert!(tensor.data.is_mapped());
            assert_eq!(tensor.to_f32().len(), tensor.n_elements());
        }
    }
}

/// The same weights in three types of block. A misplaced group, nibble or scale would leave no likeness: the
/// weights are random.
#[test]
fn quantized_values_resemble_each_other() {
    let (Some(q8), Some(q4)) =
        (open_fixture("rwkv7-2x256-Q8_0.gguf"), open_fixture("rwkv7-2x256-Q4_K_M.gguf"))
    else {
        return;
    };
    for coarse in q4.tensors() {
        let bound = match coarse.dtype {
            // Steps of the groups' range over 15 and over 63: for normal values about 0.08 and 0.02 of their
            // size.
            DType::Q4K => 0.1,
            DType::Q6K => 0.025,
            _ => 0.0,
        };
        let fine = q8.tensor(&coarse.name).expect("both files have the same tensors").to_f32();
        let (mut error, mut size) = (0.0, 0.0);
        for (a, b) in coarse.to_f32().iter().zip(&fine) {
            error += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
        assert!(error.sqrt() <= bound * size.sqrt(), "{}: {} of {}", coarse.name, error.sqrt(), size.sqrt());
    }
}

/// Every type that llama.cpp's quantizer makes, against the same weights in F16.
#[test]
fn every_quantized_type_resembles_f16() {
    let Some(models) = std::env::var_os("WINGBEAT_MODELS") else {
        println!("skipped: WINGBEAT_MODELS is not set");
        return;
    };
    let open = |name: &str| {
        ModelFile::open(PathBuf::from(&models).join("quant").join(format!("rwkv7-2x256-{name}.gguf")))
            .unwrap()
    };
    let fine = open("F16");
    let mut seen = Vec::new();
    for name in ["Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"] {
        let file = open(name);
        assert_eq!(file.tensors().len(), fine.tensors().len());
        for coarse in file.tensors() {
            // What llama.cpp's quantizer loses of these random weights, and up to a quarter more.
            let bound = match coarse.dtype {
                DType::Q2K => 0.36,
                DType::Q3K => 0.18,
                DType::Q4_0 | DType::Q4_1 => 0.1,
                DType::Q4K => 0.08,
                DType::Q5_0 => 0.05,
                DType::Q5K => 0.042,
                DType::Q6K => 0.021,
                DType::Q8_0 => 0.0065,
                _ => 0.0,
            };
            let fine = fine.tensor(&coarse.name).expect("both files have the same tensors").to_f32();
            let (mut error, mut size) = (0.0, 0.0);
            for (a, b) in coarse.to_f32().iter().zip(&fine) {
                error += f64::from(a - b).powi(2);
                size += f64::from(*b).powi(2);
            }
            let relative = (error / size.max(f64::MIN_POSITIVE)).sqrt();
            assert!(relative <= bound, "{name}: {} in {:?}: {relative}", coarse.name, coarse.dtype);
            // A bound far above what the type really loses would hide a wrong bit.
            assert!(relative >= bound / 1.5, "{name}: {}: {relative}", coarse.name);
            seen.push(coarse.dtype);
        }
    }
    for dtype in DType::all().filter(|dtype| dtype.is_quantized() && *dtype != DType::Q5_1) {
        assert!(seen.contains(&dtype), "no file has {}", dtype.name());
    }
}

#[test]
fn opens_safetensors_of_every_shape() {
    for name in ["rwkv7-1x64", "rwkv7-2x96-head32", "rwkv7-3x128-odd-ranks"] {
        let Some(file) = open_fixture(&format!("{name}.safetensors")) else { return };
        assert_eq!((file.format(), file.format_version()), (FileFormat::Safetensors, 1));
        let embedding = file.tensor("emb.weight").expect("every RWKV has one");
        assert_eq!(embedding.dtype, DType::F32);
        assert!(embedding.to_f32().iter().all(|x| x.is_finite()));
        let expected =
            open_fixture(&format!("{name}.expected.safetensors")).expect("its results are beside it");
        let logits = expected.tensor("0.logits").expect("the first prompt's logits");
        assert_eq!(logits.shape.last(), embedding.shape.first());
        assert_eq!(logits.to_f32().len(), logits.n_elements());
    }
}

/// What one writer writes of another format's file reads back the same: tensors, bytes, metadata.
#[test]
fn a_model_survives_copying() {
    let Some(file) = open_fixture("rwkv7-2x256-Q4_K_M.gguf") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.gguf");
    let specs: Vec<_> = file.tensors().iter().map(Tensor::spec).collect();
    let mut writer = gguf::Writer::create(&path, file.metadata(), &specs).unwrap();
    for tensor in file.tensors() {
        writer.write(&tensor.data).unwrap();
    }
    writer.finish().unwrap();
    let copy = ModelFile::open(&path).unwrap();
    assert_eq!(copy.metadata(), file.metadata());
    assert!(*copy.bytes() == *file.bytes(), "llama.cpp lays its files out in the same way");

    // And onto the file that is mapped, changed: the map keeps the old contents.
    let mut metadata = copy.metadata().clone();
    metadata.insert("general.name", "renamed");
    let mut writer = gguf::Writer::create(&path, &metadata, &specs).unwrap();
    for tensor in copy.tensors() {
        writer.write(&tensor.data).unwrap();
    }
    if cfg!(windows) {
        return; // the system lets nobody replace a mapped file
    }
    writer.finish().unwrap();
    assert!(*copy.bytes() == *file.bytes());
    assert_eq!(ModelFile::open(&path).unwrap().metadata().str("general.name"), Some("renamed"));
}

/// A file shortened under its map: on Unix an error when asked, not a dead process.
#[cfg(unix)]
#[test]
fn a_file_shortened_under_its_map_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let spec = crate::TensorSpec { name: "w".to_owned(), dtype: DType::F32, shape: vec![1 << 20] };
    let mut writer = crate::safetensors::Writer::create(&path, &crate::Metadata::new(), &[spec]).unwrap();
    let ones: Vec<u8> = std::iter::repeat_n(1.0f32.to_le_bytes(), 1 << 20).flatten().collect();
    writer.write(&ones).unwrap();
    writer.finish().unwrap();
    let file = ModelFile::open(&path).unwrap();
    let other = ModelFile::open(&path).unwrap();
    file.check_intact().unwrap();
    let shorten = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    shorten.set_len(1 << 16).unwrap();
    let tensor = file.tensor("w").unwrap();
    // What is left is still there, what is gone reads as zeros.
    let values = tensor.to_f32();
    assert_eq!(values[0], 1.0);
    assert_eq!(values[(1 << 20) - 1], 0.0);
    let error = file.check_intact().unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("shortened"), "{error}");
    // Another map of the same file knows only of what was read through it.
    other.check_intact().unwrap();
}
