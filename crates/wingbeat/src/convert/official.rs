//! The official checkpoints' names and shapes: vectors `(1, 1, C)`, low-rank matrices as they are applied, from the
//! right.

use super::{Item, Job, Mix, Part};
use crate::Error;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, TensorSpec};
use wingbeat_model::{Config, Kind, Version, Weight};

/// Every weight for a file in `format`, which holds plain floats only.
pub(super) fn items<'a>(job: &Job<'a>, format: &str) -> Result<Vec<Item<'a>>, Error> {
    job.weights.iter().map(|weight| item(job, weight, format)).collect()
}

fn item<'a>(job: &Job<'a>, weight: &'a Weight, format: &str) -> Result<Item<'a>, Error> {
    let (dtype, shape, orientation) = match weight.row.kind {
        Kind::Vector(_) => {
            let shape = vector_shape(job.config, weight);
            (vector_type(job, weight), shape, Orientation::RowMajor)
        }
        Kind::Matrix(..) => (job.matrix_type(weight), weight.shape.clone(), Orientation::RowMajor),
        Kind::LowRank(..) | Kind::Stack(..) => {
            let mut shape = weight.shape.clone();
            let last = shape.len().saturating_sub(2);
            shape[last..].reverse();
            (low_rank_type(job, weight), shape, Orientation::Transposed)
        }
    };
    check_float(job, weight, dtype, format)?;
    let spec = TensorSpec { name: weight.name.clone(), dtype, shape };
    let part = Part { weight, orientation, change: job.unscaled(weight) };
    Ok(Item { spec, parts: vec![part] })
}

/// Refuses a type that is not plain numbers, and says which to ask for.
pub(super) fn check_float(job: &Job<'_>, weight: &Weight, dtype: DType, format: &str) -> Result<(), Error> {
    if dtype.safetensors_name().is_some() {
        return Ok(());
    }
    let why = format!(
        "{format} cannot hold {} (tensor `{}`); choose --type f16, bf16 or f32",
        dtype.name(),
        weight.name
    );
    Err(super::refused(job.target, why))
}

/// The shape that a vector has in the checkpoint of a model of these dimensions.
pub(super) fn vector_shape(config: &Config, weight: &Weight) -> Vec<usize> {
    let len = weight.shape[0];
    let heads = || match len == config.n_channels {
        true => vec![config.n_heads, config.head_size],
        false => vec![len],
    };
    match (weight.row.name, config.version) {
        ("att.r_k" | "att.time_faaaa", _) | ("att.time_decay", Version::V5) => heads(),
        ("att.time_decay", Version::V4) | ("att.time_first", _) => vec![len],
        (name, _) if name.starts_with("ln") || name.starts_with("att.ln") => vec![len],
        _ => vec![1, 1, len],
    }
}

/// The half type asked for, where it holds every value of the vector exactly, else F32: a GGUF widens vectors to F32,
/// and converting back must neither lose anything nor make the file another one than it was.
pub(super) fn vector_type(job: &Job<'_>, weight: &Weight) -> DType {
    if job.mix.map(Mix::matrices) == Some(DType::F32) {
        return DType::F32;
    }
    match half(job) {
        Some(half) if is_exact(weight, half) => half,
        Some(_) => DType::F32,
        None => weight.dtype,
    }
}

/// The type of a low-rank matrix. One that a GGUF has widened is narrowed again, if nothing is lost.
pub(super) fn low_rank_type(job: &Job<'_>, weight: &Weight) -> DType {
    let dtype = job.low_rank_type(weight);
    match half(job) {
        Some(half) if dtype == DType::F32 && job.mix.is_none() && is_exact(weight, half) => half,
        _ => dtype,
    }
}

/// The type of two bytes that most matrices will have, if it is one.
fn half(job: &Job<'_>) -> Option<DType> {
    let key = || job.weights.iter().find(|weight| weight.row.name == "att.key.weight");
    let dtype = match job.mix.map(Mix::matrices) {
        Some(dtype @ (DType::F16 | DType::BF16)) => dtype,
        _ => job.matrix_type(key()?),
    };
    matches!(dtype, DType::F16 | DType::BF16).then_some(dtype)
}

fn is_exact(weight: &Weight, half: DType) -> bool {
    let values = weight.vector();
    let mut bytes = Vec::new();
    let mut back = vec![0.0; values.len()];
    if half.encode_row(&values, &mut bytes).is_ok() {
        half.decode_row(&bytes, &mut back);
    }
    back == values
}
