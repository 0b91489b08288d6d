//! GGUF as llama.cpp's converter lays an RWKV model out: names and metadata from its table, low-rank matrices
//! row-major, the six token-shift vectors of a layer in one tensor, vectors in F32.

use super::{Converted, Item, Job, Mix, Part, Target, carried, stream};
use crate::Error;
use wingbeat_backend::Orientation;
use wingbeat_format::{Array, DType, Metadata, StringArray, TensorSpec, gguf};
use wingbeat_model::{Config, GgufName, Kind, Layout, Version, Weight};

/// Context length that llama.cpp's converter writes for RWKV-7: there is no limit.
const CONTEXT_LENGTH: u32 = 1 << 20;
/// What data are aligned to where the metadata do not say.
const ALIGNMENT: u64 = 32;
/// Version of the quantized blocks' layout.
const QUANTIZATION_VERSION: u32 = 2;

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let items = items(job);
    let metadata = metadata(job);
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    let mut writer = gguf::Writer::create(job.target, &metadata, &specs)?;
    stream(job, &items, progress, &mut |bytes| Ok(writer.write(bytes)?))?;
    writer.finish()?;
    let has_vocabulary = metadata.get("tokenizer.ggml.tokens").is_some();
    Ok(Converted { format: Target::Gguf, n_tensors: items.len(), has_vocabulary })
}

/// The length of the file that [`write`] would write.
pub(super) fn file_bytes(job: &Job<'_>) -> Result<u64, Error> {
    let specs: Vec<TensorSpec> = items(job).into_iter().map(|item| item.spec).collect();
    Ok(gguf::file_bytes(job.target, &metadata(job), &specs)?)
}

/// The tensors of the file, and the (first) weight that each is made of.
pub(super) fn tensors<'a>(job: &'a Job<'a>) -> impl Iterator<Item = (&'a Weight, TensorSpec)> {
    items(job).into_iter().filter_map(|item| Some((item.parts.first()?.weight, item.spec)))
}

/// What the tensors' bytes are a multiple of.
pub(super) fn alignment(job: &Job<'_>) -> u64 {
    let kept = job.gguf_source().and_then(|source| source.metadata().u64("general.alignment"));
    kept.unwrap_or(ALIGNMENT).max(1)
}

fn items<'a>(job: &'a Job<'a>) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    for weight in job.weights {
        let name = Layout::Gguf.tensor_name(weight.row.name, weight.row.gguf, weight.layer);
        let part = Part::new(weight, Orientation::RowMajor);
        if let (GgufName::BlockRow { index, .. }, Some(last)) = (weight.row.gguf, items.last_mut())
            && index > 0
            && last.spec.name == name
        {
            last.spec.shape[0] += 1;
            last.parts.push(part);
            continue;
        }
        let shape = match weight.row.gguf {
            GgufName::BlockRow { .. } => vec![1, 1, 1, weight.shape[0]],
            // Looked up by head.
            _ if weight.row.name == "att.time_faaaa" && weight.shape[0] == job.config.n_channels => {
                vec![job.config.n_heads, job.config.head_size]
            }
            _ => weight.shape.clone(),
        };
        let dtype = dtype(job, weight);
        // llama.cpp wants value-residual tensors in the first layer too, where they are not used, and its converter
        // repeats the learning rate's there.
        let unused = match (weight.layer, weight.row.name) {
            (Some(0), "att.a0" | "att.a1" | "att.a2") => Some(name.replace("time_mix_a", "time_mix_v")),
            _ => None,
        };
        items.push(Item { spec: TensorSpec { name, dtype, shape: shape.clone() }, parts: vec![part] });
        if let Some(name) = unused {
            let part = Part::new(weight, Orientation::RowMajor);
            items.push(Item { spec: TensorSpec { name, dtype, shape }, parts: vec![part] });
        }
    }
    items
}

fn dtype(job: &Job<'_>, weight: &Weight) -> DType {
    match weight.row.kind {
        Kind::Vector(_) => DType::F32,
        Kind::Matrix(..) => job.matrix_type(weight),
        // llama.cpp's converter keeps the decay's pair in F32, and all pairs of RWKV-6.
        Kind::LowRank(..) if matches!(weight.row.name, "att.w1" | "att.w2") => DType::F32,
        Kind::LowRank(..) | Kind::Stack(..) if job.config.version == Version::V6 => DType::F32,
        Kind::LowRank(..) | Kind::Stack(..) => job.low_rank_type(weight),
    }
}

/// llama.cpp's number for the types of the file: those asked for, the source's own, or what most matrices are in.
fn file_type(job: &Job<'_>) -> Option<u32> {
    let kept = || job.gguf_source()?.metadata().u64("general.file_type")?.try_into().ok();
    let of_matrices = || {
        let weight = job.weights.iter().find(|w| w.row.name == "att.key.weight")?;
        Mix::file_type_of(job.matrix_type(weight))
    };
    let planned = job.plan.and_then(|plan| plan.file_type);
    planned.or(job.mix.map(Mix::file_type)).or_else(kept).or_else(of_matrices)
}

/// The source's own metadata if it is a GGUF, completed with what llama.cpp asks for.
fn metadata(job: &Job<'_>) -> Metadata {
    let Config { n_layers, n_channels, n_ffn, head_size, layer_norm_eps, .. } = *job.config;
    let arch = job.config.version.gguf_architecture();
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", arch);
    metadata.insert("general.type", "model");
    match job.gguf_source() {
        Some(source) => source.metadata().iter().for_each(|(key, value)| {
            metadata.insert(key, value.clone());
        }),
        None => carried::into_gguf(job, &mut metadata),
    }
    metadata.insert("general.name", job.config.name.as_str());
    let mut default = |key: String, value: u32| {
        if metadata.get(&key).is_none() {
            metadata.insert(key, value);
        }
    };
    default(format!("{arch}.context_length"), CONTEXT_LENGTH);
    default(format!("{arch}.embedding_length"), n_channels as u32);
    default(format!("{arch}.block_count"), n_layers as u32);
    default(format!("{arch}.feed_forward_length"), n_ffn as u32);
    default(format!("{arch}.attention.head_count"), 0);
    default(format!("{arch}.wkv.head_size"), head_size as u32);
    let ranks: &[(char, &str)] = match job.config.version {
        Version::V7 => &[
            ('w', "attention.decay_lora_rank"),
            ('a', "attention.iclr_lora_rank"),
            ('v', "attention.value_residual_mix_lora_rank"),
            ('g', "attention.gate_lora_rank"),
        ],
        Version::V6 => &[('m', "time_mix_extra_dim"), ('d', "time_decay_extra_dim")],
        _ => &[],
    };
    for (letter, name) in ranks {
        default(format!("{arch}.{name}"), job.config.low_rank(*letter) as u32);
    }
    if job.config.version == Version::V6 {
        default(format!("{arch}.rescale_every_n_layers"), job.config.rescaled_every as u32);
    }
    metadata.insert(format!("{arch}.attention.layer_norm_epsilon"), layer_norm_eps);
    if let Some(number) = file_type(job) {
        metadata.insert("general.file_type", number);
        metadata.insert("general.quantization_version", QUANTIZATION_VERSION);
    }
    add_vocabulary(job, &mut metadata);
    metadata
}

fn add_vocabulary(job: &Job<'_>, metadata: &mut Metadata) {
    let n_vocab = job.config.n_vocab;
    let world = wingbeat_tokenizer::Vocabulary::world;
    let vocabulary = match &job.vocabulary {
        // The source's own lists are kept as they are.
        Some(_) if job.gguf_source().is_some() && !job.replaces_vocabulary => return,
        Some(vocabulary) => vocabulary.clone(),
        None if n_vocab == 65536 => world(),
        None => return,
    };
    let (tokens, types) = vocabulary.to_gguf(n_vocab);
    metadata.insert("tokenizer.ggml.model", "rwkv");
    metadata.insert(
        "tokenizer.ggml.tokens",
        Array::Strings(tokens.iter().map(Vec::as_slice).collect::<StringArray>()),
    );
    metadata.insert("tokenizer.ggml.token_type", Array::I32(types));
    if metadata.get("tokenizer.chat_template").is_none() {
        metadata.insert("tokenizer.chat_template", "rwkv-world");
    }
    metadata.insert("tokenizer.ggml.bos_token_id", 0u32);
    metadata.insert("tokenizer.ggml.eos_token_id", 0u32);
    // "\n\n" ends a turn in the World vocabulary.
    if vocabulary.token(261) == Some(b"\n\n") {
        metadata.insert("tokenizer.ggml.eot_token_id", 261u32);
    }
}
