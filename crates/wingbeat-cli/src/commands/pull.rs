//! `wingbeat pull`: a model of the Hugging Face hub into the hub's cache.

use crate::{args::Global, failure, hub, interrupt::Interrupt, output};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use wingbeat_hub::{HubError, Reference};

/// Fetch a model from the Hugging Face hub
#[derive(Args)]
#[command(after_help = "\
The model goes to the cache that all of the hub's tools share, and its path to standard output; `--model hf:user/repo` \
runs it from there, and fetches it first where it is not there yet. `wingbeat models` lists what there is.

TYPE is a GGUF's type as its name spells it (q4_k_m, Q8_0, f16, in any case), FILE a file's name or a part of it that no \
other has. Without them, a repository of one model is clear; where files differ in their type only, GGUF is preferred to \
safetensors, .st, .pth and .bin, in this order of types: Q8_0, Q6_K, Q5_K_M, Q5_1, Q5_0, Q4_K_M, Q4_1, Q4_0, F16, BF16, \
F32, then smaller ones. Between different models nothing is guessed: the error lists them. REVISION is a branch, a tag \
or a commit. A model in shards comes with its index, one in the Hugging Face layout with its configuration and tokenizer.

A download that was interrupted goes on where it was; what has arrived is compared with the hub's SHA-256 before it \
appears. After Ctrl-C the exit code is 130.

Environment: HF_HOME or HF_HUB_CACHE (the cache, by default ~/.cache/huggingface/hub), HF_TOKEN (or the file that `hf auth \
login` writes), HF_ENDPOINT (another hub), HF_HUB_OFFLINE=1 (no network: what is in the cache), HTTPS_PROXY.

--json prints {\"repo\", \"file\", \"commit\", \"path\", \"bytes\", \"fetched_bytes\"}.

Examples:
  wingbeat pull user/rwkv7-g1-gguf:q8_0
  wingbeat pull BlinkDL/rwkv7-g1:0.4b
  wingbeat pull user/repo@v1.0:model.safetensors
  wingbeat chat -m hf:user/rwkv7-g1-gguf:q4_k_m")]
pub(crate) struct Pull {
    /// The model: user/repo, with a type or file after a colon, and a revision before it, where there are several
    #[arg(value_name = "USER/REPO[@REVISION][:TYPE|:FILE]")]
    model: Reference,
    /// Print what was fetched as JSON
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let hub = hub::hub()?;
        let interrupt = Interrupt::heed()?;
        let pulled = hub::watched(global.quiet, Some(&interrupt), |progress| hub.pull(&self.model, progress));
        let pulled = match pulled {
            Err(stopped @ HubError::Stopped { .. }) if interrupt.requested() => {
                if !global.quiet {
                    failure::note(&stopped.to_string());
                }
                return Ok(interrupt.exit_code());
            }
            pulled => pulled?,
        };
        if self.json {
            output::print_json(&json!({
                "repo": pulled.repo,
                "file": pulled.file,
                "commit": pulled.commit,
                "path": pulled.path.display().to_string(),
                "bytes": pulled.n_bytes,
                "fetched_bytes": pulled.n_fetched_bytes,
            }))?;
        } else {
            output::print(format!("{}\n", pulled.path.display()))?;
        }
        Ok(interrupt.exit_code())
    }
}
