//! `wingbeat perplexity`: how well a model predicts a text.

use crate::{
    args::{Global, ModelArgs, ProfileArgs},
    input,
    interrupt::Interrupt,
    output,
    progress::Progress,
};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode, time::Instant};
use wingbeat::Divergence;

/// Measure how well a model predicts a text
#[derive(Args)]
#[command(after_help = "\
The text is one stream from the zero state, with token 0 (end of document) before its first token. Bits per \
byte compare models of different vocabularies.

Examples:
  wingbeat perplexity held-out.txt
  wingbeat perplexity -m model.gguf --precision exact --json held-out.txt
  wingbeat perplexity -m model-q4_k_m.gguf --against model-f16.gguf held-out.txt")]
pub(crate) struct Perplexity {
    /// Text file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A model of the same vocabulary, run beside it: also tell how far the predictions are from this one's, as the
    /// Kullback-Leibler divergence and the part of positions where both think the same token the most likely
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// Print {tokens, nats_per_token, perplexity, bits_per_byte, bytes, seconds}, and with --against {against:
    /// {nats_per_token, perplexity, perplexity_ratio, kl_mean, kl_median, kl_99, kl_max, top1_agreement}}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl Perplexity {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let text = input::read(&self.file)?;
        let model = self.model.open()?;
        let reference = self.against.as_ref().map(|path| self.model.open_other(path)).transpose()?;
        self.profile.begin(&model)?;
        let interrupt = Interrupt::heed()?;
        let bar = Progress::new(!global.quiet, "reading", "tokens", 0);
        let started = Instant::now();
        let mut heeding = |progress: wingbeat::Progress| {
            bar.set(progress.done, progress.total);
            // The last call has nothing left to stop.
            progress.done == progress.total || !interrupt.requested()
        };
        let result = match &reference {
            Some(reference) => model
                .divergence(reference, &text, &mut heeding)
                .map(|divergence| (divergence.perplexity, Some(divergence))),
            None => model.perplexity(&text, &mut heeding).map(|perplexity| (perplexity, None)),
        };
        drop(bar);
        let seconds = started.elapsed().as_secs_f64();
        let (result, divergence) = match result {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            result => result.with_context(|| self.file.display().to_string())?,
        };
        if self.json {
            let mut value = json!({
                "tokens": result.tokens,
                "nats_per_token": result.nats_per_token,
                "perplexity": result.perplexity(),
                "bits_per_byte": result.bits_per_byte(),
                "bytes": result.bytes,
                "seconds": seconds,
            });
            if let Some(divergence) = &divergence {
                value["against"] = against_json(divergence);
            }
            output::print_json(&value)?;
        } else {
            output::print(format!(
                "{} tokens, {:.5} nats per token, perplexity {:.4}, {:.5} bits per byte\n{}",
                result.tokens,
                result.nats_per_token,
                result.perplexity(),
                result.bits_per_byte(),
                divergence.as_ref().map(against_text).unwrap_or_default(),
            ))?;
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }
}

fn against_json(divergence: &Divergence) -> serde_json::Value {
    json!({
        "nats_per_token": divergence.reference.nats_per_token,
        "perplexity": divergence.reference.perplexity(),
        "perplexity_ratio": divergence.perplexity_ratio(),
        "kl_mean": divergence.kl_mean(),
        "kl_median": divergence.kl_quantile(0.5),
        "kl_99": divergence.kl_quantile(0.99),
        "kl_max": divergence.kl_quantile(1.0),
        "top1_agreement": divergence.top1_agreement,
    })
}

fn against_text(divergence: &Divergence) -> String {
    format!(
        "against perplexity {:.4}: ratio {:.5}, divergence {:.6} nats per token (99th percentile {:.5}), {:.2} % the same \
         most likely token\n",
        divergence.reference.perplexity(),
        divergence.perplexity_ratio(),
        divergence.kl_mean(),
        divergence.kl_quantile(0.99),
        100.0 * divergence.top1_agreement,
    )
}
