//! The RWKV tokenizer: greedy longest match over raw bytes, for any vocabulary.
//!
//! Where it sits: text goes in at the top of the data path and leaves as token ids, which the model embeds;
//! the ids that sampling picks come back and leave as bytes. A [`Vocabulary`] says which id stands for which
//! bytes and reads and writes the forms in which vocabularies travel (the official text file, the token list of
//! a GGUF file, a compact binary form). A [`Tokenizer`] adds the tables that make encoding fast. A
//! [`StreamDecoder`] turns ids into text one at a time without ever cutting a character in two.
//!
//! Left to others: opening files (`wingbeat-format`), prompt templates, stop words and which ids end a text.
//!
//! ```
//! use wingbeat_tokenizer::Tokenizer;
//!
//! let tokenizer = Tokenizer::world();
//! let ids = tokenizer.encode("The Eiffel tower is in".as_bytes())?;
//! assert_eq!(tokenizer.decode(&ids)?, b"The Eiffel tower is in");
//! # Ok::<(), wingbeat_tokenizer::TokenizerError>(())
//! ```

#![forbid(unsafe_code)]

mod cursors;
mod cuts;
mod double_array;
mod error;
mod frozen;
mod gguf;
mod literal;
mod packed;
mod parallel;
mod stream;
mod text;
mod tokenizer;
mod trie;
mod vocabulary;
mod world;

pub use error::TokenizerError;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
pub use vocabulary::{MAX_IDS, Vocabulary};
