//! `.bin` as rwkv.cpp's converter lays a model out: official names, low-rank matrices row-major, the token-shift vectors
//! of RWKV-7 in one tensor, decays after their exponential, vectors in F32. It holds neither vocabulary nor metadata.

use super::{Change, Converted, Item, Job, Part, Target, official, refused, stream};
use crate::Error;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, TensorSpec, rwkv_cpp};
use wingbeat_model::{GgufName, Kind, Layout, Version, Weight};

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let items = items(job)?;
    let key = job.weights.iter().find(|weight| weight.row.name == "att.key.weight");
    let header = rwkv_cpp::Header {
        n_vocab: job.config.n_vocab,
        n_embed: job.config.n_channels,
        n_layer: job.config.n_layers,
        dtype: key.map_or(DType::F32, |weight| job.matrix_type(weight)),
    };
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    let mut writer = rwkv_cpp::Writer::create(job.target, &header, &specs)?;
    stream(job, &items, progress, &mut |bytes| Ok(writer.write(bytes)?))?;
    writer.finish()?;
    Ok(Converted { format: Target::RwkvCpp, n_tensors: items.len(), has_vocabulary: false })
}

fn items<'a>(job: &Job<'a>) -> Result<Vec<Item<'a>>, Error> {
    let mut items: Vec<Item<'a>> = Vec::new();
    for weight in job.weights {
        let name = Layout::RwkvCpp.tensor_name(weight.row.name, weight.row.gguf, weight.layer);
        let stored = Layout::RwkvCpp.stored(job.config.version, weight.row.name);
        let change = stored.map_or_else(|| job.unscaled(weight), Change::Stored);
        let part = Part { weight, orientation: Orientation::RowMajor, change };
        let is_fused = name != weight.name && matches!(weight.row.gguf, GgufName::BlockRow { .. });
        if let Some(last) = items.last_mut().filter(|last| is_fused && last.spec.name == name) {
            last.spec.shape[0] += 1;
            last.parts.push(part);
            continue;
        }
        let (dtype, shape) = match weight.row.kind {
            Kind::Vector(_) => (DType::F32, vector_shape(job, weight)),
            Kind::Matrix(..) => (matrix_type(job, weight)?, weight.shape.clone()),
            Kind::LowRank(..) | Kind::Stack(..) => (low_rank_type(job, weight), weight.shape.clone()),
        };
        items.push(Item { spec: TensorSpec { name, dtype, shape }, parts: vec![part] });
    }
    Ok(items)
}

/// The official shape; what concerns time is squeezed, and what concerns heads has each value in a row of its own.
fn vector_shape(job: &Job<'_>, weight: &Weight) -> Vec<usize> {
    let config = job.config;
    let len = weight.shape[0];
    match (weight.row.name, config.version) {
        (name, _) if !name.contains(".time_") => official::vector_shape(config, weight),
        ("att.time_decay" | "att.time_faaaa" | "att.time_first", Version::V5 | Version::V6) => {
            vec![config.n_heads, len / config.n_heads.max(1), 1]
        }
        _ => vec![len],
    }
}

/// As rwkv.cpp's quantizer has it: the embedding and the head are too dear to be quantized.
fn matrix_type(job: &Job<'_>, weight: &Weight) -> Result<DType, Error> {
    let dtype = job.matrix_type(weight);
    let is_outside = matches!(weight.row.name, "emb.weight" | "head.weight");
    let dtype = match job.mix {
        Some(mix) if is_outside && mix.matrices().is_quantized() => DType::F16,
        _ => dtype,
    };
    if rwkv_cpp::holds(dtype) {
        return Ok(dtype);
    }
    let why = format!(
        "rwkv.cpp's format cannot hold {} (tensor `{}`); choose --type f16, f32, q8_0, q5_1, q5_0, q4_1 or q4_0",
        dtype.name(),
        weight.name
    );
    Err(refused(job.target, why))
}

/// The converter keeps the pairs of RWKV-6, whose names begin with `time_`, in F32.
fn low_rank_type(job: &Job<'_>, weight: &Weight) -> DType {
    match job.low_rank_type(weight) {
        _ if job.config.version == Version::V6 => DType::F32,
        DType::F16 => DType::F16,
        // What else there may be fits F32.
        _ => DType::F32,
    }
}
