//! RWKV-7's dimensions, from the tensors; only a GGUF's head size and epsilons come from its metadata, which is the
//! one place that has them, and from the `config.json` beside Hugging Face's layout.

use crate::{Config, Layout, ModelError, Version, dimensions::Reader};
use wingbeat_format::{CONFIG_PREFIX, ModelFile};

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
    if reader.layout() == Layout::HuggingFace {
        hugging_face(&reader, &mut config)?;
    }
    Ok(config)
}

/// What fla's configuration says besides what tensors show.
fn hugging_face(reader: &Reader<'_>, config: &mut Config) -> Result<(), ModelError> {
    let key = |name: &str| format!("{CONFIG_PREFIX}{name}");
    let metadata = reader.metadata();
    if let Some(layers) = metadata.get(&key("attn")) {
        let expected = "null: layers of attention are no RWKV".to_owned();
        return Err(reader.metadata_error(&key("attn"), format!("{layers:?}"), expected));
    }
    let head_dim = key("head_dim");
    if let Some(size) = metadata.u64(&head_dim).filter(|&size| size != config.head_size as u64) {
        let expected = format!("{}, as the shape of r_k says", config.head_size);
        return Err(reader.metadata_error(&head_dim, size, expected));
    }
    // fla takes the layer norms' epsilon times the head size; our own files of other head sizes say what it is.
    let eps = metadata.f32(&key("group_norm_eps")).unwrap_or(config.layer_norm_eps * config.head_size as f32);
    if !(eps > 0.0 && eps < 1.0) {
        return Err(reader.metadata_error(&key("group_norm_eps"), eps, "between 0 and 1".to_owned()));
    }
    config.group_norm_eps = eps;
    Ok(())
}
