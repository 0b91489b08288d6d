//! Ids to text one at a time, as generation yields them.
//!
//! Many tokens end inside a character. The decoder holds those bytes back until the character is whole or can no
//! longer become one, so that what it gives out can be shown as it is. Stop words are left to the caller.

use crate::{Tokenizer, TokenizerError};

/// Decodes a stream of ids; made by [`Tokenizer::stream`].
///
/// All pushes and the end put together are exactly the bytes that [`Tokenizer::decode`] gives for the same ids.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// What the last call gave out, then what is held back.
    buffer: Vec<u8>,
    /// How much of `buffer` the last call gave out.
    n_shown: usize,
    /// How many ids were taken, to name a wrong one.
    n_ids: usize,
}

impl StreamDecoder {
    pub(crate) fn new(tokenizer: Tokenizer) -> StreamDecoder {
        StreamDecoder { tokenizer, buffer: Vec::new(), n_shown: 0, n_ids: 0 }
    }

    /// Takes the next id and gives the bytes that may be shown now.
    ///
    /// They never end inside a UTF-8 sequence that could still be completed: such a beginning, 3 bytes at most, is
    /// held back. Bytes that can never become valid UTF-8 are passed on as they are. An id outside the vocabulary
    /// is an error and changes nothing.
    pub fn push(&mut self, id: u32) -> Result<&[u8], TokenizerError> {
        let vocabulary = self.tokenizer.vocabulary();
        let Some(text) = vocabulary.text_or_empty(id) else {
            return Err(TokenizerError::UnknownId { index: self.n_ids, id, n_ids: vocabulary.len() });
        };
        self.buffer.drain(..self.n_shown);
        self.buffer.extend_from_slice(text);
        self.n_ids += 1;
        self.n_shown = self.buffer.len() - unfinished(&self.buffer);
        Ok(&self.buffer[..self.n_shown])
    }

    /// Gives what is still held back and makes the decoder ready for another stream.
    pub fn finish(&mut self) -> &[u8] {
        self.buffer.drain(..self.n_shown);
        self.n_shown = self.buffer.len();
        self.n_ids = 0;
        &self.buffer
    }
}

/// How many bytes at the end of `bytes` begin a UTF-8 sequence that more bytes could complete: 0 to 3.
fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    // Only the first byte of a sequence can begin one, so at most one of these ends can be a beginning.
    (1..=longest)
        .find(|&n| {
            let end = &bytes[bytes.len() - n..];
            std::str::from_utf8(end).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
