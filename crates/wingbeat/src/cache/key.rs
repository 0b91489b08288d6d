//! What an entry is found by: everything that decides its bits.
//!
//! A key is a SHA-256 digest over the version of this program, the model's fingerprint, the arithmetic of its device, what
//! was made (a state, or an embedding with its options), the tokens, and their number. Tokens, not text: where a text is cut
//! is the tokenizer's business, and a text's beginning is found again only where its tokens begin the same way. The digest
//! runs along the tokens, so that keys of all beginnings of a text cost no more than its own.

use crate::{EmbedOptions, EmbeddingOf, Model, Pooling};
use sha2::{Digest, Sha256};

/// Everything in a key but the tokens.
#[derive(Clone)]
pub(super) struct Context {
    so_far: Sha256,
    group: u64,
}

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The same for all keys of a [`Context`].
    pub(super) group: u64,
    pub(super) n_tokens: u64,
    pub(super) digest: [u8; 32],
}

impl Context {
    /// Of states of a model.
    pub(super) fn of_states(model: &Model) -> Context {
        Context::of(model, b"state")
    }

    /// Of embeddings by a model.
    pub(super) fn of_embeddings(model: &Model, options: &EmbedOptions) -> Context {
        // How many texts run at once changes nothing.
        let EmbedOptions { of, pooling, normalize, batch_texts: _ } = options;
        let pooling = match pooling {
            Pooling::Last => "last",
            Pooling::Mean => "mean",
        };
        let of = match of {
            EmbeddingOf::Hidden => format!("hidden {pooling}"),
            EmbeddingOf::Layer(layer) => format!("layer {layer} {pooling}"),
            EmbeddingOf::State { slab, layer } => format!("state {slab:?} {layer:?}"),
        };
        Context::of(model, format!("embedding {of} {normalize}").as_bytes())
    }

    fn of(model: &Model, what: &[u8]) -> Context {
        let mut so_far = Sha256::new();
        let version = concat!("wingbeat ", env!("CARGO_PKG_VERSION"));
        for part in [version.as_bytes(), model.fingerprint().as_bytes(), model.arithmetic().as_bytes(), what]
        {
            so_far.update((part.len() as u64).to_le_bytes());
            so_far.update(part);
        }
        let digest = so_far.clone().finalize();
        let group = digest.first_chunk().copied().map_or(0, u64::from_le_bytes);
        Context { so_far, group }
    }

    pub(super) fn group(&self) -> u64 {
        self.group
    }

    /// The key of a text.
    pub(super) fn key(&self, tokens: &[u32]) -> Key {
        self.keys(tokens, &[tokens.len() as u64])[0]
    }

    /// The keys of a text's first so many tokens, each of several numbers in growing order, none beyond the text.
    pub(super) fn keys(&self, tokens: &[u32], lengths: &[u64]) -> Vec<Key> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let (mut so_far, mut at) = (self.so_far.clone(), 0);
        let key = |&n_tokens: &u64| {
            let end = n_tokens as usize * size_of::<u32>();
            so_far.update(&bytes[at..end]);
            at = end;
            let mut all = so_far.clone();
            all.update(n_tokens.to_le_bytes());
            Key { group: self.group, n_tokens, digest: all.finalize().into() }
        };
        lengths.iter().map(key).collect()
    }
}
