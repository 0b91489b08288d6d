//! The official vocabulary text file: one `id literal byte-length` a line.
//!
//! Source of the form: `rwkv_vocab_v20230424.txt` and the reader beside it in the PyPI package `rwkv`. Lines may
//! end in LF or CRLF (the packaged file has CRLF). The literals are read and written by `literal.rs`.

use crate::TokenizerError;
use crate::literal;
use crate::vocabulary::{Entry, MAX_IDS, Vocabulary};

/// Reads a vocabulary text file; `label` names it in errors.
pub(crate) fn read(label: &str, text: &[u8]) -> Result<Vocabulary, TokenizerError> {
    let fail = |line: usize, problem: String| TokenizerError::Line { label: label.to_owned(), line, problem };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut entries: Vec<Entry> = Vec::with_capacity(text.len() / 16);
    let mut lines: Vec<u32> = Vec::with_capacity(text.len() / 16);
    for (number, line) in (1usize..).zip(text.split(|&b| b == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let start = bytes.len();
        let id = read_line(line, &mut bytes).map_err(|problem| fail(number, problem))?;
        entries.push(Entry { id, start, end: bytes.len() });
        lines.push(u32::try_from(number).unwrap_or(u32::MAX));
    }

    // Nearly every file is in order of ids; one that is not is put in order, and then two equal ids are neighbours.
    if !entries.is_sorted_by(|a, b| a.id < b.id) {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&i| entries[i].id);
        if let Some(pair) = order.windows(2).find(|pair| entries[pair[0]].id == entries[pair[1]].id) {
            let problem = format!("id {} is given already by line {}", entries[pair[1]].id, lines[pair[0]]);
            return Err(fail(lines[pair[1]] as usize, problem));
        }
        entries = order.into_iter().map(|i| entries[i]).collect();
    }
    Vocabulary::from_entries(&bytes, &entries)
}

/// Writes the official form. An id without text has no line, but where the highest id has none it gets one with
/// an empty literal, so that the vocabulary's length survives.
pub(crate) fn write(vocabulary: &Vocabulary) -> Vec<u8> {
    let mut out = Vec::with_capacity(vocabulary.len().saturating_mul(17));
    let mut line = |id: u32, token: &[u8]| {
        out.extend_from_slice(id.to_string().as_bytes());
        out.push(b' ');
        literal::write(token, &mut out);
        out.push(b' ');
        out.extend_from_slice(token.len().to_string().as_bytes());
        out.push(b'\n');
    };
    for (id, token) in vocabulary.iter() {
        line(id, token);
    }
    if let Some(last) = vocabulary.last_id()
        && vocabulary.token(last).is_none()
    {
        line(last, b"");
    }
    out
}

/// Reads one line, appends the token to `bytes` and gives its id.
fn read_line(line: &[u8], bytes: &mut Vec<u8>) -> Result<u32, String> {
    let is_space = |b: &u8| *b == b' ';
    // The literal may hold spaces: it is what stands between the first and the last.
    let first = line.iter().position(is_space);
    let last = line.iter().rposition(is_space);
    let (Some(first), Some(last)) = (first, last) else {
        return Err("expected `id literal byte-length`".to_owned());
    };
    let Some(quoted) = line.get(first + 1..last) else {
        return Err("expected `id literal byte-length`, found only two parts".to_owned());
    };
    let id = read_number(&line[..first]).ok_or_else(|| found("an id", &line[..first]))?;
    let id = u32::try_from(id)
        .ok()
        .filter(|&id| (id as usize) < MAX_IDS)
        .ok_or_else(|| format!("id {id} is too large, ids must be below {MAX_IDS}"))?;
    let length = read_number(&line[last + 1..]).ok_or_else(|| found("a byte length", &line[last + 1..]))?;

    let start = bytes.len();
    literal::read(quoted, bytes)?;
    let n = bytes.len() - start;
    if n != length {
        return Err(format!("the line says {length} bytes but the literal has {n}"));
    }
    if id == 0 && n > 0 {
        return Err("id 0 is the end of a document and can have no text".to_owned());
    }
    Ok(id)
}

/// A decimal number without sign.
fn read_number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0usize, |n, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        n.checked_mul(10)?.checked_add(digit as usize)
    })
}

/// "expected …, found …", the found part cut short and made printable.
fn found(expected: &str, found: &[u8]) -> String {
    const SHOWN_BYTES: usize = 24;
    let shown = &found[..found.len().min(SHOWN_BYTES)];
    format!("expected {expected}, found `{}`", shown.escape_ascii())
}

#[cfg(test)]
mod tests;
