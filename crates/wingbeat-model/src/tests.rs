//! Files that are nearly models: what the detector, the config and the catalog say about them; and the orientations
//! of low-rank matrices.

use crate::{Catalog, ForwardOptions, Layout, Sequence, Version, Want};
use std::path::{Path, PathBuf};
use wingbeat_backend::{Backend, Orientation, reference::Reference};
use wingbeat_format::{DType, Metadata, ModelFile, TensorSpec, Value, gguf, safetensors};

fn fixture(name: &str) -> ModelFile {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    ModelFile::open(path).unwrap()
}

/// A tensor to write.
#[derive(Clone)]
struct Item {
    spec: TensorSpec,
    bytes: Vec<u8>,
}

fn items(file: &ModelFile) -> Vec<Item> {
    file.tensors().iter().map(|t| Item { spec: t.spec(), bytes: t.data.to_vec() }).collect()
}

fn item<'a>(items: &'a mut [Item], name: &str) -> &'a mut Item {
    items.iter_mut().find(|item| item.spec.name == name).unwrap()
}

fn write(path: &Path, metadata: &Metadata, items: &[Item]) -> ModelFile {
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    if path.extension().is_some_and(|e| e == "gguf") {
        let mut writer = gguf::Writer::create(path, metadata, &specs).unwrap();
        items.iter().for_each(|item| writer.write(&item.bytes).unwrap());
        writer.finish().unwrap();
    } else {
        let mut writer = safetensors::Writer::create(path, metadata, &specs).unwrap();
        items.iter().for_each(|item| writer.write(&item.bytes).unwrap());
        writer.finish().unwrap();
    }
    ModelFile::open(path).unwrap()
}

/// The fixture with a change, as safetensors.
fn changed(folder: &Path, change: impl FnOnce(&mut Vec<Item>)) -> ModelFile {
    let mut items = items(&fixture("rwkv7-2x96-head32.safetensors"));
    change(&mut items);
    write(&folder.join("changed.safetensors"), &Metadata::new(), &items)
}

/// The GGUF fixture with a change.
fn changed_gguf(folder: &Path, change: impl FnOnce(&mut Metadata, &mut Vec<Item>)) -> ModelFile {
    let source = fixture("rwkv7-2x256-Q4_K_M.gguf");
    let mut metadata: Metadata = source.metadata().iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    let mut items = items(&source);
    change(&mut metadata, &mut items);
    write(&folder.join("changed.gguf"), &metadata, &items)
}

fn error(file: &ModelFile) -> String {
    let message = Version::load(file, &Reference).err().expect("a bad file").to_string();
    assert!(message.contains("changed."), "names the file: {message}");
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn dimensions_come_from_the_tensors() {
    let config = Version::V7.config(&fixture("rwkv7-3x128-odd-ranks.safetensors")).unwrap();
    assert_eq!((config.n_layers, config.n_channels, config.n_ffn, config.n_vocab), (3, 128, 512, 131));
    assert_eq!((config.n_heads, config.head_size), (2, 64));
    assert_eq!(config.low_ranks, [('w', 8), ('a', 12), ('v', 20), ('g', 36)]);
    let config = Version::V7.config(&fixture("rwkv7-2x96-head32.safetensors")).unwrap();
    assert_eq!((config.n_heads, config.head_size), (3, 32));
    // One layer: there is no value-residual pair anywhere.
    let config = Version::V7.config(&fixture("rwkv7-1x64.safetensors")).unwrap();
    assert_eq!((config.n_layers, config.low_rank('v')), (1, 0));
    let config = Version::V7.config(&fixture("rwkv7-2x256-Q8_0.gguf")).unwrap();
    assert_eq!((config.head_size, config.low_rank('g'), config.name.as_str()), (64, 64, "rwkv7-2x256"));
}

/// Every version, as a file of official names.
const VERSIONS: [(&str, Version); 5] = [
    ("rwkv4-2x64", Version::V4),
    ("rwkv5.1-2x64", Version::V5),
    ("rwkv5.2-2x64", Version::V5),
    ("rwkv6-2x64", Version::V6),
    ("rwkv7-2x96-head32", Version::V7),
];

#[test]
fn every_missing_tensor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (fixture_name, _) in VERSIONS {
        let all = items(&fixture(&format!("{fixture_name}.safetensors")));
        for missing in &all {
            let name = &missing.spec.name;
            let some: Vec<Item> = all.iter().filter(|item| item.spec.name != *name).cloned().collect();
            let file = write(&folder.path().join("changed.safetensors"), &Metadata::new(), &some);
            let message = match Version::load(&file, &Reference) {
                Err(_) => error(&file),
                // The first layer tells that there is a gate: without it, there is none.
                Ok(_) => {
                    assert!(fixture_name == "rwkv5.2-2x64" && name.starts_with("blocks.0"), "without {name}");
                    continue;
                }
            };
            assert!(message.contains(&format!("`{name}` is missing")), "without {name}: {message}");
        }
    }
}

#[test]
fn versions_and_their_dimensions_are_found() {
    for (name, version) in VERSIONS {
        let file = fixture(&format!("{name}.safetensors"));
        assert_eq!(Version::detect(&file).unwrap(), version, "{name}");
        let config = version.config(&file).unwrap();
        assert_eq!(config.version, version);
        if name.contains("-2x64") {
            assert_eq!((config.n_layers, config.n_channels, config.n_vocab), (2, 64, 128), "{name}");
        }
        let heads = [(64, 1), (2, 32), (2, 32), (2, 32), (3, 32)];
        let at = VERSIONS.iter().position(|v| v.0 == name).unwrap();
        assert_eq!((config.n_heads, config.head_size), heads[at], "{name}");
        let layout = version.state_layout(&config);
        assert_eq!(layout.slabs.len(), if version == Version::V4 { 5 } else { 3 }, "{name}");
    }
    let config = |name: &str| {
        let file = fixture(name);
        Version::detect(&file).unwrap().config(&file).unwrap()
    };
    assert_eq!(config("rwkv5.1-2x64.safetensors").n_decays, 2);
    assert_eq!(config("rwkv5.2-2x64.safetensors").n_decays, 64);
    assert_eq!(config("rwkv6-2x64.safetensors").low_ranks, [('m', 16), ('d', 24)]);
}

#[test]
fn missing_blocks_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let message =
        error(&changed_gguf(folder.path(), |_, items| items.retain(|i| !i.spec.name.starts_with("blk.1."))));
    assert!(message.contains("rwkv7.block_count is 2, expected 1"), "{message}");
    let message =
        error(&changed_gguf(folder.path(), |_, items| items.retain(|i| !i.spec.name.starts_with("blk.0."))));
    assert!(message.contains("`blk.0."), "{message}");
    let message = error(&changed(folder.path(), |items| {
        item(items, "blocks.1.att.key.weight").spec.name =
            "blocks.18446744073709551615.att.key.weight".to_owned();
    }));
    assert!(message.contains("`blocks.1.att.key.weight` is missing"), "{message}");
}

#[test]
fn wrong_shapes_say_expected_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("blocks.1.att.key.weight", vec![48, 192], "[96, 96]", "[48, 192]"),
        ("blocks.0.ffn.value.weight", vec![384, 96], "[96, 384]", "[384, 96]"),
        ("blocks.0.att.w2", vec![8, 192], "[96, 16] or [16, 96]", "[8, 192]"),
        ("blocks.1.ln2.bias", vec![48, 2], "", ""),
        ("head.weight", vec![96, 100], "[100, 96]", "[96, 100]"),
        ("emb.weight", vec![9600], "a matrix", "[9600]"),
    ];
    for (name, shape, expected, found) in cases {
        let file = changed(folder.path(), |items| item(items, name).spec.shape = shape);
        if expected.is_empty() {
            // A vector's values count, not its axes.
            Version::load(&file, &Reference).unwrap();
            continue;
        }
        let message = error(&file);
        assert!(message.contains(name) && message.contains(expected) && message.contains(found), "{message}");
    }
    let file = changed(folder.path(), |items| {
        let item = item(items, "blocks.0.att.x_r");
        item.spec.shape = vec![1, 1, 95];
        item.bytes.truncate(4 * 95);
    });
    let message = error(&file);
    assert!(
        message.contains("blocks.0.att.x_r") && message.contains("[96]") && message.contains("[1, 1, 95]"),
        "{message}"
    );
}

#[test]
fn metadata_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let with = |key: &str, value: Option<Value>| {
        changed_gguf(folder.path(), |metadata, _| {
            match value {
                Some(value) => metadata.insert(key, value),
                None => metadata.remove(key),
            };
        })
    };
    for size in [0u32, 7, 512, u32::MAX] {
        let message = error(&with("rwkv7.wkv.head_size", Some(Value::U32(size))));
        assert!(
            message.contains(&format!("rwkv7.wkv.head_size is {size}")) && message.contains("256"),
            "{message}"
        );
    }
    assert!(error(&with("rwkv7.wkv.head_size", None)).contains("head_size is missing"));
    for eps in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        let message = error(&with("rwkv7.attention.layer_norm_epsilon", Some(Value::F32(eps))));
        assert!(message.contains("layer_norm_epsilon"), "{message}");
    }
    let message = error(&with("general.architecture", Some(Value::from("llama"))));
    assert!(message.contains("`llama`") && message.contains("RWKV-7"), "{message}");
    let message = error(&with("general.architecture", None));
    assert!(message.contains("general.architecture"), "{message}");
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    // A model of a version, of which nearly everything is missing.
    for (name, version) in [
        ("blocks.0.att.r_k", Version::V7),
        ("blocks.0.att.time_maa_x", Version::V6),
        ("blocks.0.att.ln_x.weight", Version::V5),
        ("blocks.0.att.time_decay", Version::V4),
    ] {
        let spec = TensorSpec { name: name.to_owned(), dtype: DType::F32, shape: vec![1] };
        let items = [Item { spec, bytes: vec![0; 4] }];
        let file = write(&folder.path().join("changed.st"), &Metadata::new(), &items);
        assert_eq!(Version::detect(&file).unwrap(), version);
        assert!(error(&file).contains("`emb.weight` is missing"), "{}", error(&file));
    }
    for (name, found) in [
        ("model.layers.0.attn.x_r", "`model.embeddings.weight` is missing"),
        ("model.layers.0.self_attn.q_proj.weight", "there is no tensor `model.layers.0.attn.r_k`"),
        ("something.else", "not an RWKV model: there is no tensor `blocks.0.att.r_k`"),
    ] {
        let spec = TensorSpec { name: name.to_owned(), dtype: DType::F32, shape: vec![1] };
        let items = [Item { spec, bytes: vec![0; 4] }];
        let message = error(&write(&folder.path().join("changed.st"), &Metadata::new(), &items));
        assert!(message.contains(found), "{message}");
    }
}

#[test]
fn a_quantized_vector_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed_gguf(folder.path(), |_, items| {
        let item = item(items, "blk.1.time_mix_k_k.weight");
        item.spec.dtype = DType::Q8_0;
        item.bytes.truncate(256 / 32 * 34);
    });
    let message = error(&file);
    assert!(message.contains("blk.1.time_mix_k_k.weight") && message.contains("Q8_0"), "{message}");
}

/// Transposes every low-rank matrix of a file of official names.
fn transpose_low_rank(items: &mut [Item]) {
    for item in items {
        let name = &item.spec.name;
        let low_rank = ["w", "a", "v", "g"]
            .iter()
            .any(|l| name.ends_with(&format!("att.{l}1")) || name.ends_with(&format!("att.{l}2")));
        if !low_rank {
            continue;
        }
        let [rows, cols] = item.spec.shape[..] else { panic!("a matrix") };
        let source = item.bytes.clone();
        for i in 0..rows {
            for j in 0..cols {
                item.bytes[4 * (j * rows + i)..][..4].copy_from_slice(&source[4 * (i * cols + j)..][..4]);
            }
        }
        item.spec.shape = vec![cols, rows];
    }
}

fn logits(file: &ModelFile) -> Vec<f32> {
    let model = Version::load(file, &Reference).unwrap();
    let mut state = Reference.state(model.state_layout()).unwrap();
    let sequence = Sequence { state: &mut state, tokens: &[1, 2, 3], want: Want::LAST_LOGITS, taken: 0 };
    let mut outputs = Vec::new();
    model.run(&Reference, &mut [sequence], ForwardOptions::default(), &mut outputs, &mut |_| true).unwrap();
    outputs.remove(0).logits
}

#[test]
fn low_rank_matrices_lie_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let official = changed(folder.path(), |_| ());
    let expected = logits(&official);
    let transposed = changed(folder.path(), |items| transpose_low_rank(items));
    assert_eq!(logits(&transposed), expected);
    let orientation = |file: &ModelFile| {
        let config = Version::V7.config(file).unwrap();
        Catalog::new(file, &config).unwrap().get("att.w1", Some(0)).unwrap().orientation
    };
    assert_eq!(orientation(&official), Orientation::Transposed);
    assert_eq!(orientation(&transposed), Orientation::RowMajor);
}

/// Makes every low-rank matrix of rank `w` square: `C = R` hides its orientation.
#[test]
fn a_square_low_rank_matrix_lies_as_the_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let square = |items: &mut Vec<Item>| {
        for layer in 0..2 {
            for (i, side) in ["w1", "w2"].into_iter().enumerate() {
                let item = item(items, &format!("blocks.{layer}.att.{side}"));
                item.spec.shape = vec![96, 96];
                item.bytes = (0..96 * 96u32)
                    .flat_map(|n| (((n * 7919 + i as u32 * 31) % 101) as f32 * 1e-3 - 0.05).to_le_bytes())
                    .collect();
            }
        }
    };
    let official = changed(folder.path(), square);
    let expected = logits(&official);
    let transposed = changed(folder.path(), |items| {
        square(items);
        transpose_low_rank(items);
    });
    assert_eq!(logits(&transposed), expected);
}

#[test]
fn names_of_both_layouts() {
    assert_eq!(Layout::of(&fixture("rwkv7-2x256-Q8_0.gguf")), Layout::Gguf);
    let row = Version::V7.table().iter().find(|row| row.name == "att.x_a").unwrap();
    assert_eq!(Layout::Gguf.tensor_name(row.name, row.gguf, Some(4)), "blk.4.time_mix_lerp_fused.weight");
    assert_eq!(Layout::BlinkDl.tensor_name(row.name, row.gguf, Some(4)), "blocks.4.att.x_a");
    let row = Version::V7.table().iter().find(|row| row.name == "ln0.bias").unwrap();
    assert_eq!(Layout::Gguf.tensor_name(row.name, row.gguf, Some(0)), "token_embd_norm.bias");
}
