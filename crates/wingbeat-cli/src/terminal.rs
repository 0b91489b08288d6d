//! How wide the terminal is, and text that fits it.

use rustyline::{Behavior, Config, DefaultEditor};
use std::io::{self, IsTerminal};

/// Narrower columns are not worth wrapping to.
const NARROWEST: usize = 16;

/// Columns of the terminal that standard output is; none where it is something else.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    // The line editor knows how to ask on every platform.
    let config = Config::builder().behavior(Behavior::Stdio).build();
    let (columns, _) = DefaultEditor::with_config(config).ok()?.dimensions()?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// Columns that a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// East Asian wide characters and pictures take two columns, combining marks none.
fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// A text on one line: white space is single spaces, control characters are replacement characters.
pub(crate) fn on_one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The beginning of a text that takes at most `most` columns, with `…` where it goes on.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let beginning = text.chars().take_while(|c| match left.checked_sub(columns_of(*c)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    beginning.chain(['…']).collect()
}

/// Lines of at most `most` columns, broken between words where that is possible.
pub(crate) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let most = most.max(NARROWEST);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let n = columns(word);
        if used > 0 && used + 1 + n > most {
            lines.push(String::new());
            used = 0;
        } else if used > 0 {
            lines.last_mut().expect("there is a line from the start").push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used + columns_of(c) > most {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().expect("there is a line from the start").push(c);
            used += columns_of(c);
        }
    }
    lines
}

#[cfg(test)]
mod tests;
