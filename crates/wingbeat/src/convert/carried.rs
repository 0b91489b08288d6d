//! Metadata on their way from one format to another: names, templates, vocabularies, and keys that nobody here knows.
//!
//! GGUF has typed values, safetensors and our `.pth` have texts. A text goes as it is; other values go together into one
//! text, as JSON with their types, so that they come back as they were. What a writer says anew is left behind.

use super::Job;
use crate::model::SAFETENSORS_VOCABULARY;
use serde_json::{Map, Value as Json, json};
use wingbeat_format::{Array, Metadata, ModelFile, Value};

/// The text that has the values which are none.
const TYPED_KEY: &str = "wingbeat.metadata";
const NAME_KEY: &str = "general.name";
/// What belongs to a file, not to the model, or is written anew: lists of tokens, types, alignment, parts.
const LEFT_BEHIND: [&str; 12] = [
    "format",
    NAME_KEY,
    TYPED_KEY,
    SAFETENSORS_VOCABULARY,
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "general.file_type",
    "general.quantization_version",
    "general.alignment",
    "general.architecture",
];
const LEFT_BEHIND_PREFIXES: [&str; 2] = ["split.", "rwkv.cpp."];

/// Whether a key of the source goes along.
fn goes(job: &Job<'_>, key: &str) -> bool {
    let is_of_vocabulary = key.starts_with("tokenizer.ggml.");
    // Weights that were divided are multiplied again, in every format but GGUF.
    let is_rescale = key.ends_with(".rescale_every_n_layers");
    let stays = LEFT_BEHIND.contains(&key)
        || LEFT_BEHIND_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || is_of_vocabulary && job.replaces_vocabulary
        || is_rescale;
    !stays
}

/// The source's metadata, as they were before they became texts.
pub(super) fn of_source(job: &Job<'_>) -> Metadata {
    let mut metadata = Metadata::new();
    let Some(source) = job.source.map(ModelFile::metadata) else { return metadata };
    for (key, value) in source.iter().filter(|(key, _)| goes(job, key)) {
        metadata.insert(key, value.clone());
    }
    let typed = source.str(TYPED_KEY).and_then(|text| serde_json::from_str::<Map<String, Json>>(text).ok());
    for (key, value) in typed.into_iter().flatten().filter(|(key, _)| goes(job, key)) {
        if let Some(value) = value_of(&value) {
            metadata.insert(key, value);
        }
    }
    metadata
}

/// Everything for a format of texts, and whether a vocabulary is among it.
pub(super) fn texts(job: &Job<'_>) -> (Metadata, bool) {
    let mut metadata = Metadata::new();
    metadata.insert("format", "pt");
    metadata.insert(NAME_KEY, job.config.name.as_str());
    let mut typed = Map::new();
    for (key, value) in of_source(job).iter() {
        match value {
            Value::String(bytes) if std::str::from_utf8(bytes).is_ok() => {
                drop(metadata.insert(key, value.clone()))
            }
            _ => drop(json_of(value).map(|value| typed.insert(key.to_owned(), value))),
        }
    }
    if !typed.is_empty() {
        metadata.insert(TYPED_KEY, Json::Object(typed).to_string());
    }
    let vocabulary = vocabulary(job);
    let has_vocabulary = vocabulary.is_some();
    if let Some(text) = vocabulary {
        metadata.insert(SAFETENSORS_VOCABULARY, text);
    }
    (metadata, has_vocabulary)
}

/// The vocabulary as text, if it is one that must go along: the World one goes without saying.
pub(super) fn vocabulary(job: &Job<'_>) -> Option<String> {
    let text = String::from_utf8(job.vocabulary.as_ref()?.without_padding().to_text()).ok()?;
    let is_world = || {
        let world = wingbeat_tokenizer::Vocabulary::world().without_padding().to_text();
        world == text.as_bytes()
    };
    (job.config.n_vocab != 65536 || !is_world()).then_some(text)
}

/// The source's metadata for a GGUF, with their types.
pub(super) fn into_gguf(job: &Job<'_>, metadata: &mut Metadata) {
    for (key, value) in of_source(job).iter() {
        metadata.insert(key, value.clone());
    }
}

/// `["u32", 7]`
fn json_of(value: &Value) -> Option<Json> {
    Some(match value {
        Value::U8(x) => json!(["u8", x]),
        Value::I8(x) => json!(["i8", x]),
        Value::U16(x) => json!(["u16", x]),
        Value::I16(x) => json!(["i16", x]),
        Value::U32(x) => json!(["u32", x]),
        Value::I32(x) => json!(["i32", x]),
        // By its bits: every value comes back, also those that JSON has no number for.
        Value::F32(x) => json!(["f32", x.to_bits()]),
        Value::U64(x) => json!(["u64", x]),
        Value::I64(x) => json!(["i64", x]),
        Value::F64(x) => json!(["f64", x.to_bits()]),
        Value::Bool(x) => json!(["bool", x]),
        Value::String(x) => json!(["bytes", x]),
        Value::Array(Array::U8(x)) => json!(["[u8]", x]),
        Value::Array(Array::I8(x)) => json!(["[i8]", x]),
        Value::Array(Array::U16(x)) => json!(["[u16]", x]),
        Value::Array(Array::I16(x)) => json!(["[i16]", x]),
        Value::Array(Array::U32(x)) => json!(["[u32]", x]),
        Value::Array(Array::I32(x)) => json!(["[i32]", x]),
        Value::Array(Array::F32(x)) => json!(["[f32]", x.iter().map(|x| x.to_bits()).collect::<Vec<_>>()]),
        Value::Array(Array::U64(x)) => json!(["[u64]", x]),
        Value::Array(Array::I64(x)) => json!(["[i64]", x]),
        Value::Array(Array::F64(x)) => json!(["[f64]", x.iter().map(|x| x.to_bits()).collect::<Vec<_>>()]),
        Value::Array(Array::Bool(x)) => json!(["[bool]", x]),
        Value::Array(Array::Strings(x)) => json!(["[bytes]", x.iter().collect::<Vec<_>>()]),
        // None is known outside tests.
        Value::Array(Array::Nested(_)) => return None,
    })
}

/// The value that [`json_of`] has written, if it is one.
fn value_of(json: &Json) -> Option<Value> {
    fn of<T: serde::de::DeserializeOwned>(value: &Json) -> Option<T> {
        serde_json::from_value(value.clone()).ok()
    }
    let [Json::String(kind), value] = json.as_array()?.as_slice() else { return None };
    Some(match kind.as_str() {
        "u8" => Value::U8(of(value)?),
        "i8" => Value::I8(of(value)?),
        "u16" => Value::U16(of(value)?),
        "i16" => Value::I16(of(value)?),
        "u32" => Value::U32(of(value)?),
        "i32" => Value::I32(of(value)?),
        "f32" => Value::F32(f32::from_bits(of(value)?)),
        "u64" => Value::U64(of(value)?),
        "i64" => Value::I64(of(value)?),
        "f64" => Value::F64(f64::from_bits(of(value)?)),
        "bool" => Value::Bool(of(value)?),
        "bytes" => Value::String(of(value)?),
        "[u8]" => Array::U8(of(value)?).into(),
        "[i8]" => Array::I8(of(value)?).into(),
        "[u16]" => Array::U16(of(value)?).into(),
        "[i16]" => Array::I16(of(value)?).into(),
        "[u32]" => Array::U32(of(value)?).into(),
        "[i32]" => Array::I32(of(value)?).into(),
        "[f32]" => Array::F32(of::<Vec<u32>>(value)?.into_iter().map(f32::from_bits).collect()).into(),
        "[u64]" => Array::U64(of(value)?).into(),
        "[i64]" => Array::I64(of(value)?).into(),
        "[f64]" => Array::F64(of::<Vec<u64>>(value)?.into_iter().map(f64::from_bits).collect()).into(),
        "[bool]" => Array::Bool(of(value)?).into(),
        "[bytes]" => {
            let strings = of::<Vec<Vec<u8>>>(value)?;
            Array::Strings(strings.iter().map(Vec::as_slice).collect()).into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        let strings = [&b"a"[..], b"\xff\0"].into_iter().collect();
        for value in [
            Value::U8(255),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F32(f32::INFINITY),
            Value::F64(0.1),
            Value::Bool(true),
            Value::String(vec![0xff, 0]),
            Array::F32(vec![0.1, -0.0]).into(),
            Array::Bool(vec![true, false]).into(),
            Array::Strings(strings).into(),
        ] {
            let text = json_of(&value).unwrap().to_string();
            assert_eq!(value_of(&serde_json::from_str(&text).unwrap()), Some(value), "{text}");
        }
        for bad in ["7", "[]", "[\"u8\", 256]", "[\"what\", 1]", "[\"[u8]\", [1, -1]]", "[1, 2]"] {
            assert_eq!(value_of(&serde_json::from_str(bad).unwrap()), None, "{bad}");
        }
    }
}
