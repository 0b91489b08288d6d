//! Safetensors with the official names and shapes: vectors `(1, 1, C)`, low-rank matrices as the official
//! checkpoints apply them, from the right.

use super::{Converted, Item, Job, Mix, Part, stream};
use crate::{Error, model::SAFETENSORS_VOCABULARY};
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, FileFormat, Metadata, ModelFile, TensorSpec, safetensors};
use wingbeat_model::{Kind, Weight};

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let items = job.weights.iter().map(|weight| item(job, weight)).collect::<Result<Vec<_>, _>>()?;
    let mut metadata = Metadata::new();
    metadata.insert("format", "pt");
    metadata.insert("general.name", job.config.name.as_str());
    let source = job.source.map(ModelFile::metadata);
    if let Some(template) = source.and_then(|metadata| metadata.str("tokenizer.chat_template")) {
        metadata.insert("tokenizer.chat_template", template);
    }
    // The World vocabulary goes without saying.
    let carried = job.vocabulary.as_ref().map(|v| v.without_padding().to_text());
    let carried = carried.filter(|text| job.config.n_vocab != 65536 || *text != world_text());
    if let Some(text) = carried.as_ref().and_then(|text| std::str::from_utf8(text).ok()) {
        metadata.insert(SAFETENSORS_VOCABULARY, text);
    }
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    let mut writer = safetensors::Writer::create(job.target, &metadata, &specs)?;
    stream(job, &items, progress, &mut |bytes| Ok(writer.write(bytes)?))?;
    writer.finish()?;
    Ok(Converted {
        format: FileFormat::Safetensors,
        n_tensors: items.len(),
        has_vocabulary: carried.is_some(),
    })
}

fn world_text() -> Vec<u8> {
    wingbeat_tokenizer::Vocabulary::world().without_padding().to_text()
}

fn item<'a>(job: &Job<'_>, weight: &'a Weight) -> Result<Item<'a>, Error> {
    let vector_length = weight.shape[0];
    let (dtype, shape, orientation) = match weight.row.kind {
        Kind::Vector(_) => {
            let shape = match weight.row.name {
                "att.r_k" => vec![job.config.n_heads, job.config.head_size],
                name if name.starts_with("ln") || name.starts_with("att.ln") => vec![vector_length],
                _ => vec![1, 1, vector_length],
            };
            (vector_type(job, weight), shape, Orientation::RowMajor)
        }
        Kind::Matrix(..) => (job.matrix_type(weight), weight.shape.clone(), Orientation::RowMajor),
        Kind::LowRank(..) | Kind::Stack(..) => {
            let mut shape = weight.shape.clone();
            let last = shape.len().saturating_sub(2);
            shape[last..].reverse();
            (job.low_rank_type(weight), shape, Orientation::Transposed)
        }
    };
    if dtype.safetensors_name().is_none() {
        return Err(Error::Convert {
            target: job.target.display().to_string(),
            why: format!(
                "safetensors cannot hold {} (tensor `{}`); choose --type f16, bf16 or f32",
                dtype.name(),
                weight.name
            ),
        });
    }
    let name = match (weight.row.name, weight.layer) {
        (name, Some(layer)) => format!("blocks.{layer}.{name}"),
        (name, None) => name.to_owned(),
    };
    let spec = TensorSpec { name, dtype, shape };
    Ok(Item { spec, parts: vec![Part { weight, orientation }] })
}

/// The half type asked for, where it holds every value of the vector exactly, else F32: a GGUF widens vectors to F32,
/// and converting back must neither lose anything nor make the file another one than it was.
fn vector_type(job: &Job<'_>, weight: &Weight) -> DType {
    let half = match job.mix.map(Mix::matrices) {
        Some(DType::F32) => return DType::F32,
        Some(dtype @ (DType::F16 | DType::BF16)) => dtype,
        _ => job
            .weights
            .iter()
            .find(|w| w.row.name == "att.key.weight")
            .map_or(DType::F32, |w| job.matrix_type(w)),
    };
    if !matches!(half, DType::F16 | DType::BF16) {
        return if weight.dtype == DType::F32 { DType::F32 } else { weight.dtype };
    }
    let values = weight.vector();
    let mut bytes = Vec::new();
    let mut back = vec![0.0; values.len()];
    if half.encode_row(&values, &mut bytes).is_ok() {
        half.decode_row(&bytes, &mut back);
    }
    if back == values { half } else { DType::F32 }
}
