//! `wingbeat completions`: a shell's completion script, from the same definitions as the parser.

use crate::{cli::Cli, output};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use std::process::ExitCode;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Example:
  wingbeat completions bash > ~/.local/share/bash-completion/completions/wingbeat")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "wingbeat", &mut script);
        output::print(script)?;
        Ok(ExitCode::SUCCESS)
    }
}
