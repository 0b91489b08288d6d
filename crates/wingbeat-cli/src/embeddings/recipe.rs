//! What made some embeddings: model, kind, scale. Only what was made alike can be compared.

use anyhow::{anyhow, bail};
use std::fmt;
use wingbeat::{EmbedOptions, EmbeddingOf, Model, Pooling};
use wingbeat_format::Metadata;

/// Metadata keys of a safetensors file of embeddings.
mod key {
    pub(super) const FORMAT: &str = "wingbeat.embeddings";
    pub(super) const FINGERPRINT: &str = "wingbeat.model.fingerprint";
    pub(super) const NAME: &str = "wingbeat.model.name";
    pub(super) const OF: &str = "wingbeat.embeddings.of";
    pub(super) const LAYER: &str = "wingbeat.embeddings.layer";
    pub(super) const SLAB: &str = "wingbeat.embeddings.slab";
    pub(super) const POOLING: &str = "wingbeat.embeddings.pooling";
    pub(super) const NORMALIZED: &str = "wingbeat.embeddings.normalized";
}

/// What made some embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The model's name.
    pub(crate) model: String,
    /// What tells it from any other.
    pub(crate) fingerprint: String,
    pub(crate) kind: Kind,
    /// Whether rows have length 1.
    pub(crate) normalized: bool,
}

/// What an embedding is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a text that was read from the zero state.
    Text { of: EmbeddingOf, pooling: Pooling },
    /// The last hidden vector of a question asked of a document's state.
    Field,
}

impl Recipe {
    pub(crate) fn new(model: &Model, kind: Kind, normalized: bool) -> Recipe {
        Recipe {
            model: model.config().name.clone(),
            fingerprint: model.fingerprint().to_owned(),
            kind,
            normalized,
        }
    }

    /// As it stands in a file.
    pub(crate) fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.insert(key::FORMAT, "1");
        metadata.insert(key::FINGERPRINT, self.fingerprint.as_str());
        metadata.insert(key::NAME, self.model.as_str());
        let (of, layer, slab, pooling) = match &self.kind {
            Kind::Field => ("field", None, None, None),
            Kind::Text { of: EmbeddingOf::Hidden, pooling } => ("hidden", None, None, Some(*pooling)),
            Kind::Text { of: EmbeddingOf::Layer(n), pooling } => ("hidden", Some(*n), None, Some(*pooling)),
            Kind::Text { of: EmbeddingOf::State { slab, layer }, .. } => {
                ("state", *layer, slab.as_deref(), None)
            }
        };
        metadata.insert(key::OF, of);
        if let Some(layer) = layer {
            metadata.insert(key::LAYER, layer.to_string());
        }
        if let Some(slab) = slab {
            metadata.insert(key::SLAB, slab);
        }
        if let Some(pooling) = pooling {
            metadata.insert(key::POOLING, pooling_name(pooling));
        }
        metadata.insert(key::NORMALIZED, self.normalized.to_string());
        metadata
    }

    /// Of a file; none where it was written by another program.
    pub(crate) fn read(metadata: &Metadata) -> anyhow::Result<Option<Recipe>> {
        let text = |key| metadata.str(key);
        match text(key::FORMAT) {
            None => return Ok(None),
            Some("1") => {}
            Some(version) => bail!("`{}`: expected version 1, found {}", key::FORMAT, shown(version)),
        }
        let needed = |key| text(key).ok_or_else(|| anyhow!("the metadata has no `{key}`"));
        let wrong = |key: &str, expected: &str| {
            let found = shown(metadata.str(key).unwrap_or_default());
            anyhow!("`{key}`: expected {expected}, found {found}")
        };
        let layer = match text(key::LAYER) {
            None => None,
            Some(n) => Some(n.parse().map_err(|_| wrong(key::LAYER, "a number"))?),
        };
        let pooling = match text(key::POOLING) {
            None | Some("mean") => Pooling::Mean,
            Some("last") => Pooling::Last,
            Some(_) => return Err(wrong(key::POOLING, "mean or last")),
        };
        let of = match needed(key::OF)? {
            "field" => None,
            "hidden" => Some(layer.map_or(EmbeddingOf::Hidden, EmbeddingOf::Layer)),
            "state" => Some(EmbeddingOf::State { slab: text(key::SLAB).map(str::to_owned), layer }),
            _ => return Err(wrong(key::OF, "hidden, state or field")),
        };
        let kind = of.map_or(Kind::Field, |of| Kind::text(of, pooling));
        let normalized = match needed(key::NORMALIZED)? {
            "true" => true,
            "false" => false,
            _ => return Err(wrong(key::NORMALIZED, "true or false")),
        };
        let (model, fingerprint) = (needed(key::NAME)?.to_owned(), needed(key::FINGERPRINT)?.to_owned());
        Ok(Some(Recipe { model, fingerprint, kind, normalized }))
    }
}

impl Kind {
    /// Of a text; pooling does not count where there is nothing to pool.
    pub(crate) fn text(of: EmbeddingOf, pooling: Pooling) -> Kind {
        match of {
            EmbeddingOf::State { .. } => Kind::Text { of, pooling: Pooling::default() },
            of => Kind::Text { of, pooling },
        }
    }

    /// How the library makes them; none for what is not made of a text alone.
    pub(crate) fn options(&self) -> Option<EmbedOptions> {
        match self {
            Kind::Text { of, pooling } => {
                Some(EmbedOptions { of: of.clone(), pooling: *pooling, ..EmbedOptions::default() })
            }
            Kind::Field => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Field => f.write_str("answers to fields of a document"),
            Kind::Text { of: EmbeddingOf::Hidden, pooling } => {
                write!(f, "hidden vectors, pooling {}", pooling_name(*pooling))
            }
            Kind::Text { of: EmbeddingOf::Layer(layer), pooling } => {
                write!(f, "vectors after layer {layer}, pooling {}", pooling_name(*pooling))
            }
            Kind::Text { of: EmbeddingOf::State { slab, layer }, .. } => {
                f.write_str("states")?;
                if let Some(slab) = slab {
                    write!(f, ", slab {}", shown(slab))?;
                }
                layer.map_or(Ok(()), |layer| write!(f, ", layer {layer}"))
            }
        }
    }
}

fn pooling_name(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Last => "last",
        Pooling::Mean => "mean",
    }
}

/// A text from a file, fit for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
