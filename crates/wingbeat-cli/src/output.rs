//! Standard output: raw bytes, flushed when asked, and errors instead of panics.

use anyhow::Context;
use serde::Serialize;
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Standard output, held for the time of a command.
pub(crate) struct Output {
    out: StdoutLock<'static>,
    is_terminal: bool,
    /// Whether the last byte written was a line break, or none was written.
    at_line_start: bool,
}

impl Output {
    /// Takes standard output.
    pub(crate) fn stdout() -> Output {
        Output { out: io::stdout().lock(), is_terminal: io::stdout().is_terminal(), at_line_start: true }
    }

    /// Whether people read it as it comes.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes bytes as they are and sends them off.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// On a terminal, makes sure that what follows begins on a line of its own.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.is_terminal && !self.at_line_start { self.write(b"\n") } else { Ok(()) }
    }
}

/// Writes a command's whole result to standard output.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    Output::stdout().write(bytes.as_ref()).context("standard output")
}

/// Writes a command's whole result as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    print(text)
}

/// A cell of comma-separated values (RFC 4180).
pub(crate) fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
