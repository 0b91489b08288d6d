//! The `wingbeat` command line: models, text and states from a shell.
//!
//! The far end of the data path: files and flags in, text out. Everything about models happens in the `wingbeat`
//! library; here are flags (`args`), one file a command (`commands`), and how a program behaves in a terminal:
//! `output` (standard output and a reader that goes away), `interrupt` (Ctrl-C), `progress` (bars), `failure` (one
//! line for each error).
#![forbid(unsafe_code)]

mod args;
mod cli;
mod commands;
mod demo;
mod failure;
mod input;
mod interrupt;
mod output;
mod progress;

use clap::Parser;
use cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
