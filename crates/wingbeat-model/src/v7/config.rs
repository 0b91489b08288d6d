//! RWKV-7's dimensions, from the tensors; only a GGUF's head size and epsilon come from its metadata, which is the
//! one place that has them.

use crate::{Config, ModelError, Version, dimensions::Reader};
use wingbeat_format::ModelFile;

pub(crate) fn config(file: &ModelFile) -> Result<Config, ModelError> {
    let reader = Reader::new(file, Version::V7);
    let mut config = reader.config(|reader, n_channels| reader.head_size("att.r_k", n_channels))?;
    for letter in ['w', 'a', 'v', 'g'] {
        let layer = if letter == 'v' { 1 } else { 0 };
        if layer < config.n_layers {
            let rank = reader.low_rank(&format!("att.{letter}1"), layer, config.n_channels)?;
            config.low_ranks.push((letter, rank));
        }
    }
    Ok(config)
}
