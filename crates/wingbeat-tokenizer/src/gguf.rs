//! The token list of a GGUF file (`tokenizer.ggml.model = rwkv`): escaped byte strings and a type for each.
//!
//! Source of the form: llama.cpp, `llama_unescape_rwkv_token` in `src/llama-vocab.cpp` for reading and
//! `_set_vocab_rwkv_world` in `convert_hf_to_gguf.py` for writing. In a string, `\t \n \r \xNN` stand for one
//! byte each, a backslash before anything else for that thing itself, and all other bytes for themselves.
//! Finding the two lists in the file is `wingbeat-format`'s work.

use crate::TokenizerError;
use crate::literal::{self, hex_value};
use crate::vocabulary::{Builder, Vocabulary};

// Token types, from the GGUF specification (`tokenizer.ggml.token_type`).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Reads the two lists; without types, every entry is text but id 0 and the padding `[PADi]` at its own index i.
pub(crate) fn read<'a>(
    tokens: impl Iterator<Item = &'a [u8]>,
    types: Option<&[i32]>,
) -> Result<Vocabulary, TokenizerError> {
    // A token of World has 6 bytes on average. The iterator may lie about how many come, so what is made for it
    // beforehand is bounded.
    let n_expected = tokens.size_hint().0.min(1 << 16);
    let mut builder = Builder::new(n_expected, 6 * n_expected);
    let mut n_tokens = 0;
    for (id, escaped) in tokens.enumerate() {
        n_tokens = id + 1;
        let has_text = match types {
            Some(types) => matches!(types.get(id), Some(&(NORMAL | USER_DEFINED | BYTE))),
            None => !(escaped.starts_with(b"[PAD") && escaped == pad(id).as_bytes()),
        };
        if has_text && id > 0 {
            unescape(escaped, builder.text()).map_err(|problem| TokenizerError::GgufToken { id, problem })?;
        }
        builder.close()?;
    }
    if let Some(types) = types
        && types.len() != n_tokens
    {
        return Err(TokenizerError::GgufTypes { n_tokens, n_types: types.len() });
    }
    Ok(builder.finish())
}

/// Writes the two lists, padded to `n` entries.
pub(crate) fn write(vocabulary: &Vocabulary, n: usize) -> (Vec<Vec<u8>>, Vec<i32>) {
    let n = n.max(vocabulary.len());
    let mut tokens = Vec::with_capacity(n);
    let mut types = Vec::with_capacity(n);
    for id in 0..n {
        let text = u32::try_from(id).ok().and_then(|id| vocabulary.token(id));
        let (token, kind) = match text {
            Some(text) => {
                let mut escaped = Vec::with_capacity(text.len());
                literal::write_bytes_body(text, &mut escaped);
                (escaped, NORMAL)
            }
            None if id == 0 => (b"<s>".to_vec(), CONTROL),
            None => (pad(id).into_bytes(), UNUSED),
        };
        tokens.push(token);
        types.push(kind);
    }
    (tokens, types)
}

/// The name of an entry that only fills the list up.
fn pad(id: usize) -> String {
    format!("[PAD{id}]")
}

/// Appends the bytes that `escaped` stands for to `out`.
fn unescape(escaped: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = escaped;
    loop {
        let n = rest.iter().position(|&b| b == b'\\').unwrap_or(rest.len());
        out.extend_from_slice(&rest[..n]);
        match &rest[n..] {
            [] => return Ok(()),
            [_, b'x', high, low, after @ ..] => {
                let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low)) else {
                    return Err("\\x is not followed by two hexadecimal digits".to_owned());
                };
                out.push((high << 4 | low) as u8);
                rest = after;
            }
            [_, b'x', ..] => return Err("\\x is not followed by two hexadecimal digits".to_owned()),
            [_, kind, after @ ..] => {
                out.push(match kind {
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    _ => *kind,
                });
                rest = after;
            }
            [_] => return Err("the string ends in a lone backslash".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
