//! The way that a generation came: its tokens, and states on the way to go back to.
//!
//! A generation may have to end where its state was some tokens ago: at a stop text whose beginning was taken in before it
//! was known to be one, or among tokens that a device chose before the host had read them (`ahead.rs`). It then goes back to
//! a state that was kept, and takes in the tokens between there and the end again.

use crate::{Error, State};
use std::collections::VecDeque;

/// See the module. Places are numbers of tokens of the generation that a state has taken in.
#[derive(Default)]
pub(crate) struct Trail {
    tokens: Vec<u32>,
    /// Oldest first.
    kept: VecDeque<(usize, State)>,
}

/// A state to go back to, and the tokens that it is to take in again.
pub(crate) struct Return {
    pub(crate) state: State,
    pub(crate) tokens: Vec<u32>,
}

impl Trail {
    /// Adds a token.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// How many tokens there are.
    pub(crate) fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The token chosen last.
    pub(crate) fn last_token(&self) -> Option<u32> {
        self.tokens.last().copied()
    }

    /// Keeps a copy of a state that has taken in so many tokens, unless there is one.
    pub(crate) fn keep(&mut self, n_taken: usize, state: &State) -> Result<(), Error> {
        if self.last_kept() != Some(n_taken) {
            self.kept.push_back((n_taken, state.fork()?));
        }
        Ok(())
    }

    /// How many tokens the state kept last has taken in.
    pub(crate) fn last_kept(&self) -> Option<usize> {
        self.kept.back().map(|(n_taken, _)| *n_taken)
    }

    /// Nobody will go back to a state that has taken in fewer than `n` tokens.
    pub(crate) fn forget_before(&mut self, n: usize) {
        // One that has taken in fewer stays: its next step gives logits.
        while self.kept.get(1).is_some_and(|(n_taken, _)| *n_taken < n) {
            self.kept.pop_front();
        }
    }

    /// Nobody will go back.
    pub(crate) fn forget_all(&mut self) {
        self.kept.clear();
    }

    /// How to get to where `n` tokens are taken in; where logits are wanted, with at least one token to be taken in, if
    /// there is any. None where nothing was kept early enough.
    pub(crate) fn back_to(&mut self, n: usize, wants_logits: bool) -> Option<Return> {
        while let Some((n_taken, state)) = self.kept.pop_back() {
            if n_taken < n || n_taken == n && (!wants_logits || n == 0) {
                return Some(Return { state, tokens: self.tokens.get(n_taken..n)?.to_vec() });
            }
        }
        None
    }
}
