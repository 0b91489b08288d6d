//! A model that is a folder: Hugging Face's layout, one file or several shards with an index, and what lies beside.
//!
//! ```text
//! model.safetensors                    or, of a large model,
//! model.safetensors.index.json         { "weight_map": { tensor: shard … } }
//! model-00001-of-00002.safetensors …
//! config.json                          dimensions, as flat JSON
//! rwkv_vocab_v20230424.txt             the vocabulary in the official form
//! chat_template.jinja, or tokenizer_config.json's "chat_template"
//! ```
//!
//! Shards are mapped each for itself and put together to one [`ModelFile`]; what lies beside becomes metadata:
//! `config.json`'s entries under [`CONFIG_PREFIX`], the vocabulary under [`VOCABULARY_KEY`], the template where GGUF has
//! it. What any of it means is the model crate's business. A name from an index is never a path.

mod disk;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;

pub(crate) use disk::{complete, of, open};
pub use write::Writer;

use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::{self, Contents, FileFormat, ModelFile, Part};
use crate::metadata::{Metadata, Value};
use crate::safetensors::TextMap;
use crate::tensor::Tensor;

/// Entries of `config.json` are metadata under this and their own name.
pub const CONFIG_PREFIX: &str = "config.";
/// A vocabulary in the official text form, in safetensors metadata or from a file beside the model.
pub const VOCABULARY_KEY: &str = "wingbeat.vocabulary";

/// The dimensions of a model in Hugging Face's layout.
pub const CONFIG: &str = "config.json";
/// The index of shards.
pub const INDEX: &str = INDICES[0];
/// A model in one file.
pub const MODEL: &str = SINGLE[0];
/// A chat template in a file of its own.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
const INDICES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];
const SINGLE: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// Endings of model files, one of which may lie in a folder under any name.
const ENDINGS: [&str; 5] = [".gguf", ".safetensors", ".st", ".pth", ".bin"];
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE_KEY: &str = "tokenizer.chat_template";
const NAME_KEY: &str = "general.name";
/// Nothing that is read whole is larger: the World vocabulary has one megabyte, indices have a few.
const MAX_BESIDE_BYTES: usize = 64 << 20;

/// Where files come from, by their names in the folder.
pub(crate) trait Files {
    /// The file's bytes, if it is there.
    fn get(&self, name: &str) -> Result<Option<Bytes>, FormatError>;
    /// Every name.
    fn names(&self) -> Result<Vec<String>, FormatError>;
    /// The folder's path as text, for messages.
    fn label(&self) -> &str;
    /// The folder's path from the root, for its name.
    fn absolute(&self) -> &str {
        self.label()
    }
    /// A file's path as text, for messages.
    fn label_of(&self, name: &str) -> String {
        format!(
            "{}{}{name}",
            self.label().trim_end_matches(std::path::is_separator),
            std::path::MAIN_SEPARATOR
        )
    }
}

/// The files of a folder in memory.
struct Memory<'a> {
    label: &'a str,
    files: HashMap<String, Bytes>,
}

impl Files for Memory<'_> {
    fn get(&self, name: &str) -> Result<Option<Bytes>, FormatError> {
        Ok(self.files.get(name).cloned())
    }

    fn names(&self) -> Result<Vec<String>, FormatError> {
        Ok(self.files.keys().cloned().collect())
    }

    fn label(&self) -> &str {
        self.label
    }
}

/// Opens a folder whose files are in memory.
pub(crate) fn from_memory(label: &str, files: Vec<(String, Bytes)>) -> Result<ModelFile, FormatError> {
    read(&Memory { label, files: files.into_iter().collect() })
}

/// Opens the model in a folder.
fn read(files: &dyn Files) -> Result<ModelFile, FormatError> {
    for index in INDICES {
        if let Some(bytes) = files.get(index)? {
            let mut model = read_shards(files, index, &bytes)?;
            model.add_metadata(beside(files)?);
            return Ok(model);
        }
    }
    let name = single(files)?;
    let label = files.label_of(&name);
    let bytes = files.get(&name)?.ok_or_else(|| missing(files, &name, "the folder lists it".to_owned()))?;
    let (format, contents) = file::read(&label, &bytes)?;
    // A folder that merely holds a model file in another format lends it nothing.
    let completed = is_hugging_face(format, &contents.tensors);
    let mut model =
        ModelFile::from_parts(&label, format, contents, vec![Part { label: label.clone(), bytes }])?;
    if completed {
        model.add_metadata(beside(files)?);
    }
    Ok(model)
}

/// Whether tensors have the names of Hugging Face's layout, so that a `config.json` beside them is theirs.
fn is_hugging_face(format: FileFormat, tensors: &[Tensor]) -> bool {
    matches!(format, FileFormat::Safetensors | FileFormat::Pth)
        && tensors.iter().any(|tensor| tensor.name.starts_with("model."))
}

/// The name of the only model file.
fn single(files: &dyn Files) -> Result<String, FormatError> {
    let mut names = files.names()?;
    names.sort();
    if let Some(name) = SINGLE.iter().find(|single| names.iter().any(|name| name == *single)) {
        return Ok((*name).to_owned());
    }
    let mut models = names.into_iter().filter(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)));
    let expected = format!("{}, or one model file ({})", SINGLE[0], ENDINGS.join(", "));
    let malformed = |found: String| FormatError::malformed(files.label(), "folder", expected, found);
    match (models.next(), models.next()) {
        (Some(name), None) => Ok(name),
        (Some(first), Some(second)) => Err(malformed(format!("{first:?} and {second:?}"))),
        (None, _) => Err(malformed("none".to_owned())),
    }
}

fn missing(files: &dyn Files, name: &str, why: String) -> FormatError {
    FormatError::malformed(
        files.label(),
        format!("file {name:?}"),
        format!("to be there, since {why}"),
        "none",
    )
}

#[derive(Deserialize)]
struct Index {
    weight_map: TextMap,
}

/// Every shard that an index names, put together; each tensor must be where the index says.
fn read_shards(files: &dyn Files, index: &str, bytes: &[u8]) -> Result<ModelFile, FormatError> {
    let label = files.label_of(index);
    check_length(&label, bytes)?;
    let Index { weight_map: TextMap(map) } = serde_json::from_slice(bytes).map_err(|e| {
        FormatError::malformed(&label, "index", "JSON with a \"weight_map\" of tensors to files", e)
    })?;
    let mut shards: Vec<&str> = map.iter().map(|(_, shard)| shard.as_str()).collect();
    shards.sort_unstable();
    shards.dedup();
    if let Some(path) = shards.iter().find(|shard| !is_plain(shard)) {
        let expected = "names of files beside it";
        return Err(FormatError::malformed(&label, "weight_map", expected, format!("{path:?}")));
    }
    let mut contents = Contents { version: 1, metadata: Metadata::new(), tensors: Vec::new() };
    let mut format = FileFormat::Safetensors;
    let mut parts = Vec::new();
    // Tensor to its shard's place.
    let mut found: HashMap<String, usize> = HashMap::new();
    for (place, shard) in shards.iter().enumerate() {
        let bytes = files.get(shard)?.ok_or_else(|| missing(files, shard, format!("{index} names it")))?;
        let part = Part { label: files.label_of(shard), bytes };
        let (of_shard, read) = file::read(&part.label, &part.bytes)?;
        if place > 0 && of_shard != format {
            let expected = format!("{}, as the shards before it", format.name());
            return Err(FormatError::malformed(&part.label, "shard", expected, of_shard.name()));
        }
        (format, contents.version) = (of_shard, read.version);
        for tensor in &read.tensors {
            if let Some(other) = found.insert(tensor.name.clone(), place).filter(|&other| other != place) {
                let item = format!("tensor {:?}, which {:?} has too", tensor.name, shards[other]);
                return Err(FormatError::Duplicate { file: part.label, item });
            }
        }
        merge(&mut contents.metadata, read.metadata);
        contents.tensors.extend(read.tensors);
        parts.push(part);
    }
    for (tensor, shard) in &map {
        let place = found.get(tensor).copied();
        if place.is_none_or(|place| shards[place] != shard) {
            let expected = format!("to be in {shard:?}, as {index} says");
            let found = place
                .map_or_else(|| "it in no shard".to_owned(), |place| format!("it in {:?}", shards[place]));
            return Err(FormatError::malformed(files.label(), format!("tensor {tensor:?}"), expected, found));
        }
    }
    if parts.is_empty() {
        return Err(FormatError::malformed(&label, "weight_map", "tensors", "none"));
    }
    ModelFile::from_parts(files.label(), format, contents, parts)
}

/// A file's name and nothing that could lead out of the folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

fn check_length(label: &str, bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() > MAX_BESIDE_BYTES {
        let expected = format!("at most {MAX_BESIDE_BYTES} bytes");
        return Err(FormatError::malformed(label, "file", expected, bytes.len()));
    }
    Ok(())
}

/// Adds what is not there yet.
pub(crate) fn merge(metadata: &mut Metadata, more: Metadata) {
    for (key, value) in more.into_entries() {
        if metadata.get(&key).is_none() {
            metadata.insert(key, value);
        }
    }
}

/// What lies beside a model in Hugging Face's layout, as metadata.
fn beside(files: &dyn Files) -> Result<Metadata, FormatError> {
    let mut metadata = Metadata::new();
    if let Some(name) = name_of(files.absolute()) {
        metadata.insert(NAME_KEY, name);
    }
    if let Some(Json::Object(config)) = json(files, CONFIG)? {
        for (key, value) in config {
            if let Some(value) = plain(value) {
                metadata.insert(format!("{CONFIG_PREFIX}{key}"), value);
            }
        }
    }
    if let Some(template) = template(files)? {
        metadata.insert(TEMPLATE_KEY, template);
    }
    if let Some(bytes) = vocabulary(files)? {
        metadata.insert(VOCABULARY_KEY, bytes.to_vec());
    }
    Ok(metadata)
}

/// The folder's own name; in Hugging Face's cache, where it is a commit's, the repository's.
fn name_of(label: &str) -> Option<String> {
    let mut parts = label.rsplit(std::path::is_separator).filter(|part| !part.is_empty());
    let name = parts.next()?;
    let in_cache = parts.next() == Some("snapshots");
    let repository = parts.next().filter(|_| in_cache).and_then(|part| part.strip_prefix("models--"));
    Some(repository.and_then(|part| part.rsplit("--").next()).unwrap_or(name).to_owned())
}

fn json(files: &dyn Files, name: &str) -> Result<Option<Json>, FormatError> {
    let Some(bytes) = files.get(name)? else { return Ok(None) };
    let label = files.label_of(name);
    check_length(&label, &bytes)?;
    let json =
        serde_json::from_slice(&bytes).map_err(|e| FormatError::malformed(&label, "file", "JSON", e))?;
    Ok(Some(json))
}

/// A JSON value as metadata; lists and objects as their text, null as nothing.
fn plain(value: Json) -> Option<Value> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(x) => x.into(),
        Json::String(x) => x.into(),
        Json::Number(x) => match (x.as_i64(), x.as_u64()) {
            (Some(x), _) => x.into(),
            (None, Some(x)) => x.into(),
            (None, None) => x.as_f64()?.into(),
        },
        other => other.to_string().into(),
    })
}

/// The template in a file of its own, else the one in the tokenizer's configuration: a text, or a list of named ones.
fn template(files: &dyn Files) -> Result<Option<String>, FormatError> {
    if let Some(bytes) = files.get(TEMPLATE_FILE)? {
        check_length(&files.label_of(TEMPLATE_FILE), &bytes)?;
        return Ok(String::from_utf8(bytes.to_vec()).ok());
    }
    let Some(config) = json(files, TOKENIZER_CONFIG)? else { return Ok(None) };
    Ok(match &config["chat_template"] {
        Json::String(text) => Some(text.clone()),
        Json::Array(named) => {
            let default = named.iter().find(|one| one["name"] == "default").or(named.first());
            default.and_then(|one| one["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    })
}

/// The vocabulary in the official form, under the names that folders have it by.
fn vocabulary(files: &dyn Files) -> Result<Option<Bytes>, FormatError> {
    let mut names = files.names()?;
    names.retain(|name| (name.starts_with("rwkv_vocab") && name.ends_with(".txt")) || name == "vocab.txt");
    // The official one's name sorts before `vocab.txt`.
    names.sort();
    let Some(name) = names.first() else { return Ok(None) };
    let bytes = files.get(name)?;
    if let Some(bytes) = &bytes {
        check_length(&files.label_of(name), bytes)?;
    }
    Ok(bytes)
}
