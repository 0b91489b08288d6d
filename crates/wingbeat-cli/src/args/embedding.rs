//! What an embedding is made of.

use crate::embeddings::Kind;
use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use wingbeat::{EmbeddingOf, Model, Pooling};

/// Flags of the commands that embed texts.
#[derive(Args)]
#[command(next_help_heading = "Embedding")]
pub(crate) struct EmbeddingArgs {
    /// What it is made of [default: hidden]
    #[arg(long, value_enum)]
    of: Option<Of>,
    /// How the vectors of a text's tokens become one [default: mean]
    #[arg(long, value_enum)]
    pooling: Option<PoolingArg>,
    /// The vectors, or the part of the state, of this layer: from 0, or from the end with -1 the last. Of hidden: the
    /// residual stream after it, without the last norm, and later layers are not run
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    layer: Option<i64>,
    /// Only this part of the state: att_shift, wkv or ffn_shift
    #[arg(long, value_name = "NAME")]
    slab: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Hidden vectors (C), after the last norm
    Hidden,
    /// The state after the last token, flattened; nothing is pooled
    State,
}

#[derive(Clone, Copy, ValueEnum)]
enum PoolingArg {
    /// The mean of all tokens' vectors
    Mean,
    /// The last token's vector
    Last,
}

impl EmbeddingArgs {
    /// Whether any of the flags was given.
    pub(crate) fn is_given(&self) -> bool {
        self.of.is_some() || self.pooling.is_some() || self.layer.is_some() || self.slab.is_some()
    }

    /// Refuses flags that contradict each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let of_state = self.of == Some(Of::State);
        ensure!(of_state || self.slab.is_none(), "--slab is a part of the state: it needs --of state");
        ensure!(!of_state || self.pooling.is_none(), "--pooling: there is nothing to pool with --of state");
        Ok(())
    }

    /// What they say, for a model.
    pub(crate) fn kind(&self, model: &Model) -> anyhow::Result<Kind> {
        self.check()?;
        let layer = self.layer.map(|layer| layer_of(layer, model.config().n_layers)).transpose()?;
        let of = match self.of {
            Some(Of::State) => EmbeddingOf::State { slab: self.slab.clone(), layer },
            _ => layer.map_or(EmbeddingOf::Hidden, EmbeddingOf::Layer),
        };
        // Finds out what is not there.
        model.embedding_width(&of)?;
        let pooling = match self.pooling {
            Some(PoolingArg::Last) => Pooling::Last,
            Some(PoolingArg::Mean) | None => Pooling::Mean,
        };
        Ok(Kind::text(of, pooling))
    }
}

/// A layer from 0, of one that may be counted from the end.
fn layer_of(layer: i64, n_layers: usize) -> anyhow::Result<usize> {
    let from_end = if layer < 0 { n_layers } else { 0 };
    let found = usize::try_from(layer.saturating_add_unsigned(from_end as u64)).ok();
    match found.filter(|layer| *layer < n_layers) {
        Some(layer) => Ok(layer),
        None => bail!("--layer: expected -{n_layers} to {}, found {layer}", n_layers.saturating_sub(1)),
    }
}

/// A number from 1.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests;
