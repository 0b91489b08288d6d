//! Exact cuts: where a text may be divided so that its parts can be encoded apart.
//!
//! If two bytes are neighbours inside no token, then between them a token ends, in every text and whatever stands
//! around. Of the World vocabulary's 65,536 byte pairs only 8,333 occur inside a token, so cuts are frequent in
//! any real text. The cursors begin at cuts, and so need no joining afterwards.

use crate::frozen::Frozen;
use crate::trie::{ROOT, Trie};

/// For each pair of bytes, whether it occurs inside a token.
pub(crate) struct Cuts {
    /// One bit a pair: pair (a, b) is bit b of row a, of 256.
    inside: Frozen<[u64; 4]>,
}

impl Cuts {
    /// Every edge below another edge is a pair inside a token.
    pub(crate) fn new(trie: &Trie) -> Cuts {
        let mut inside = vec![[0; 4]; 256];
        for (&parent, &right) in trie.parent.iter().zip(&trie.label) {
            if parent != ROOT {
                let left = trie.label[parent as usize];
                inside[usize::from(left)][usize::from(right >> 6)] |= 1u64 << (right & 63);
            }
        }
        Cuts { inside: inside.into() }
    }

    /// The cuts of a table made before: [`Cuts::rows`].
    pub(crate) fn from_table(inside: Frozen<[u64; 4]>) -> Cuts {
        Cuts { inside }
    }

    /// One row of bits for each left byte, one bit for each right one.
    #[allow(dead_code, reason = "the build script and tests use it")]
    pub(crate) fn rows(&self) -> &[[u64; 4]] {
        &self.inside
    }

    /// The first cut at or after `from`, or else the end of `text`.
    pub(crate) fn next(&self, text: &[u8], from: usize) -> usize {
        let first = from.saturating_sub(1);
        let pairs = text.get(first..).unwrap_or_default().windows(2);
        match pairs.enumerate().find(|(_, pair)| !self.is_inside(pair[0], pair[1])) {
            Some((i, _)) => first + i + 1,
            None => text.len(),
        }
    }

    fn is_inside(&self, left: u8, right: u8) -> bool {
        self.inside[usize::from(left)][usize::from(right >> 6)] >> (right & 63) & 1 == 1
    }
}

#[cfg(test)]
mod tests;
