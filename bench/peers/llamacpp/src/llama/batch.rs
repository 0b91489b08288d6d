//! Tokens to run in one call.

use super::Token;

/// Tokens of one or several sequences; the tokens of each in order.
#[derive(Default)]
pub struct Batch {
    pub(super) tokens: Vec<Token>,
    pub(super) positions: Vec<i32>,
    pub(super) sequences: Vec<i32>,
    /// 1 where a token's logits (or vector) are wanted.
    pub(super) wanted: Vec<i8>,
    /// How many sequences each token belongs to: one.
    pub(super) counts: Vec<i32>,
}

impl Batch {
    /// Makes it empty; it keeps its memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.wanted.clear();
        self.counts.clear();
    }

    /// Adds a sequence's token at a position in it, and whether its output is wanted.
    pub fn push(&mut self, token: Token, position: usize, sequence: usize, wanted: bool) {
        // Numbers that do not fit become negative ones, which the context refuses.
        self.tokens.push(token);
        self.positions.push(i32::try_from(position).unwrap_or(-1));
        self.sequences.push(i32::try_from(sequence).unwrap_or(-1));
        self.wanted.push(i8::from(wanted));
        self.counts.push(1);
    }

    /// Adds a sequence's next tokens from a position on; of the last one the output is wanted, if `want_last`.
    pub fn extend(&mut self, tokens: &[Token], position: usize, sequence: usize, want_last: bool) {
        for (i, &token) in tokens.iter().enumerate() {
            self.push(token, position + i, sequence, want_last && i + 1 == tokens.len());
        }
    }

    /// Tokens in it.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens whose output is wanted.
    pub fn n_wanted(&self) -> usize {
        self.wanted.iter().filter(|&&wanted| wanted != 0).count()
    }
}
