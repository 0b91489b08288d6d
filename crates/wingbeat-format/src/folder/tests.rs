//! Folders, whole and broken.

use std::fs;

use super::*;
use crate::{DType, TensorSpec, safetensors};

/// A safetensors file of tensors of one value.
fn shard(names: &[&str]) -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let spec = |name: &&str| TensorSpec { name: (*name).to_owned(), dtype: DType::F32, shape: vec![1] };
    let specs: Vec<TensorSpec> = names.iter().map(spec).collect();
    let metadata: Metadata = [("format", "pt")].into_iter().collect();
    let mut writer = safetensors::Writer::create(&path, &metadata, &specs).unwrap();
    names.iter().for_each(|name| writer.write(&(name.len() as f32).to_le_bytes()).unwrap());
    writer.finish().unwrap();
    Bytes::from_vec(fs::read(path).unwrap())
}

fn text(text: &str) -> Bytes {
    Bytes::from_vec(text.as_bytes().to_vec())
}

const A: &str = "model-00001-of-00002.safetensors";
const B: &str = "model-00002-of-00002.safetensors";

fn index(map: &[(&str, &str)]) -> Bytes {
    let map: Vec<String> = map.iter().map(|(tensor, shard)| format!("{tensor:?}:{shard:?}")).collect();
    text(&format!("{{\"metadata\":{{\"total_size\":8}},\"weight_map\":{{{}}}}}", map.join(",")))
}

fn files(list: &[(&str, Bytes)]) -> Vec<(String, Bytes)> {
    list.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
}

fn sharded() -> Vec<(String, Bytes)> {
    let map = [("model.a", A), ("model.bb", B), ("lm_head.weight", B)];
    files(&[(INDICES[0], index(&map)), (A, shard(&["model.a"])), (B, shard(&["model.bb", "lm_head.weight"]))])
}

fn with(name: &str, bytes: Bytes) -> Vec<(String, Bytes)> {
    let mut files = sharded();
    files.retain(|(other, _)| other != name);
    files.push((name.to_owned(), bytes));
    files
}

fn refused(files: Vec<(String, Bytes)>, parts: &[&str]) {
    let message = ModelFile::from_files("some/folder", files).expect_err("it should be refused").to_string();
    assert!(message.contains("folder") && !message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn shards_are_one_file() {
    let mut all = sharded();
    all.push((
        CONFIG.to_owned(),
        text(r#"{"head_dim": 64, "norm_eps": 1e-5, "attn": null, "value_dim": [1, 2], "fuse_norm": true, "x": -1}"#),
    ));
    all.push((
        TOKENIZER_CONFIG.to_owned(),
        text(r#"{"chat_template": [{"name": "default", "template": "T"}]}"#),
    ));
    all.push(("rwkv_vocab_v20230424.txt".to_owned(), text("1 'a' 1\n")));
    all.push(("vocab.txt".to_owned(), text("1 'b' 1\n")));
    let file = ModelFile::from_files("models/rwkv7-0.1b", all).unwrap();
    assert_eq!(
        (file.label(), file.format(), file.parts().len()),
        ("models/rwkv7-0.1b", FileFormat::Safetensors, 2)
    );
    let names: Vec<&str> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["model.a", "model.bb", "lm_head.weight"]);
    assert_eq!(file.tensor("model.bb").unwrap().to_f32(), [8.0]);
    assert_eq!(file.len_bytes(), file.parts().iter().map(|part| part.bytes.len() as u64).sum::<u64>());
    let metadata = file.metadata();
    assert_eq!(metadata.str("format"), Some("pt"));
    assert_eq!(metadata.str("general.name"), Some("rwkv7-0.1b"));
    assert_eq!((metadata.u64("config.head_dim"), metadata.f32("config.norm_eps")), (Some(64), Some(1e-5)));
    assert_eq!((metadata.get("config.attn"), metadata.str("config.value_dim")), (None, Some("[1,2]")));
    assert_eq!((metadata.bool("config.fuse_norm"), metadata.i64("config.x")), (Some(true), Some(-1)));
    assert_eq!(metadata.str(TEMPLATE_KEY), Some("T"));
    assert_eq!(metadata.str(VOCABULARY_KEY), Some("1 'a' 1\n"));
}

#[test]
fn what_an_index_says_must_be_so() {
    refused(with(B, Bytes::from_vec(Vec::new())), &[B, "empty"]);
    let without: Vec<_> = sharded().into_iter().filter(|(name, _)| name != B).collect();
    refused(without, &[&format!("file {B:?}"), "to be there", "found none"]);
    refused(with(B, shard(&["model.bb"])), &["\"lm_head.weight\"", B, "in no shard"]);
    refused(
        with(B, shard(&["model.bb", "lm_head.weight", "model.a"])),
        &["tensor \"model.a\"", A, "a second"],
    );
    let swapped = [("model.a", B), ("model.bb", B), ("lm_head.weight", A)];
    refused(with(INDICES[0], index(&swapped)), &["tensor \"model.a\"", "to be in", "found it in"]);
    for path in ["../secret", "/etc/passwd", "a\\b", "", ".hidden", "c:x"] {
        refused(with(INDICES[0], index(&[("model.a", path)])), &["weight_map", "names of files beside it"]);
    }
    refused(with(INDICES[0], index(&[])), &["weight_map", "none"]);
    refused(with(INDICES[0], text("{}")), &["weight_map"]);
    refused(with(INDICES[0], text("[")), &["index", "JSON"]);
    refused(with(INDICES[0], text(r#"{"weight_map": {"a": 1}}"#)), &["index"]);
    refused(with(CONFIG, text("{\"a\": ")), &["config.json", "JSON"]);
    let bin = b"fmgg\x65\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    refused(with(B, Bytes::from_vec(bin)), &[B, "safetensors, as the shards before it", "rwkv.cpp"]);
}

#[test]
fn other_folders_hold_one_file() {
    let one = shard(&["emb.weight"]);
    let file =
        ModelFile::from_files("f", files(&[("x.st", one.clone()), ("readme.md", text("hi"))])).unwrap();
    assert!(file.label().ends_with("x.st") && file.metadata().get("general.name").is_none());
    // `model.safetensors` comes before any other.
    let named = files(&[("x.st", text("?")), (SINGLE[0], one.clone()), (CONFIG, text("{\"a\":1}"))]);
    let file = ModelFile::from_files("f", named).unwrap();
    assert_eq!(file.metadata().get("config.a"), None, "official names: no configuration of theirs");
    refused(files(&[("a.st", one.clone()), ("b.gguf", one)]), &["\"a.st\" and \"b.gguf\""]);
    refused(Vec::new(), &["model.safetensors", "found none"]);
}

#[test]
fn every_path_into_a_folder_leads_to_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("models--me--tiny-7/snapshots/0a1b");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in with(CONFIG, text("{\"head_dim\": 2}")) {
        fs::write(folder.join(name), &*bytes).unwrap();
    }
    for path in
        [folder.clone(), folder.join(CONFIG), folder.join(INDICES[0]), folder.join(A), folder.join("../0a1b")]
    {
        let file = ModelFile::open(&path).unwrap();
        assert_eq!((file.tensors().len(), file.parts().len()), (3, 2), "{}", path.display());
        assert_eq!(file.metadata().u64("config.head_dim"), Some(2));
        assert_eq!(file.metadata().str("general.name"), Some("tiny-7"));
        assert!(file.tensors().iter().all(|tensor| tensor.data.is_mapped()));
    }
    // One file alone, with what lies beside it.
    let alone = directory.path().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::write(alone.join("any.safetensors"), &*shard(&["model.norm.weight"])).unwrap();
    fs::write(alone.join(CONFIG), "{\"head_dim\": 3}").unwrap();
    fs::write(alone.join(TEMPLATE_FILE), "jinja").unwrap();
    for path in [alone.clone(), alone.join("any.safetensors"), alone.join(CONFIG)] {
        let file = ModelFile::open(&path).unwrap();
        assert_eq!((file.metadata().u64("config.head_dim"), file.parts().len()), (Some(3), 1));
        assert_eq!(file.metadata().str(TEMPLATE_KEY), Some("jinja"));
    }
    fs::write(alone.join(CONFIG), "").unwrap();
    assert!(ModelFile::open(&alone).unwrap_err().to_string().contains("config.json: file: expected JSON"));
}
