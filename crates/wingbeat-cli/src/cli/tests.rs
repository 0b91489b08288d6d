//! The command line itself.

use super::Cli;
use clap::CommandFactory;

/// clap's own check of the definitions: names, conflicts, defaults.
#[test]
fn definitions_are_sound() {
    Cli::command().debug_assert();
}
