//! The trie of a vocabulary's texts, as plain lists of nodes: the step between a vocabulary and its tables.
//!
//! Made by sorting the texts, so that each adds a path to the one before it. `cuts.rs` reads its edges and
//! `double_array.rs` packs it; neither keeps it.

use crate::{TokenizerError, Vocabulary};

/// The root's index.
pub(crate) const ROOT: u32 = 0;
/// The token of a node at which none ends.
pub(crate) const NO_TOKEN: u32 = u32::MAX;
/// Stands for the token of a single byte that the vocabulary lacks.
///
/// With it every byte has a token, so the walks need no case for "nothing matches": it is matched only where
/// nothing else is, and whoever finds it among the ids knows that the text cannot be encoded.
pub(crate) const MISSING: u32 = u32::MAX - 1;

/// At most this many nodes: `double_array.rs` has no room for more in an entry.
pub(crate) const MAX_NODES: usize = 1 << 22;

/// The nodes of the trie; each node comes after its parent.
pub(crate) struct Trie {
    /// Index of each node's parent; the root's is itself.
    pub(crate) parent: Vec<u32>,
    /// The byte on the edge from the parent; 0 for the root.
    pub(crate) label: Vec<u8>,
    /// The id of the token that ends here, [`NO_TOKEN`] or [`MISSING`].
    pub(crate) token: Vec<u32>,
}

impl Trie {
    /// The trie of all texts and all single bytes. Of equal texts the highest id stays.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Trie, TokenizerError> {
        let mut texts: Vec<Text<'_>> = vocabulary.iter().map(|(id, bytes)| Text::new(id, bytes)).collect();
        texts.sort_unstable();

        let n_expected = texts.len().saturating_mul(2);
        let mut trie = Trie {
            parent: Vec::with_capacity(n_expected),
            label: Vec::with_capacity(n_expected),
            token: Vec::with_capacity(n_expected),
        };
        trie.push(ROOT, 0);

        // path[d] is the node at depth d on the way to the text before.
        let mut path = vec![ROOT];
        let mut previous: &[u8] = &[];
        let mut children_of_root = [None; 256];
        for text in &texts {
            let n_shared = text.n_shared(previous);
            path.truncate(n_shared + 1);
            let mut node = path[n_shared];
            for &byte in &text.bytes[n_shared..] {
                let child = trie.push(node, byte);
                if node == ROOT {
                    children_of_root[usize::from(byte)] = Some(child);
                }
                path.push(child);
                node = child;
            }
            trie.token[node as usize] = text.id;
            previous = text.bytes;
            if trie.len() > MAX_NODES {
                let found = trie.len();
                return Err(TokenizerError::TooLarge { what: "trie nodes", found, limit: MAX_NODES });
            }
        }

        for (byte, child) in (0..=u8::MAX).zip(children_of_root) {
            let child = child.unwrap_or_else(|| trie.push(ROOT, byte));
            let token = &mut trie.token[child as usize];
            if *token == NO_TOKEN {
                *token = MISSING;
            }
        }
        Ok(trie)
    }

    /// Number of nodes, the root included.
    pub(crate) fn len(&self) -> usize {
        self.parent.len()
    }

    fn push(&mut self, parent: u32, label: u8) -> u32 {
        // A text is below 2^28 bytes and the nodes are counted after each, so they never come near 2^32.
        let node = self.parent.len() as u32;
        self.parent.push(parent);
        self.label.push(label);
        self.token.push(NO_TOKEN);
        node
    }
}

/// A text to be sorted by bytes, then by id.
#[derive(PartialEq, Eq)]
struct Text<'a> {
    /// The first eight bytes, big-endian, filled up with zeros: settles nearly every comparison.
    key: u64,
    id: u32,
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    fn new(id: u32, bytes: &'a [u8]) -> Text<'a> {
        let mut first = [0; 8];
        let n = bytes.len().min(8);
        first[..n].copy_from_slice(&bytes[..n]);
        Text { key: u64::from_be_bytes(first), id, bytes }
    }

    /// How many bytes at the front are those of `other`.
    fn n_shared(&self, other: &[u8]) -> usize {
        self.bytes.iter().zip(other).take_while(|(a, b)| a == b).count()
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key
            .cmp(&other.key)
            .then_with(|| self.bytes.cmp(other.bytes))
            .then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
