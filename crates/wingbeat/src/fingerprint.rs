//! What tells one model from another: a digest of its dimensions and of samples of every tensor.
//!
//! Samples, not whole tensors: a state file must name its model without a gigabyte being read. Training or merging
//! changes every tensor throughout, so samples tell models apart; the same weights in another storage type are
//! another model here, as their states differ.

use crate::state::le_bytes;
use sha2::{Digest, Sha256};
use wingbeat_model::Catalog;

/// Bytes of each sample.
const SAMPLE_BYTES: usize = 64;
/// Samples of a tensor, evenly spread.
const SAMPLES: usize = 4;

/// 32 hexadecimal digits, of the weights as they are used and of the tuned state that texts begin with.
pub(crate) fn fingerprint(catalog: &Catalog, tuned: Option<&[f32]>) -> String {
    let config = catalog.config();
    let mut hash = Sha256::new();
    hash.update(config.version.name());
    hash.update([config.head_size as u8, (config.head_size >> 8) as u8]);
    for weight in catalog.weights() {
        hash.update(weight.name.as_bytes());
        hash.update([0]);
        hash.update(weight.dtype.name());
        for n in &weight.shape {
            hash.update((*n as u64).to_le_bytes());
        }
        let last = weight.data.len().saturating_sub(SAMPLE_BYTES);
        for i in 0..SAMPLES {
            let start = last / (SAMPLES - 1) * i;
            hash.update(
                weight.data.get(start..(start + SAMPLE_BYTES).min(weight.data.len())).unwrap_or_default(),
            );
        }
    }
    if let Some(values) = tuned {
        hash.update(b"time_state\0");
        hash.update(le_bytes(values));
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
