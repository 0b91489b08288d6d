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

/// Measure how well a model predicts a text
#[derive(Args)]
#[command(after_help = "\
The text is one stream from the zero state, with token 0 (end of document) before its first token. Bits per \
byte compare models of different vocabularies.

Examples:
  wingbeat perplexity held-out.txt
  wingbeat perplexity -m model.gguf --precision exact --json held-out.txt")]
pub(crate) struct Perplexity {
    /// Text file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print {tokens, nats_per_token, perplexity, bits_per_byte, bytes, seconds}
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
        self.profile.begin(&model)?;
        let interrupt = Interrupt::heed()?;
        let bar = Progress::new(!global.quiet, "reading", "tokens", 0);
        let started = Instant::now();
        let result = model.perplexity(&text, &mut |progress| {
            bar.set(progress.done, progress.total);
            // The last call has nothing left to stop.
            progress.done == progress.total || !interrupt.requested()
        });
        drop(bar);
        let seconds = started.elapsed().as_secs_f64();
        let result = match result {
            Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
            result => result.with_context(|| self.file.display().to_string())?,
        };
        if self.json {
            output::print_json(&json!({
                "tokens": result.tokens,
                "nats_per_token": result.nats_per_token,
                "perplexity": result.perplexity(),
                "bits_per_byte": result.bits_per_byte(),
                "bytes": result.bytes,
                "seconds": seconds,
            }))?;
        } else {
            output::print(format!(
                "{} tokens, {:.5} nats per token, perplexity {:.4}, {:.5} bits per byte\n",
                result.tokens,
                result.nats_per_token,
                result.perplexity(),
                result.bits_per_byte(),
            ))?;
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }
}
