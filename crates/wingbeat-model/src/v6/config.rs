//! RWKV-6's dimensions, from the tensors; a GGUF's head size, epsilon and rescaling from its metadata.

use crate::{Config, ModelError, Version, dimensions::Reader};
use wingbeat_format::ModelFile;

/// Shifts that depend on the data: of w, k, v, r, g.
pub(crate) const N_SHIFTS: usize = 5;

pub(crate) fn config(file: &ModelFile) -> Result<Config, ModelError> {
    let reader = Reader::new(file, Version::V6);
    let mut config = reader.config(|reader, n_channels| reader.head_size("att.time_faaaa", n_channels))?;
    let shifts = reader.low_rank("att.time_maa_w1", 0, config.n_channels)?;
    if !shifts.is_multiple_of(N_SHIFTS) {
        let tensor = reader.required("att.time_maa_w1", Some(0))?;
        return Err(reader.shape_error(tensor, &format!("{N_SHIFTS} ranks beside {}", config.n_channels)));
    }
    let decay = reader.low_rank("att.time_decay_w1", 0, config.n_channels)?;
    config.low_ranks = vec![('m', shifts / N_SHIFTS), ('d', decay)];
    if let Some((key, every)) = reader.u64("rescale_every_n_layers") {
        config.rescaled_every = match usize::try_from(every) {
            // Halves as often as layers can be halved without becoming nothing; no model has 100 of them.
            Ok(every) if every == 0 || config.n_layers / every < 64 => every,
            _ => {
                return Err(reader.metadata_error(&key, every, "0 or a number of layers".to_owned()));
            }
        };
    }
    Ok(config)
}
