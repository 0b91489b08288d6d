//! The compact binary form of a vocabulary, in which the World vocabulary is kept (`assets/world.bin`).
//!
//! Written by `cargo run -p wingbeat-tokenizer --example pack_vocab -- IN.txt OUT.bin`. Tokens of a vocabulary
//! sorted by bytes repeat most of their neighbour, so each is stored as what it adds to the one before it:
//!
//! | bytes | meaning |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | number of ids, little-endian |
//! | 4 | bytes of all texts together, little-endian |
//! | then for each id: 1 | low half: s, how many bytes it shares with the id before; high half: a, how many it adds |
//! | 0 or more | if s is 15: the rest of s as LEB128, to be added to 15 |
//! | 0 or more | if a is 15: the rest of a likewise |
//! | a | the added bytes |
//!
//! An id without text has s = a = 0. Nothing may follow the last id.

use crate::TokenizerError;
use crate::vocabulary::{Builder, MAX_IDS, MAX_TEXT_BYTES, Vocabulary};

/// First bytes of the form: name and version.
const MAGIC: &[u8; 8] = b"WBVOCAB1";
/// A half byte of this value says that more of the number follows.
const ESCAPE: usize = 15;

/// Reads the compact form.
pub(crate) fn read(packed: &[u8]) -> Result<Vocabulary, TokenizerError> {
    let mut input = Input { packed, offset: 0 };
    if input.take(MAGIC.len())? != MAGIC {
        return Err(TokenizerError::Packed { offset: 0, problem: "not a packed vocabulary".to_owned() });
    }
    let n_ids = input.u32()?;
    let text_bytes = input.u32()?;
    // An id takes a byte at least, so a count beyond that is a lie.
    if n_ids > MAX_IDS || n_ids > packed.len() - input.offset {
        return Err(input.fail(format!("{n_ids} ids cannot be in {} bytes", packed.len())));
    }

    if text_bytes > MAX_TEXT_BYTES {
        return Err(TokenizerError::TooLarge {
            what: "bytes of text",
            found: text_bytes,
            limit: MAX_TEXT_BYTES,
        });
    }

    // A byte of the form stands for 1.4 bytes of World's texts; nothing is believed that would cost much more.
    let mut builder = Builder::new(n_ids, text_bytes.min(packed.len().saturating_mul(4)));
    let mut previous = 0..0;
    for _ in 0..n_ids {
        let head = usize::from(input.take(1)?[0]);
        let shared = input.rest_of(head & 15)?;
        let added = input.rest_of(head >> 4)?;
        if shared > previous.len() {
            return Err(input.fail(format!("{shared} bytes shared with a token of {}", previous.len())));
        }
        let added = input.take(added)?;
        let start = builder.start();
        if shared + added.len() > text_bytes - start {
            return Err(input.fail(format!("more than the {text_bytes} bytes of text promised")));
        }
        let text = builder.text();
        text.extend_from_within(previous.start..previous.start + shared);
        text.extend_from_slice(added);
        previous = start..text.len();
        builder.close()?;
    }
    if builder.start() != text_bytes {
        return Err(input.fail(format!("{text_bytes} bytes of text promised, found {}", builder.start())));
    }
    if input.offset != packed.len() {
        return Err(input.fail(format!("{} bytes after the last id", packed.len() - input.offset)));
    }
    let vocabulary = builder.finish();
    if vocabulary.token(0).is_some() {
        return Err(input.fail("id 0 is the end of a document and can have no text".to_owned()));
    }
    Ok(vocabulary)
}

/// Writes the compact form.
pub(crate) fn write(vocabulary: &Vocabulary) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let n_ids = u32::try_from(vocabulary.len()).expect("ids are below MAX_IDS");
    let text_bytes = u32::try_from(vocabulary.texts().len()).expect("offsets into the texts are u32");
    out.extend_from_slice(&n_ids.to_le_bytes());
    out.extend_from_slice(&text_bytes.to_le_bytes());

    let mut previous: &[u8] = &[];
    for id in 0..n_ids {
        let text = vocabulary.token(id).unwrap_or_default();
        let shared = previous.iter().zip(text).take_while(|(a, b)| a == b).count();
        let added = &text[shared..];
        out.push((shared.min(ESCAPE) | added.len().min(ESCAPE) << 4) as u8);
        write_rest_of(shared, &mut out);
        write_rest_of(added.len(), &mut out);
        out.extend_from_slice(added);
        previous = text;
    }
    out
}

/// Writes what of `n` did not fit into its half byte.
fn write_rest_of(n: usize, out: &mut Vec<u8>) {
    let Some(mut rest) = n.checked_sub(ESCAPE) else { return };
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The packed bytes and how far they have been read.
struct Input<'a> {
    packed: &'a [u8],
    offset: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], TokenizerError> {
        let taken = self.offset.checked_add(n).and_then(|end| self.packed.get(self.offset..end)).ok_or_else(
            || self.fail(format!("{n} bytes wanted, {} left", self.packed.len() - self.offset)),
        )?;
        self.offset += n;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<usize, TokenizerError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte)))
    }

    /// The number whose half byte is `half`.
    fn rest_of(&mut self, half: usize) -> Result<usize, TokenizerError> {
        let mut n = half;
        if half < ESCAPE {
            return Ok(n);
        }
        // Texts are below 2^28 bytes, so five groups of seven bits are plenty.
        for shift in [0, 7, 14, 21, 28] {
            let byte = usize::from(self.take(1)?[0]);
            n = n
                .checked_add((byte & 0x7f) << shift)
                .ok_or_else(|| self.fail("a number that is too large".to_owned()))?;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(self.fail("a number that is too long".to_owned()))
    }

    fn fail(&self, problem: String) -> TokenizerError {
        TokenizerError::Packed { offset: self.offset, problem }
    }
}

#[cfg(test)]
mod tests;
