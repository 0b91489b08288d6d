//! RWKV-5's dimensions, from the tensors: a vector of decays has a value a head (5.1) or heads of values (5.2).

use crate::{Config, ModelError, Version, dimensions::Reader};
use wingbeat_format::ModelFile;

pub(crate) fn config(file: &ModelFile) -> Result<Config, ModelError> {
    let reader = Reader::new(file, Version::V5);
    let config = reader.config(|reader, n_channels| {
        let decay = reader.required("att.time_decay", Some(0))?;
        let n_decays = decay.n_elements();
        if n_decays == n_channels && reader.u64("wkv.head_size").is_none() {
            return reader.head_size("att.time_decay", n_channels);
        }
        let heads = if n_decays == n_channels { 1 } else { n_decays.max(1) };
        let of_heads = (n_channels.is_multiple_of(heads)).then_some((n_channels / heads) as u64);
        match (reader.u64("wkv.head_size"), of_heads) {
            // One decay a head says how many heads there are, whatever the metadata say.
            (Some((key, size)), Some(of_heads)) if heads > 1 && size != of_heads => {
                Err(reader.metadata_error(&key, size, format!("{of_heads}, as there are {heads} decays")))
            }
            (Some((key, size)), Some(_)) => reader.divisor(&key, size, n_channels),
            (None, Some(size)) => reader.divisor("the head size", size, n_channels),
            (_, None) => {
                let expected = format!("a value for each of {n_channels} channels, or for each head");
                Err(reader.shape_error(decay, &expected))
            }
        }
    })?;
    Ok(Config { n_decays: reader.required("att.time_decay", Some(0))?.n_elements(), ..config })
}
