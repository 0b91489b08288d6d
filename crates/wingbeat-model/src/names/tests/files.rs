//! Whole files in the layouts that are not the official one: what is found in them, and what is said of those that lack
//! something.

use crate::{Catalog, ForwardOptions, Layout, Sequence, Version, Want};
use std::path::PathBuf;
use wingbeat_backend::{Backend, reference::Reference};
use wingbeat_format::{Bytes, DType, Metadata, ModelFile, TensorSpec, gguf, rwkv_cpp, safetensors};

struct Item {
    spec: TensorSpec,
    bytes: Vec<u8>,
}

fn fixture(name: &str) -> ModelFile {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    ModelFile::open(path).unwrap()
}

fn logits(file: &ModelFile) -> Vec<f32> {
    let model = Version::load(file, &Reference).unwrap();
    let mut state = Reference.state(model.state_layout()).unwrap();
    let sequence = Sequence { state: &mut state, tokens: &[1, 2, 3], want: Want::LAST_LOGITS, taken: 0 };
    let mut outputs = Vec::new();
    model.run(&Reference, &mut [sequence], ForwardOptions::default(), &mut outputs, &mut |_| true).unwrap();
    outputs.remove(0).logits
}

fn error(file: &ModelFile) -> String {
    let message = Catalog::open(file).err().expect("a bad file").to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

fn transposed(tensor: &wingbeat_format::Tensor) -> (Vec<usize>, Vec<u8>) {
    let [rows, cols] = tensor.shape[..] else { panic!("a matrix") };
    let value = |i: usize, j: usize| &tensor.data[4 * (i * cols + j)..][..4];
    let bytes = (0..cols).flat_map(|j| (0..rows).flat_map(move |i| value(i, j).to_vec())).collect();
    (vec![cols, rows], bytes)
}

/// The fixture as fla's converter makes it of an official checkpoint.
fn hugging_face() -> Vec<Item> {
    let source = fixture("rwkv7-2x96-head32.safetensors");
    let mut items = Vec::new();
    for tensor in source.tensors() {
        let (layer, name) = match tensor.name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
            Some((layer, name)) => (Some(layer.parse().unwrap()), name),
            None => (None, tensor.name.as_str()),
        };
        let Some(row) = Version::V7.table().iter().find(|row| row.name == name) else { continue };
        if layer == Some(0) && ["att.v0", "att.v1", "att.v2"].contains(&name) {
            continue;
        }
        let (shape, bytes) = match name.as_bytes() {
            [b'a', b't', b't', b'.', b'w' | b'a' | b'v' | b'g', b'1' | b'2'] => transposed(tensor),
            _ => (tensor.shape.clone(), tensor.data.to_vec()),
        };
        let name = Layout::HuggingFace.tensor_name(row.name, row.gguf, layer);
        items.push(Item { spec: TensorSpec { name, dtype: tensor.dtype, shape }, bytes });
    }
    items
}

const CONFIG: &str =
    r#"{"head_dim": 32, "norm_eps": 1e-5, "num_hidden_layers": 2, "group_norm_eps": 0.00064}"#;

/// A folder of these tensors, with a configuration beside them.
fn folder(items: &[Item], config: &str) -> ModelFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    let mut writer = safetensors::Writer::create(&path, &Metadata::new(), &specs).unwrap();
    items.iter().for_each(|item| writer.write(&item.bytes).unwrap());
    writer.finish().unwrap();
    let model = Bytes::from_vec(std::fs::read(path).unwrap());
    let config = Bytes::from_vec(config.as_bytes().to_vec());
    let files = vec![("model.safetensors".to_owned(), model), ("config.json".to_owned(), config)];
    ModelFile::from_files("some/model", files).unwrap()
}

#[test]
fn a_hugging_face_folder_is_the_same_model() {
    let expected = logits(&fixture("rwkv7-2x96-head32.safetensors"));
    let file = folder(&hugging_face(), CONFIG);
    assert_eq!((Layout::of(&file), Version::detect(&file).unwrap()), (Layout::HuggingFace, Version::V7));
    assert_eq!(logits(&file), expected);
    assert_eq!(Catalog::open(&file).unwrap().config().name, "model");
    // fla's own rule for the epsilon, where nothing else is said.
    let plain = folder(&hugging_face(), r#"{"norm_eps": 1e-5}"#);
    assert_eq!(Catalog::open(&plain).unwrap().config().group_norm_eps, 32.0 * 1e-5);

    // The first version's fused token-shift vectors.
    let mut items = hugging_face();
    for layer in 0..2 {
        let name = |letter: char| format!("model.layers.{layer}.attn.x_{letter}");
        let at =
            |items: &[Item], letter| items.iter().position(|item| item.spec.name == name(letter)).unwrap();
        let bytes = "rwkvag".chars().flat_map(|letter| items[at(&items, letter)].bytes.clone()).collect();
        items.retain(|item| !"rwkvag".chars().any(|letter| item.spec.name == name(letter)));
        let spec = TensorSpec { name: name('x'), dtype: DType::F32, shape: vec![6, 96] };
        items.push(Item { spec, bytes });
    }
    assert_eq!(logits(&folder(&items, CONFIG)), expected);

    // Embeddings that are the head as well, where the configuration says so.
    let mut items = hugging_face();
    items.retain(|item| item.spec.name != "lm_head.weight");
    assert!(error(&folder(&items, CONFIG)).contains("tensor `lm_head.weight` is missing"));
    let tied = CONFIG.replace('{', "{\"tie_word_embeddings\": true,");
    let catalog = Catalog::open(&folder(&items, &tied)).unwrap();
    let [emb, head] = ["emb.weight", "head.weight"].map(|name| catalog.get(name, None).unwrap());
    assert_eq!(emb.data, head.data);
}

#[test]
fn what_a_folder_lacks_or_contradicts_is_named() {
    for missing in
        ["model.layers.1.attn.v_lora.lora.2.bias", "model.layers.0.pre_norm.weight", "model.norm.bias"]
    {
        let mut items = hugging_face();
        items.retain(|item| item.spec.name != missing);
        let message = error(&folder(&items, CONFIG));
        assert!(
            message.contains("some/model") && message.contains(&format!("`{missing}` is missing")),
            "{message}"
        );
    }
    for (from, to, parts) in [
        ("32", "64", ["config.head_dim is 64", "32, as the shape"]),
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
            ["config.num_hidden_layers is 3", "expected 2"],
        ),
        ("1e-5", "2.5", ["config.norm_eps is 2.5", "between 0 and 1"]),
        ("0.00064", "-1.0", ["config.group_norm_eps is -1", "between 0 and 1"]),
        ("{", "{\"attn\": {\"layers\": [0]},", ["config.attn", "no RWKV"]),
    ] {
        let message = error(&folder(&hugging_face(), &CONFIG.replacen(from, to, 1)));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn an_rwkv_cpp_file_says_how_many_layers_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let source = fixture("rwkv6-2x64.safetensors");
    // Shapes are not looked at before the number of layers.
    for (n_layer, found) in [(2, "att.time_faaaa"), (3, "rwkv.cpp.n_layer is 3, expected 2")] {
        let path = directory.path().join("m.bin");
        let header = rwkv_cpp::Header { n_vocab: 128, n_embed: 64, n_layer, dtype: DType::F32 };
        let named = |name: &str| {
            source.tensors().iter().filter(|t| t.name.contains(name)).cloned().collect::<Vec<_>>()
        };
        let tensors = [named("emb"), named("ffn.key"), named("time_maa_x")].concat();
        let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec()).collect();
        let mut writer = rwkv_cpp::Writer::create(&path, &header, &specs).unwrap();
        tensors.iter().for_each(|tensor| writer.write(&tensor.data).unwrap());
        writer.finish().unwrap();
        let file = ModelFile::open(&path).unwrap();
        assert_eq!(Version::detect(&file).unwrap(), Version::V6);
        let message = error(&file);
        assert!(message.contains(found), "{message}");
    }
}

#[test]
fn other_models_with_recurrences_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for architecture in ["rwkv6qwen2", "arwkv7", "llama"] {
        let path = directory.path().join("m.gguf");
        let metadata: Metadata = [("general.architecture", architecture)].into_iter().collect();
        gguf::Writer::create(&path, &metadata, &[]).unwrap().finish().unwrap();
        let message = error(&ModelFile::open(&path).unwrap());
        assert!(
            message.contains(&format!("architecture `{architecture}`")) && message.contains("RWKV-6"),
            "{message}"
        );
        assert_eq!(message.contains("a Qwen2"), architecture != "llama", "{message}");
    }
}
