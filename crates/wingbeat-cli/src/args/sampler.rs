//! How tokens are chosen: a preset, and flags over it.

use anyhow::bail;
use clap::{Args, ValueEnum};
use std::{
    process,
    time::{SystemTime, UNIX_EPOCH},
};
use wingbeat::{Model, sampler::SamplerConfig};

/// Flags of the commands that generate text.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplerArgs {
    /// Settings to begin with; the flags below change single ones
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Always take the most probable token; the same as --temperature 0
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    /// Below 1 sharper, above flatter, 0 greedy
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keep the most probable tokens that together reach this probability; 1 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keep this many of the most probable tokens; 0 is off
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Keep tokens at least this many times as probable as the first; 0 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Keep the most typical tokens that together reach this probability; 1 is off
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    typical: Option<f32>,
    /// Taken off the logits of tokens that have occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Taken off the logit of a token for each time that it has occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// How occurrences fade with each token; 1 is never
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    penalty_decay: Option<f32>,
    /// Divides the logits of recent tokens; 1 is off
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// How many tokens are recent
    #[arg(long, value_name = "N")]
    repetition_window: Option<usize>,
    /// Added to a token's logit; may be repeated
    #[arg(long, value_name = "ID=VALUE", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
    /// The same seed and flags give the same text [default: of the time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// RWKV's recommendations.
#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Conversation: narrow, half a point of each penalty
    Chat,
    /// Stories: wide, cooled, with a strong dislike of what was said
    Creative,
    /// Facts, code, extraction: near greedy, no penalties
    Conservative,
}

impl SamplerArgs {
    /// The settings; `default` where no preset is named.
    pub(crate) fn config(&self, default: SamplerConfig) -> anyhow::Result<SamplerConfig> {
        let preset = match self.preset {
            None => default,
            Some(Preset::Chat) => SamplerConfig::chat(),
            Some(Preset::Creative) => SamplerConfig::creative(),
            Some(Preset::Conservative) => SamplerConfig::conservative(),
        };
        let temperature = if self.greedy { Some(0.0) } else { self.temperature };
        let config = SamplerConfig {
            temperature: temperature.unwrap_or(preset.temperature),
            top_p: self.top_p.unwrap_or(preset.top_p),
            top_k: self.top_k.unwrap_or(preset.top_k),
            min_p: self.min_p.unwrap_or(preset.min_p),
            typical_p: self.typical.unwrap_or(preset.typical_p),
            presence_penalty: self.presence_penalty.unwrap_or(preset.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(preset.frequency_penalty),
            penalty_decay: self.penalty_decay.unwrap_or(preset.penalty_decay),
            repetition_penalty: self.repetition_penalty.unwrap_or(preset.repetition_penalty),
            repetition_window: self.repetition_window.unwrap_or(preset.repetition_window),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or_else(seed_of_the_time),
            ..preset
        };
        config.validate()?;
        Ok(config)
    }

    /// Refuses a bias of a token that the model does not have: the sampler would pass it over in silence.
    pub(crate) fn check(&self, model: &Model) -> anyhow::Result<()> {
        let n_vocab = model.config().n_vocab;
        match self.logit_bias.iter().find(|(id, _)| *id as usize >= n_vocab) {
            Some((id, _)) => bail!("--logit-bias: token {id} is outside the vocabulary of {n_vocab} tokens"),
            None => Ok(()),
        }
    }
}

/// A seed that is another one the next time, short enough to be typed again.
fn seed_of_the_time() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
    // Fibonacci hashing: neighbouring times give seeds far apart.
    (nanos ^ u64::from(process::id()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, value)| Some((id.parse().ok()?, value.parse().ok()?)));
    parsed.ok_or_else(|| "expected ID=VALUE, such as 261=-5.5".to_owned())
}
