//! What people hand in besides flags: files, standard input, lists of token ids.

use anyhow::{Context, bail};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// A whole file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == STDIN {
        return read_stdin();
    }
    fs::read(path).with_context(|| path.display().to_string())
}

/// All of standard input.
pub(crate) fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("standard input")?;
    Ok(bytes)
}

/// Token ids separated by white space and commas.
pub(crate) fn token_ids(text: &[u8]) -> anyhow::Result<Vec<u32>> {
    let words = text.split(|b| b.is_ascii_whitespace() || *b == b',').filter(|word| !word.is_empty());
    let mut ids = Vec::new();
    for word in words {
        match std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()) {
            Some(id) => ids.push(id),
            None => {
                let shown = word.get(..40).unwrap_or(word).escape_ascii();
                bail!("`{shown}` (number {} of the list) is not a token id", ids.len() + 1)
            }
        }
    }
    Ok(ids)
}

/// Undoes `\n`, `\r`, `\t`, `\0` and `\\`, which shells pass on as they are.
pub(crate) fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('0') => '\0',
                Some('\\') => '\\',
                Some(other) => return Err(format!(r"unknown escape `\{other}`; known are \n \r \t \0 \\")),
                None => return Err(r"a `\` at the end; a backslash is written `\\`".to_owned()),
            },
            other => other,
        });
    }
    if plain.is_empty() { Err("expected at least one byte".to_owned()) } else { Ok(plain) }
}

#[cfg(test)]
mod tests;
