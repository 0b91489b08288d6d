//! The `wingbeat` command line: models, text and states from a shell.
//!
//! The far end of the data path: files and flags in, text out. Everything about models happens in the `wingbeat`
//! library; here are flags (`args`), one file a command (`commands`), files of embeddings (`embeddings`), what is
//! read and written besides (`hub`, `input`, `texts`, `new_file`), and how a program behaves in a terminal: `output` (standard
//! output and a reader that goes away), `terminal` (its width), `interrupt` (Ctrl-C), `progress` (bars), `failure`
//! (one line for each error).
#![deny(unsafe_code)]

mod args;
mod cli;
mod commands;
mod demo;
mod embeddings;
mod failure;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "hub_left_out.rs"]
mod hub;
mod input;
mod interrupt;
mod new_file;
mod output;
mod progress;
mod terminal;
mod texts;

use clap::Parser;
use cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    leave_desktop_out();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

/// Mesa's Vulkan layer that sorts GPUs by what the desktop uses complains on standard error where there is no desktop; it is
/// not needed, as they are sorted here.
fn leave_desktop_out() {
    const SWITCH: &str = "NODEVICE_SELECT";
    let is_set = |name| std::env::var_os(name).is_some();
    if cfg!(target_os = "linux") && !is_set("XDG_RUNTIME_DIR") && !is_set(SWITCH) {
        // SAFETY: the program has just begun, there is no other thread that could read the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(SWITCH, "1");
        }
    }
}
