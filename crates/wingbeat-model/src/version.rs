//! The detector: which RWKV version a file holds.

use crate::{Catalog, Config, Forward, GgufName, Layout, ModelError, Row, v4, v5, v6, v7};
use wingbeat_backend::{Backend, StateLayout};
use wingbeat_format::ModelFile;

/// An RWKV version that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// RWKV-4 "Dove".
    V4,
    /// RWKV-5 "Eagle", 5.1 and 5.2.
    V5,
    /// RWKV-6 "Finch".
    V6,
    /// RWKV-7 "Goose".
    V7,
}

/// What tells a version from the others.
struct Traits {
    version: Version,
    name: &'static str,
    architecture: &'static str,
    table: &'static [Row],
    /// Tensors that no version before it in [`TRAITS`] and none after has; one is enough, so that a file which lacks another is
    /// told which.
    markers: &'static [&'static str],
    config: fn(&ModelFile) -> Result<Config, ModelError>,
    state_layout: fn(&Config) -> StateLayout,
}

/// Newest first: older versions' tensors are in newer ones, too.
const TRAITS: [Traits; 4] = [
    Traits {
        version: Version::V7,
        name: "RWKV-7",
        architecture: "rwkv7",
        table: v7::TABLE,
        markers: &["blocks.0.att.r_k", "blocks.0.att.x_r", "blocks.0.att.k_k"],
        config: v7::config,
        state_layout: v7::state_layout,
    },
    Traits {
        version: Version::V6,
        name: "RWKV-6",
        architecture: "rwkv6",
        table: v6::TABLE,
        markers: &["blocks.0.att.time_maa_x", "blocks.0.att.time_maa_w1", "blocks.0.att.time_decay_w1"],
        config: v6::config,
        state_layout: v6::state_layout,
    },
    Traits {
        version: Version::V5,
        name: "RWKV-5",
        architecture: "rwkv5",
        table: v5::TABLE,
        markers: &["blocks.0.att.ln_x.weight", "blocks.0.att.ln_x.bias"],
        config: v5::config,
        state_layout: v5::state_layout,
    },
    Traits {
        version: Version::V4,
        name: "RWKV-4",
        architecture: "rwkv4",
        table: v4::TABLE,
        markers: &["blocks.0.att.time_decay", "blocks.0.att.time_mix_k"],
        config: v4::config,
        state_layout: v4::state_layout,
    },
];

impl Version {
    /// Every version that can be run.
    pub const ALL: &'static [Version] = &[Version::V4, Version::V5, Version::V6, Version::V7];

    fn traits(self) -> &'static Traits {
        let found = TRAITS.iter().find(|traits| traits.version == self);
        found.expect("every version has a row")
    }

    /// Its name, `RWKV-7`.
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// Its weight table.
    pub fn table(self) -> &'static [Row] {
        self.traits().table
    }

    /// Its name as GGUF's `general.architecture`.
    pub fn gguf_architecture(self) -> &'static str {
        self.traits().architecture
    }

    /// Reads the dimensions of a model of this version.
    ///
    /// # Errors
    /// A tensor that gives a dimension is missing or has an odd shape.
    pub fn config(self, file: &ModelFile) -> Result<Config, ModelError> {
        (self.traits().config)(file)
    }

    /// The slabs of a state of a model of this version.
    pub fn state_layout(self, config: &Config) -> StateLayout {
        (self.traits().state_layout)(config)
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
                let found = TRAITS.iter().find(|traits| traits.architecture == arch);
                let of = |kind: &str| format!("architecture `{arch}`{kind}");
                found.map(|traits| traits.version).ok_or_else(|| {
                    unsupported(match arch {
                        // Recurrences in another model's place for attention: norms, FFN and vocabulary are that model's.
                        "rwkv6qwen2" | "arwkv7" => of(", a Qwen2 with RWKV's recurrence and no RWKV model,"),
                        _ => of(""),
                    })
                })
            }
            layout => {
                // A marker has the name of a tensor in the first layer.
                let name = |marker: &str, traits: &Traits| {
                    let name = marker.trim_start_matches("blocks.0.");
                    let row = traits.table.iter().find(|row| row.name == name);
                    row.map(|row| (row.name, row.gguf))
                };
                let has = |marker: &str, traits: &Traits| {
                    let found = name(marker, traits);
                    found.is_some_and(|(name, gguf)| layout.find(file, name, gguf, Some(0)).is_ok())
                };
                // fla's other models share this layout, but only RWKV-7 is RWKV as it was trained.
                let known = if layout == Layout::HuggingFace { &TRAITS[..1] } else { &TRAITS[..] };
                let found =
                    known.iter().find(|traits| traits.markers.iter().any(|marker| has(marker, traits)));
                let missing = || {
                    let (name, gguf) =
                        name(TRAITS[0].markers[0], &TRAITS[0]).unwrap_or(("", GgufName::Block("")));
                    layout.tensor_name(name, gguf, Some(0))
                };
                found.map(|traits| traits.version).ok_or_else(|| ModelError::NotRwkv {
                    file: file.label().to_owned(),
                    why: format!("there is no tensor `{}`", missing()),
                })
            }
        }
    }

    /// Detects the version and hands the weights to a device.
    ///
    /// # Errors
    /// The file is no model of a known version, a tensor is missing or misshapen, or the device refuses it.
    pub fn load<B: Backend>(file: &ModelFile, backend: &B) -> Result<Forward<B>, ModelError> {
        Forward::load(&Catalog::open(file)?, backend)
    }
}
