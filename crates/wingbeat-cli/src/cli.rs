//! The command line as a whole: global flags and the list of commands.
//!
//! clap's definitions are the one source of parsing, help, completions and the manual pages. To add a command: a file
//! in `commands`, a variant and an arm here.

use crate::{args::Global, commands};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  wingbeat generate \"It was a dark and stormy night\"
  wingbeat generate -m model.gguf --preset creative --seed 7 -n 500 < story.txt
  wingbeat state book.txt -o book.state
  wingbeat fields --state book.state --field \"Author:\" --field \"Place:\"
  wingbeat embed --lines notes.txt -o notes.jsonl
  wingbeat similar \"a walk by the sea\" --in notes.jsonl
  wingbeat chat -m rwkv7-g1.gguf --system \"Answer briefly.\"
  wingbeat tokenize \"The Eiffel tower\" | wingbeat tokenize --decode
  wingbeat convert model.safetensors model.gguf --type q8_0
  wingbeat quantize model.gguf small.gguf --type q4_k_m
  wingbeat inspect model.gguf
  wingbeat chat -m hf:user/rwkv7-g1-gguf:q8_0

Without --model, the demo model is used: 26 million parameters, trained on public-domain novels.";

/// An inference engine made for RWKV
#[derive(Parser)]
#[command(name = "wingbeat", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(commands::Generate),
    Chat(commands::Chat),
    Embed(commands::Embed),
    Similar(commands::Similar),
    State(commands::State),
    Fields(commands::Fields),
    Tokenize(commands::Tokenize),
    Inspect(commands::Inspect),
    Convert(commands::Convert),
    #[cfg(feature = "hub")]
    Pull(commands::Pull),
    #[cfg(feature = "hub")]
    Models(commands::Models),
    Quantize(commands::Quantize),
    Perplexity(commands::Perplexity),
    Bench(commands::Bench),
    Dump(commands::Dump),
    Devices(commands::Devices),
    Completions(commands::Completions),
    Man(commands::Man),
}

impl Cli {
    /// Runs the command; the exit code is what it answers.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let global = self.global;
        match self.command {
            Command::Generate(command) => command.run(global),
            Command::Chat(command) => command.run(global),
            Command::Embed(command) => command.run(global),
            Command::Similar(command) => command.run(global),
            Command::State(command) => command.run(global),
            Command::Fields(command) => command.run(global),
            Command::Tokenize(command) => command.run(global),
            Command::Inspect(command) => command.run(global),
            Command::Convert(command) => command.run(global),
            #[cfg(feature = "hub")]
            Command::Pull(command) => command.run(global),
            #[cfg(feature = "hub")]
            Command::Models(command) => command.run(),
            Command::Quantize(command) => command.run(global),
            Command::Perplexity(command) => command.run(global),
            Command::Bench(command) => command.run(global),
            Command::Dump(command) => command.run(global),
            Command::Devices(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests;
