//! The detector: which RWKV version a file holds.

use crate::{Config, Forward, Layout, ModelError, Row, v7};
use wingbeat_backend::Backend;
use wingbeat_format::ModelFile;

/// Tensors that no other version has; one is enough, so that a file which lacks another is told which.
const V7_MARKERS: [&str; 3] = ["blocks.0.att.r_k", "blocks.0.att.x_r", "blocks.0.att.k_k"];

/// An RWKV version that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// RWKV-7 "Goose".
    V7,
}

impl Version {
    /// Every version that can be run.
    pub const ALL: &'static [Version] = &[Version::V7];

    /// Its name, `RWKV-7`.
    pub fn name(self) -> &'static str {
        match self {
            Version::V7 => "RWKV-7",
        }
    }

    /// Its weight table.
    pub fn table(self) -> &'static [Row] {
        match self {
            Version::V7 => v7::TABLE,
        }
    }

    /// Its name as GGUF's `general.architecture`.
    pub fn gguf_architecture(self) -> &'static str {
        match self {
            Version::V7 => "rwkv7",
        }
    }

    /// Reads the dimensions of a model of this version.
    ///
    /// # Errors
    /// A tensor that gives a dimension is missing or has an odd shape.
    pub fn config(self, file: &ModelFile) -> Result<Config, ModelError> {
        match self {
            Version::V7 => v7::config(file),
        }
    }

    /// Finds the version of a file, by GGUF's architecture or by a tensor that only that version has.
    ///
    /// # Errors
    /// [`ModelError::NotRwkv`] or [`ModelError::Unsupported`], saying what was found.
    pub fn detect(file: &ModelFile) -> Result<Version, ModelError> {
        let supported = || Version::ALL.iter().map(|v| v.name()).collect::<Vec<_>>().join(", ");
        let unsupported = |found: String| ModelError::Unsupported {
            file: file.label().to_owned(),
            found,
            supported: supported(),
        };
        match Layout::of(file) {
            Layout::Gguf => {
                let arch =
                    file.metadata().str("general.architecture").ok_or_else(|| ModelError::NotRwkv {
                        file: file.label().to_owned(),
                        why: "the metadata has no general.architecture".to_owned(),
                    })?;
                Version::ALL
                    .iter()
                    .copied()
                    .find(|v| v.gguf_architecture() == arch)
                    .ok_or_else(|| unsupported(format!("architecture `{arch}`")))
            }
            Layout::BlinkDl => {
                if V7_MARKERS.iter().any(|tensor| file.tensor(tensor).is_some()) {
                    return Ok(Version::V7);
                }
                // Told apart only to say what the file is.
                let older = [
                    ("blocks.0.att.time_maa_x", "RWKV-6"),
                    ("blocks.0.att.ln_x.weight", "RWKV-5"),
                    ("blocks.0.att.time_decay", "RWKV-4"),
                    ("model.layers.0.attn.x_r", "the Hugging Face (fla) layout"),
                ];
                match older.iter().find(|(tensor, _)| file.tensor(tensor).is_some()) {
                    Some((_, found)) => Err(unsupported((*found).to_owned())),
                    None => Err(ModelError::NotRwkv {
                        file: file.label().to_owned(),
                        why: format!("there is no tensor `{}`", V7_MARKERS[0]),
                    }),
                }
            }
        }
    }

    /// Detects the version and hands the weights to a device.
    ///
    /// # Errors
    /// The file is no model of a known version, a tensor is missing or misshapen, or the device refuses it.
    pub fn load<B: Backend>(file: &ModelFile, backend: &B) -> Result<Forward<B>, ModelError> {
        let forward = match Version::detect(file)? {
            Version::V7 => Forward::new(Box::new(v7::Rwkv7::load(file, backend)?), backend),
        };
        forward.ready(backend)?;
        Ok(forward)
    }
}
