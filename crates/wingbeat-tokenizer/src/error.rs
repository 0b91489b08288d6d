//! Everything that can go wrong in this crate: broken vocabularies, bytes without a token, unknown ids.
//!
//! Each message is one line and names the place, what was found and, where it helps, what was expected.

/// An error of the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A line of a vocabulary text file is not `id literal byte-length`.
    #[error("{label}:{line}: {problem}")]
    Line {
        /// The name the caller gave the file.
        label: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        problem: String,
    },
    /// An entry of a GGUF token list is not a well-formed escaped byte string.
    #[error("GGUF token {id}: {problem}")]
    GgufToken {
        /// Index in the list, which is the token's id.
        id: usize,
        /// What is wrong with the entry.
        problem: String,
    },
    /// The GGUF lists of tokens and of token types differ in length.
    #[error("GGUF vocabulary: {n_tokens} tokens but {n_types} token types")]
    GgufTypes {
        /// Entries in the token list.
        n_tokens: usize,
        /// Entries in the list of types.
        n_types: usize,
    },
    /// The compact form is damaged or is something else.
    #[error("packed vocabulary, byte {offset}: {problem}")]
    Packed {
        /// Where reading stopped.
        offset: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The vocabulary has more ids, bytes or trie nodes than the tables can address.
    #[error("vocabulary too large: {found} {what}, at most {limit} can be handled")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many the vocabulary has (or at least has).
        found: usize,
        /// How many are possible.
        limit: usize,
    },
    /// The text holds a byte at which no token of the vocabulary matches.
    #[error("no token for byte 0x{byte:02x} at offset {offset}")]
    NoToken {
        /// The byte.
        byte: u8,
        /// Its offset in the text.
        offset: usize,
    },
    /// Of several texts, one holds a byte at which no token of the vocabulary matches.
    #[error("text {text}: no token for byte 0x{byte:02x} at offset {offset}")]
    NoTokenInBatch {
        /// Which of the texts, from 0.
        text: usize,
        /// The byte.
        byte: u8,
        /// Its offset in that text.
        offset: usize,
    },
    /// An id to decode is not in the vocabulary.
    #[error("token {index}: id {id} is outside the vocabulary of {n_ids} ids")]
    UnknownId {
        /// Position in the list of ids, or in the stream, from 0.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary: ids must be below it.
        n_ids: usize,
    },
}
