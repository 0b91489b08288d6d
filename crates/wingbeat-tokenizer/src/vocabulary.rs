//! A vocabulary: which id stands for which bytes.
//!
//! The texts of all ids lie in one buffer in id order with an offset for each, so that decoding is two loads and
//! a copy and two vocabularies compare as two blocks of memory. The forms a vocabulary is read from and written
//! to are `text.rs`, `gguf.rs` and `packed.rs`; the bundled one is `world.rs`; finding the longest token in a text is
//! `double_array.rs`.

use crate::frozen::Frozen;
use crate::{TokenizerError, gguf, packed, text};

/// Ids are below this: 64 times what any RWKV model has, and what keeps a hostile file from claiming gigabytes.
pub const MAX_IDS: usize = 1 << 22;

/// All texts together are no longer than this: 700 times the World vocabulary's, and what keeps a hostile file
/// in the compact form, where each text repeats the one before it, from growing without bounds.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 28;

/// Which id stands for which bytes.
///
/// Ids may have gaps, and an id may be without text: id 0, the end of a document, always is, and so are control
/// ids and padding. Such an id decodes to nothing and encoding never yields it. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// All texts, in id order.
    bytes: Frozen<u8>,
    /// Where the text of each id begins in `bytes`, and at last where the last one ends.
    offsets: Frozen<u32>,
    max_token_bytes: usize,
}

impl Vocabulary {
    /// Reads the official text form, one `id literal byte-length` a line, the literal being a Python string or
    /// bytes literal. `label` names the file in errors.
    pub fn from_text(label: &str, text: &[u8]) -> Result<Vocabulary, TokenizerError> {
        text::read(label, text)
    }

    /// Writes the official text form, with LF line ends; [`Vocabulary::from_text`] gives this vocabulary back.
    ///
    /// Ids without text have no line, except that a highest id without text gets one with an empty literal to
    /// keep the length ([`Vocabulary::without_padding`] avoids it).
    pub fn to_text(&self) -> Vec<u8> {
        text::write(self)
    }

    /// Reads the token list of a GGUF file, escaped as llama.cpp does it, and the token types if there are any.
    ///
    /// Normal, byte and user-defined tokens have text; control, unused and unknown ones do not, and neither
    /// has id 0. Without types, every token has text but id 0 and padding, which is `[PADi]` at its own index i.
    pub fn from_gguf<'a>(
        tokens: impl Iterator<Item = &'a [u8]>,
        types: Option<&[i32]>,
    ) -> Result<Vocabulary, TokenizerError> {
        gguf::read(tokens, types)
    }

    /// Writes the token list and the token types as llama.cpp's converter does: id 0 is the control token `<s>`,
    /// other ids without text are unused tokens `[PADi]`, and such tokens fill the lists up to `n` entries.
    ///
    /// The lists are never shorter than the vocabulary, whatever `n`.
    pub fn to_gguf(&self, n: usize) -> (Vec<Vec<u8>>, Vec<i32>) {
        gguf::write(self, n)
    }

    /// Reads the compact binary form, which the World vocabulary is kept in (`assets/world.bin`).
    pub fn from_packed(packed: &[u8]) -> Result<Vocabulary, TokenizerError> {
        packed::read(packed)
    }

    /// Writes the compact binary form; [`Vocabulary::from_packed`] gives this vocabulary back.
    pub fn to_packed(&self) -> Vec<u8> {
        packed::write(self)
    }

    /// The same vocabulary with ids without text added at the end until there are `n`, as many as a model has.
    pub fn padded(&self, n: usize) -> Result<Vocabulary, TokenizerError> {
        if n > MAX_IDS {
            return Err(TokenizerError::TooLarge { what: "ids", found: n, limit: MAX_IDS });
        }
        let end = self.offsets.last().copied().unwrap_or(0);
        if n <= self.len() {
            return Ok(self.clone());
        }
        let mut offsets = Vec::with_capacity(n + 1);
        offsets.extend_from_slice(&self.offsets);
        offsets.resize(n + 1, end);
        Ok(Vocabulary { offsets: offsets.into(), ..self.clone() })
    }

    /// The same vocabulary without the ids after the last one that has text.
    pub fn without_padding(&self) -> Vocabulary {
        let n = self.iter().last().map_or(0, |(id, _)| id as usize + 1);
        if n == self.len() {
            return self.clone();
        }
        Vocabulary { offsets: self.offsets[..n + 1].to_vec().into(), ..self.clone() }
    }

    /// The highest id plus one.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no ids at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of `id`; `None` if it has none or is not below [`Vocabulary::len`].
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.text_or_empty(id).filter(|text| !text.is_empty())
    }

    /// The ids which have text, in order, each with it.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.len() as u32).filter_map(|id| Some((id, self.token(id)?)))
    }

    /// The length of the longest text; 0 if none has any.
    pub fn max_token_bytes(&self) -> usize {
        self.max_token_bytes
    }

    /// The text of `id`, empty if it has none; `None` if `id` is not below [`Vocabulary::len`].
    pub(crate) fn text_or_empty(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let (&start, &end) = (self.offsets.get(id)?, self.offsets.get(id + 1)?);
        self.bytes.get(start as usize..end as usize)
    }

    /// The highest id.
    pub(crate) fn last_id(&self) -> Option<u32> {
        u32::try_from(self.len().checked_sub(1)?).ok()
    }

    /// All texts, in id order.
    pub(crate) fn texts(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the text of each id begins in [`Vocabulary::texts`], and at last where the last one ends.
    #[allow(dead_code, reason = "the build script and tests use it")]
    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Whether the same ids have the same texts, however many ids without text come after them.
    pub(crate) fn has_texts_of(&self, other: &Vocabulary) -> bool {
        let n = self.offsets.len().min(other.offsets.len());
        let (ours, theirs) = (&self.offsets[..n], &other.offsets[..n]);
        // Offsets never fall: if all bytes are used up, none are left for the ids that only one of the two has.
        self.bytes == other.bytes
            && (std::ptr::eq(ours, theirs) || ours == theirs)
            && ours.last().is_some_and(|&end| end as usize == self.bytes.len())
    }

    /// A vocabulary of tables made before: all texts, where each begins and the last one ends, the longest's length.
    pub(crate) fn from_tables(bytes: Frozen<u8>, offsets: Frozen<u32>, max_token_bytes: usize) -> Vocabulary {
        Vocabulary { bytes, offsets, max_token_bytes }
    }

    /// Builds a vocabulary from entries in rising order of ids, whose texts lie anywhere in `bytes`.
    pub(crate) fn from_entries(bytes: &[u8], entries: &[Entry]) -> Result<Vocabulary, TokenizerError> {
        let n_ids = entries.last().map_or(0, |entry| entry.id as usize + 1);
        let mut builder = Builder::new(n_ids.min(MAX_IDS), bytes.len());
        for entry in entries {
            while builder.len() < entry.id as usize {
                builder.close()?;
            }
            builder.text().extend_from_slice(&bytes[entry.start..entry.end]);
            builder.close()?;
        }
        Ok(builder.finish())
    }
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary")
            .field("ids", &self.len())
            .field("text_bytes", &self.bytes.len())
            .field("max_token_bytes", &self.max_token_bytes)
            .finish()
    }
}

/// One id and where its text lies in a reader's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Takes the texts of ids 0, 1, 2, … one after another.
pub(crate) struct Builder {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    max_token_bytes: usize,
}

impl Builder {
    /// With room for so many ids and so many bytes of text, which need be no more than a guess.
    pub(crate) fn new(n_ids: usize, text_bytes: usize) -> Builder {
        let mut offsets = Vec::with_capacity(n_ids.min(MAX_IDS) + 1);
        offsets.push(0);
        Builder { bytes: Vec::with_capacity(text_bytes.min(MAX_TEXT_BYTES)), offsets, max_token_bytes: 0 }
    }

    /// How many ids are closed, which is the id now open.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The buffer the open id's text is to be appended to; what it holds must stay.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where in [`Builder::text`] the open id's text begins.
    pub(crate) fn start(&self) -> usize {
        self.offsets.last().map_or(0, |&start| start as usize)
    }

    /// Ends the open id's text and opens the next id.
    pub(crate) fn close(&mut self) -> Result<(), TokenizerError> {
        if self.len() == MAX_IDS {
            return Err(TokenizerError::TooLarge { what: "ids", found: MAX_IDS + 1, limit: MAX_IDS });
        }
        let found = self.bytes.len();
        if found > MAX_TEXT_BYTES {
            return Err(TokenizerError::TooLarge { what: "bytes of text", found, limit: MAX_TEXT_BYTES });
        }
        self.max_token_bytes = self.max_token_bytes.max(self.bytes.len() - self.start());
        self.offsets.push(found as u32);
        Ok(())
    }

    pub(crate) fn finish(self) -> Vocabulary {
        Vocabulary {
            bytes: self.bytes.into(),
            offsets: self.offsets.into(),
            max_token_bytes: self.max_token_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
