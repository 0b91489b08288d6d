//! A folder in Hugging Face's layout, as fla has RWKV-7: `config.json`, safetensors in one file or in shards with an
//! index, the vocabulary in the official form.

use super::{Converted, Item, Job, Part, Target, carried, official, refused, stream};
use crate::{Error, chat::Template};
use serde_json::{Map, Value as Json, json};
use wingbeat_backend::Orientation;
use wingbeat_format::{
    CONFIG_PREFIX, DType, Metadata, TensorSpec, VOCABULARY_KEY, Value, folder, safetensors,
};
use wingbeat_model::{Config, Kind, Layout, Version};

/// Bytes of a shard, which Hugging Face's own writer takes too.
const SHARD_BYTES: usize = 5_000_000_000;
/// The official name of the World vocabulary, and the one that any other gets.
const WORLD_FILE: &str = "rwkv_vocab_v20230424.txt";
const VOCABULARY_FILE: &str = "vocab.txt";
const TEMPLATE_KEY: &str = "tokenizer.chat_template";

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    write_sharded(job, SHARD_BYTES, progress)
}

fn write_sharded(
    job: &Job<'_>,
    shard_bytes: usize,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    if job.config.version != Version::V7 {
        let why = format!("fla's layout is RWKV-7's, and this is {}", job.config.version.name());
        return Err(refused(job.target, why));
    }
    let items = items(job)?;
    let folder = folder::Writer::create(job.target)?;
    let (mut metadata, _) = carried::texts(job);
    metadata.remove(VOCABULARY_KEY);
    let template = metadata.str(TEMPLATE_KEY).filter(|template| Template::by_name(template).is_none());
    // A name of ours stays what it is; a text is Jinja, and has a file.
    if let Some(template) = template.map(str::to_owned) {
        folder.put(folder::TEMPLATE_FILE, template.as_bytes())?;
        metadata.remove(TEMPLATE_KEY);
    }
    folder.put(folder::CONFIG, pretty(Json::Object(config(job, &items))).as_bytes())?;
    let has_vocabulary = put_vocabulary(job, &folder)?;

    let shards = shards(&items, shard_bytes);
    let mut index = Map::new();
    let (mut done, mut total_bytes) = (0, 0);
    for (number, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => folder::MODEL.to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", number + 1),
        };
        let specs: Vec<TensorSpec> = shard.iter().map(|item| item.spec.clone()).collect();
        for spec in &specs {
            index.insert(spec.name.clone(), name.as_str().into());
            total_bytes += spec.n_bytes().unwrap_or(0);
        }
        let mut writer = safetensors::Writer::create(&folder.path().join(&name), &metadata, &specs)?;
        let mut progress = |now: usize, _: usize| progress(done + now, items.len());
        stream(job, shard, &mut progress, &mut |bytes| Ok(writer.write(bytes)?))?;
        writer.finish()?;
        done += shard.len();
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total_bytes }, "weight_map": index });
        folder.put(folder::INDEX, pretty(index).as_bytes())?;
    }
    folder.finish()?;
    Ok(Converted { format: Target::HuggingFace, n_tensors: items.len(), has_vocabulary })
}

fn items<'a>(job: &Job<'a>) -> Result<Vec<Item<'a>>, Error> {
    let mut items = Vec::new();
    for weight in job.weights {
        let name = Layout::HuggingFace.tensor_name(weight.row.name, weight.row.gguf, weight.layer);
        let (dtype, shape) = match weight.row.kind {
            Kind::Vector(_) => {
                let shape = match weight.row.name {
                    "att.r_k" => vec![job.config.n_heads, job.config.head_size],
                    name if name.starts_with("att.x_") => vec![1, 1, weight.shape[0]],
                    _ => weight.shape.clone(),
                };
                (official::vector_type(job, weight), shape)
            }
            Kind::Matrix(..) => (job.matrix_type(weight), weight.shape.clone()),
            Kind::LowRank(..) | Kind::Stack(..) => {
                (official::low_rank_type(job, weight), weight.shape.clone())
            }
        };
        official::check_float(job, weight, dtype, "safetensors")?;
        let spec = TensorSpec { name, dtype, shape };
        items.push(Item { spec, parts: vec![Part::new(weight, Orientation::RowMajor)] });
    }
    Ok(items)
}

/// Runs of tensors that fit a shard; one that fits none has its own.
fn shards<'i, 'a>(items: &'i [Item<'a>], shard_bytes: usize) -> Vec<&'i [Item<'a>]> {
    let mut shards = Vec::new();
    let (mut start, mut n_bytes) = (0, 0usize);
    for (i, item) in items.iter().enumerate() {
        let more = item.spec.n_bytes().unwrap_or(0);
        if i > start && n_bytes.saturating_add(more) > shard_bytes {
            shards.push(&items[start..i]);
            (start, n_bytes) = (i, 0);
        }
        n_bytes = n_bytes.saturating_add(more);
    }
    shards.push(&items[start..]);
    shards
}

/// fla's configuration: what the source's said, and over it what its tensors are.
fn config(job: &Job<'_>, items: &[Item<'_>]) -> Map<String, Json> {
    let Config {
        n_layers,
        n_channels,
        n_heads,
        head_size,
        n_ffn,
        n_vocab,
        layer_norm_eps,
        group_norm_eps,
        ..
    } = *job.config;
    let key = items.iter().find(|item| item.spec.name.ends_with("k_proj.weight"));
    let dtype = match key.map(|item| item.spec.dtype) {
        Some(DType::BF16) => "bfloat16",
        Some(DType::F16) => "float16",
        _ => "float32",
    };
    let mut config = from_source(&carried::of_source(job));
    let mut default = |key: &str, value: Json| {
        config.entry(key).or_insert(value);
    };
    default("architectures", json!(["RWKV7ForCausalLM"]));
    default("model_type", "rwkv7".into());
    default("attn_mode", "chunk".into());
    default("bos_token_id", 0.into());
    default("eos_token_id", 0.into());
    default("fuse_cross_entropy", true.into());
    default("fuse_norm", false.into());
    default("max_position_embeddings", 2048.into());
    default("use_cache", true.into());
    let mut set = |key: &str, value: Json| drop(config.insert(key.to_owned(), value));
    set("hidden_act", "sqrelu".into());
    set("hidden_size", n_channels.into());
    set("hidden_ratio", json!(n_ffn as f64 / n_channels.max(1) as f64));
    set("intermediate_size", n_ffn.into());
    set("num_hidden_layers", n_layers.into());
    set("head_dim", head_size.into());
    set("num_heads", n_heads.into());
    set("value_dim", vec![n_channels; n_layers].into());
    for (letter, key) in [('w', "decay"), ('g', "gate"), ('a', "a"), ('v', "v")] {
        // A model of one layer has no v; fla wants a number all the same.
        let rank = job.config.low_rank(letter);
        set(&format!("{key}_low_rank_dim"), if rank == 0 { 32 } else { rank }.into());
    }
    set("norm_first", true.into());
    set("norm_bias", true.into());
    set("norm_eps", shortest(layer_norm_eps));
    // fla multiplies the layer norms' by the head size, which is right for heads of 64.
    if group_norm_eps != layer_norm_eps * head_size as f32 {
        set("group_norm_eps", shortest(group_norm_eps));
    }
    set("vocab_size", n_vocab.into());
    set("tie_word_embeddings", false.into());
    set("torch_dtype", dtype.into());
    config
}

/// The number as a person would write it: `1e-5`, and not the nearest `f32`'s seventeen digits.
fn shortest(x: f32) -> Json {
    x.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

/// The configuration that a source in this layout had.
fn from_source(metadata: &Metadata) -> Map<String, Json> {
    let entry = |(key, value): (&str, &Value)| {
        let key = key.strip_prefix(CONFIG_PREFIX)?;
        let json = match value {
            Value::Bool(x) => (*x).into(),
            Value::F32(x) => shortest(*x),
            Value::F64(x) => (*x).into(),
            Value::U64(x) => (*x).into(),
            Value::String(x) => {
                let text = std::str::from_utf8(x).ok()?;
                // Lists and objects were kept as their text.
                let parsed = text.starts_with(['[', '{']).then(|| serde_json::from_str(text).ok()).flatten();
                parsed.unwrap_or_else(|| text.into())
            }
            other => other.as_i64()?.into(),
        };
        Some((key.to_owned(), json))
    };
    metadata.iter().filter_map(entry).collect()
}

/// Whether there is one to put.
fn put_vocabulary(job: &Job<'_>, folder: &folder::Writer) -> Result<bool, Error> {
    if let Some(text) = carried::vocabulary(job) {
        folder.put(VOCABULARY_FILE, text.as_bytes())?;
        return Ok(true);
    }
    let is_world = job.config.n_vocab == 65536;
    if is_world {
        let world = wingbeat_tokenizer::Vocabulary::world().without_padding().to_text();
        folder.put(WORLD_FILE, &world)?;
    }
    Ok(is_world)
}

fn pretty(json: Json) -> String {
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests;
