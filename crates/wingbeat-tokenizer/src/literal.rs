//! Python string and bytes literals, as the lines of a vocabulary text file hold them.
//!
//! [`read`] takes what Python's `ast.literal_eval` takes of one plain literal (no prefix but `b`, no triple
//! quotes, no `\N{…}` names, which `repr` never writes); [`write()`] writes what Python's `repr` writes. The
//! lines around the literals are `text.rs`, the escapes of GGUF token lists, which look alike but differ, are
//! `gguf.rs`.

/// Appends the bytes that `literal` stands for to `out`: a string's UTF-8, or the bytes of a `b''` literal.
///
/// On an error, `out` may hold a part of them.
pub(crate) fn read(literal: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let (is_bytes, quoted) = match literal {
        [b'b', rest @ ..] => (true, rest),
        _ => (false, literal),
    };
    let (quote, body) = match quoted {
        [open @ (b'\'' | b'"'), body @ .., close] if open == close => (*open, body),
        _ => return Err("expected a Python string or bytes literal in quotes".to_owned()),
    };
    if is_bytes && !body.is_ascii() {
        return Err("a bytes literal may hold only ASCII characters".to_owned());
    }
    if let Err(e) = std::str::from_utf8(body) {
        return Err(format!("the literal is not valid UTF-8 after {} bytes", e.valid_up_to()));
    }

    let mut rest = body;
    while let Some((&first, after)) = rest.split_first() {
        if first == quote {
            return Err("a quote inside the literal is not escaped".to_owned());
        }
        if first != b'\\' {
            let n = rest.iter().position(|&b| b == quote || b == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            continue;
        }
        let Some((&kind, after)) = after.split_first() else {
            return Err("the literal ends in the middle of an escape".to_owned());
        };
        rest = after;
        match kind {
            b'\\' | b'\'' | b'"' => out.push(kind),
            b'a' => out.push(0x07),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            b'0'..=b'7' => {
                let n = 1 + rest.iter().take(2).take_while(|b| (b'0'..=b'7').contains(*b)).count();
                let code = std::iter::once(&kind)
                    .chain(&rest[..n - 1])
                    .fold(0, |code, digit| code * 8 + u32::from(digit - b'0'));
                rest = &rest[n - 1..];
                push_code(code, is_bytes, out)?;
            }
            b'x' => push_code(take_hex(&mut rest, 2)?, is_bytes, out)?,
            b'u' if !is_bytes => push_code(take_hex(&mut rest, 4)?, false, out)?,
            b'U' if !is_bytes => push_code(take_hex(&mut rest, 8)?, false, out)?,
            b'N' if !is_bytes => {
                return Err("escapes by character name (\\N{…}) are not known here".to_owned());
            }
            // Python keeps an unknown escape as it stands. The character after the backslash may be longer than
            // one byte, so it is left to the next turn.
            _ => {
                out.push(b'\\');
                out.push(kind);
            }
        }
    }
    Ok(())
}

/// Appends the literal for `token` to `out`: a string literal if it is valid UTF-8, else a bytes literal.
pub(crate) fn write(token: &[u8], out: &mut Vec<u8>) {
    let quote = if token.contains(&b'\'') && !token.contains(&b'"') { b'"' } else { b'\'' };
    let Ok(text) = std::str::from_utf8(token) else {
        out.extend_from_slice(b"b");
        out.push(quote);
        write_bytes_body(token, out);
        out.push(quote);
        return;
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ if c.is_ascii() && c as u8 == quote => out.extend_from_slice(&[b'\\', quote]),
            ' '..='~' => out.push(c as u8),
            _ if is_printable(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                let code = u32::from(c);
                let escape = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.extend_from_slice(escape.as_bytes());
            }
        }
    }
    out.push(quote);
}

/// Appends what stands between the quotes in Python's `repr` of the bytes `token`.
///
/// Python picks the quote: `"` if there is a `'` and no `"` among the bytes, else `'`; only that one is escaped.
pub(crate) fn write_bytes_body(token: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let escape_quote = token.contains(&b'"');
    for &byte in token {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\'' if escape_quote => out.extend_from_slice(b"\\'"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(&[
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

/// The value of `digit` in a hexadecimal number.
pub(crate) fn hex_value(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// Takes exactly `n` hexadecimal digits off the front of `rest`.
fn take_hex(rest: &mut &[u8], n: usize) -> Result<u32, String> {
    let code = rest
        .get(..n)
        .and_then(|digits| digits.iter().try_fold(0u32, |code, &digit| Some(code << 4 | hex_value(digit)?)))
        .ok_or_else(|| format!("expected {n} hexadecimal digits in an escape"))?;
    *rest = &rest[n..];
    Ok(code)
}

/// Appends one escaped value: a byte in a bytes literal, a character in a string.
fn push_code(code: u32, is_bytes: bool, out: &mut Vec<u8>) -> Result<(), String> {
    if is_bytes {
        let byte = u8::try_from(code).map_err(|_| format!("escape of value {code} in a bytes literal"))?;
        out.push(byte);
    } else {
        let c = char::from_u32(code).ok_or_else(|| format!("U+{code:04X} is not a character"))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

/// Whether Python's `repr` shows `c` as it is.
///
/// Rust's debug form escapes the same categories (control, format, unassigned, private, separators); it also
/// escapes a combining mark, but only as the first character, hence the letter before it.
fn is_printable(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    !text.escape_debug().skip(1).any(|shown| shown == '\\')
}

#[cfg(test)]
mod tests;
