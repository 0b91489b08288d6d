//! `wingbeat man`: manual pages, from the same definitions as the parser.

use crate::{cli::Cli, output};
use anyhow::bail;
use clap::{Args, CommandFactory};
use std::process::ExitCode;

/// Print a manual page
#[derive(Args)]
#[command(after_help = "\
Examples:
  wingbeat man > wingbeat.1
  wingbeat man generate > wingbeat-generate.1")]
pub(crate) struct Man {
    /// The command to print the page of [default: wingbeat itself]
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut cli = Cli::command();
        // Names the pages after the whole command, as `git-log` is.
        cli.build();
        let command = match &self.command {
            None => cli,
            Some(name) => match cli.find_subcommand(name) {
                Some(command) => command.clone(),
                None => {
                    let known: Vec<&str> = cli.get_subcommands().map(|c| c.get_name()).collect();
                    bail!("there is no command `{name}`; there are {}", known.join(", "))
                }
            },
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output::print(page)?;
        Ok(ExitCode::SUCCESS)
    }
}
