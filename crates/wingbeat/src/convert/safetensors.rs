//! Safetensors with the official names and shapes.

use super::{Converted, Job, Target, carried, official, stream};
use crate::Error;
use wingbeat_format::{TensorSpec, safetensors};

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let items = official::items(job, "safetensors")?;
    let (metadata, has_vocabulary) = carried::texts(job);
    let specs: Vec<TensorSpec> = items.iter().map(|item| item.spec.clone()).collect();
    let mut writer = safetensors::Writer::create(job.target, &metadata, &specs)?;
    stream(job, &items, progress, &mut |bytes| Ok(writer.write(bytes)?))?;
    writer.finish()?;
    Ok(Converted { format: Target::Safetensors, n_tensors: items.len(), has_vocabulary })
}
