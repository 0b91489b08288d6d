//! Errors as people see them: one line on standard error, and an exit code.
//!
//! 1 for what went wrong, 2 for a command line that cannot be understood, 0 where whoever reads our output had enough.
//! The messages come from the libraries; here they are only put on a line.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// Reports what ended a command.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    say(&one_line(error));
    ExitCode::FAILURE
}

/// Reports that something failed while the program goes on.
pub(crate) fn say(message: &str) {
    // With standard error closed there is nobody to tell; `eprintln` would panic.
    let _ = writeln!(io::stderr(), "error: {message}");
}

/// Something worth knowing, on standard error.
pub(crate) fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Reports a command line that clap refused; help and version, which come the same way, are printed.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand as NothingGiven, DisplayVersion,
    };
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if matches!(error.kind(), DisplayHelp | DisplayVersion | NothingGiven) {
        let _ = error.print();
        return code;
    }
    // clap's message is several paragraphs: what is wrong, tips, the usage, where help is.
    let text = error.render().to_string();
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .filter(|p| !p.trim_start().starts_with("Usage:") && !p.starts_with("For more information"))
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|p| !p.is_empty())
        .collect();
    let line = paragraphs.join("; ");
    say(line.strip_prefix("error: ").unwrap_or(&line));
    code
}

/// An error and its causes on one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // The libraries' messages say their cause already.
        if line.is_empty() || !line.ends_with(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    // A file name may hold a line break or an escape sequence.
    line.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// Whether the reader of our standard output has gone. Other pipes' errors come wrapped in the libraries' errors.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
