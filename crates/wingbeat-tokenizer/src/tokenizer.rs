//! Encoding and decoding: the face of the crate.
//!
//! Holds the vocabulary and the tables made from it behind one `Arc`, checks what comes from the caller and turns
//! what the tables say into ids or errors. The search itself is `double_array.rs` and `cursors.rs`.

use std::sync::Arc;

use crate::cursors::{self, Outcome};
use crate::cuts::Cuts;
use crate::double_array::DoubleArray;
use crate::trie::Trie;
use crate::{StreamDecoder, TokenizerError, Vocabulary, parallel, world};

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
    /// If it proves to be the World vocabulary, token by token and with any padding, the bundled tables are taken
    /// instead, and the comparison is all the time it takes.
    ///
    /// Where several ids have the same text, encoding yields the highest.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, TokenizerError> {
        let (cuts, array) = if vocabulary.has_texts_of(&Vocabulary::world()) {
            world::tables()
        } else {
            let trie = Trie::new(&vocabulary)?;
            (Cuts::new(&trie), DoubleArray::new(&trie)?)
        };
        Ok(Tokenizer { tables: Arc::new(Tables { vocabulary, cuts, array }) })
    }

    /// The tokenizer of the bundled World vocabulary, whose tables are a part of the program.
    pub fn world() -> Tokenizer {
        let (cuts, array) = world::tables();
        Tokenizer { tables: Arc::new(Tables { vocabulary: Vocabulary::world(), cuts, array }) }
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
        match cursors::encode(&self.tables.array, &self.tables.cuts, text, ids, &mut Vec::new()) {
            Outcome::Complete => Ok(()),
            Outcome::NoToken => {
                let (byte, offset) = self.first_without_token(text, ids);
                Err(TokenizerError::NoToken { byte, offset })
            }
        }
    }

    /// As [`Tokenizer::encode`], on up to `n_threads` threads, of which the caller's is one: the same ids, or the
    /// same error.
    ///
    /// A thread is started for each 128 KiB at most, so a text shorter than 256 KiB is encoded by the caller's alone,
    /// and so is one that cannot be divided, such as a long run of one letter.
    pub fn encode_parallel(&self, text: &[u8], n_threads: usize) -> Result<Vec<u32>, TokenizerError> {
        if n_threads < 2 || text.len() < 2 * parallel::MIN_THREAD_BYTES {
            return self.encode(text);
        }
        let encoded = parallel::encode(&self.tables.array, &self.tables.cuts, &[text], n_threads);
        match encoded.into_iter().next() {
            Some((ids, Outcome::Complete)) => Ok(ids),
            Some((ids, Outcome::NoToken)) => {
                let (byte, offset) = self.first_without_token(text, &ids);
                Err(TokenizerError::NoToken { byte, offset })
            }
            None => Ok(Vec::new()),
        }
    }

    /// Encodes each text as [`Tokenizer::encode`] does, on up to `n_threads` threads, of which the caller's is one.
    ///
    /// A thread is started for each 128 KiB of all texts together at most; long texts are divided among the threads.
    /// It fails if one of the texts does, and names the first that does.
    pub fn encode_batch(&self, texts: &[&[u8]], n_threads: usize) -> Result<Vec<Vec<u32>>, TokenizerError> {
        let encoded = parallel::encode(&self.tables.array, &self.tables.cuts, texts, n_threads);
        let texts = encoded.into_iter().zip(texts).enumerate();
        let checked = texts.map(|(index, ((ids, outcome), text))| match outcome {
            Outcome::Complete => Ok(ids),
            Outcome::NoToken => {
                let (byte, offset) = self.first_without_token(text, &ids);
                Err(TokenizerError::NoTokenInBatch { text: index, byte, offset })
            }
        });
        checked.collect()
    }

    /// The byte of `text` at which no token matches and its offset, after the tokens `ids`.
    fn first_without_token(&self, text: &[u8], ids: &[u32]) -> (u8, usize) {
        // Greedy matching goes from the front, so the tokens before the gap say where it is.
        let offset = ids.iter().filter_map(|&id| self.vocabulary().token(id)).map(<[u8]>::len).sum();
        (text.get(offset).copied().unwrap_or_default(), offset)
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

    /// The table that encoding walks.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> &[u32] {
        self.tables.array.entries()
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
