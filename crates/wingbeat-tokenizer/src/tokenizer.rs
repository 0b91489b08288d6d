//! Encoding and decoding: the face of the crate.
//!
//! Holds the vocabulary and the tables made from it behind one `Arc`, checks what comes from the caller and turns
//! what the tables say into ids or errors. The search itself is `double_array.rs` and `cursors.rs`.

use std::sync::{Arc, OnceLock};

use crate::cursors::{self, Outcome};
use crate::cuts::Cuts;
use crate::double_array::DoubleArray;
use crate::trie::Trie;
use crate::{StreamDecoder, TokenizerError, Vocabulary};

/// Turns text into ids and ids into text. Cloning is cheap; one tokenizer may be used by many threads at once.
#[derive(Clone)]
pub struct Tokenizer {
    tables: Arc<Tables>,
}

struct Tables {
    vocabulary: Vocabulary,
    cuts: Cuts,
    array: DoubleArray,
}

impl Tokenizer {
    /// Makes the tables for `vocabulary`, which takes a few milliseconds for 65,536 tokens.
    ///
    /// Where several ids have the same text, encoding yields the highest.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, TokenizerError> {
        let trie = Trie::new(&vocabulary)?;
        let cuts = Cuts::new(&trie);
        let array = DoubleArray::new(&trie)?;
        Ok(Tokenizer { tables: Arc::new(Tables { vocabulary, cuts, array }) })
    }

    /// The tokenizer of the bundled World vocabulary; its tables are made at the first call.
    pub fn world() -> Tokenizer {
        static WORLD: OnceLock<Tokenizer> = OnceLock::new();
        WORLD
            .get_or_init(|| {
                Tokenizer::new(Vocabulary::world())
                    .expect("the bundled vocabulary is known to be small enough")
            })
            .clone()
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.tables.vocabulary
    }

    /// The id which encoding yields for exactly these bytes, if they are one token.
    pub fn token_id(&self, token: &[u8]) -> Option<u32> {
        self.tables.array.get(token)
    }

    /// Encodes `text`: from the front, always the longest token that matches.
    ///
    /// Any bytes will do. The time grows with the length of the text alone for any real vocabulary; at worst it is
    /// that length times the longest token's. It fails only if the vocabulary lacks single bytes and no token matches at one of them.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids)?;
        Ok(ids)
    }

    /// As [`Tokenizer::encode`], into a buffer whose memory is used again and whose contents are replaced.
    ///
    /// On an error, `ids` holds the tokens before the byte that has none.
    pub fn encode_into(&self, text: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        ids.clear();
        match cursors::encode(&self.tables.array, &self.tables.cuts, text, ids) {
            Outcome::Complete => Ok(()),
            Outcome::NoToken => {
                // Greedy matching goes from the front, so the tokens before the gap say where it is.
                let offset = ids.iter().filter_map(|&id| self.vocabulary().token(id)).map(<[u8]>::len).sum();
                let byte = text.get(offset).copied().unwrap_or_default();
                Err(TokenizerError::NoToken { byte, offset })
            }
        }
    }

    /// The bytes that `ids` stand for. An id without text stands for nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, TokenizerError> {
        // RWKV tokens hold 3 to 5 bytes on average.
        let mut bytes = Vec::with_capacity(ids.len().saturating_mul(4));
        let vocabulary = self.vocabulary();
        for (index, &id) in ids.iter().enumerate() {
            let text = vocabulary.text_or_empty(id).ok_or(TokenizerError::UnknownId {
                index,
                id,
                n_ids: vocabulary.len(),
            })?;
            bytes.extend_from_slice(text);
        }
        Ok(bytes)
    }

    /// A decoder for ids that come one at a time.
    pub fn stream(&self) -> StreamDecoder {
        StreamDecoder::new(self.clone())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", self.vocabulary()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
