//! RWKV-4's dimensions, all from the tensors: it has no heads, every channel recurs on its own.

use crate::{Config, ModelError, Version, dimensions::Reader};
use wingbeat_format::ModelFile;

pub(crate) fn config(file: &ModelFile) -> Result<Config, ModelError> {
    Reader::new(file, Version::V4).config(|_, _| Ok(1))
}
