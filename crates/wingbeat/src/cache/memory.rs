//! Entries in memory, of which those not used for longest go.
//!
//! States are kept as the device has them, without their model: a copy on the device is the quickest way back, and a model
//! that is dropped is gone, whatever is cached. Their bytes count wherever they are.

use super::key::Key;
use crate::engine::AnyState;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What an entry holds.
pub(super) enum Value {
    State(AnyState),
    Embedding(Vec<f32>),
}

/// What an entry takes besides its value, roughly.
const ENTRY_BYTES: usize = 256;

/// Some entries.
pub(super) struct Memory {
    most_bytes: usize,
    bytes: usize,
    /// Counts uses.
    now: u64,
    entries: HashMap<Key, Kept>,
    by_use: BTreeMap<u64, Key>,
    /// How many entries there are of each group and number of tokens.
    lengths: HashMap<u64, BTreeMap<u64, usize>>,
}

struct Kept {
    value: Arc<Value>,
    bytes: usize,
    used: u64,
}

impl Memory {
    pub(super) fn new(most_bytes: usize) -> Memory {
        Memory {
            most_bytes,
            bytes: 0,
            now: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            lengths: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a value of so many bytes could be kept at all.
    pub(super) fn has_room_for(&self, value_bytes: usize) -> bool {
        value_bytes.saturating_add(ENTRY_BYTES) <= self.most_bytes
    }

    /// An entry, which counts as used.
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Value>> {
        let kept = self.entries.get_mut(key)?;
        self.now += 1;
        self.by_use.remove(&kept.used);
        self.by_use.insert(self.now, *key);
        kept.used = self.now;
        Some(Arc::clone(&kept.value))
    }

    /// Keeps an entry, where it has room at all, in the place of others.
    pub(super) fn insert(&mut self, key: Key, value: Value, value_bytes: usize) {
        if !self.has_room_for(value_bytes) {
            return;
        }
        self.remove(&key);
        let bytes = value_bytes + ENTRY_BYTES;
        while self.bytes + bytes > self.most_bytes {
            let Some((_, &oldest)) = self.by_use.first_key_value() else { break };
            self.remove(&oldest);
        }
        self.now += 1;
        self.bytes += bytes;
        self.by_use.insert(self.now, key);
        *self.lengths.entry(key.group).or_default().entry(key.n_tokens).or_default() += 1;
        self.entries.insert(key, Kept { value: Arc::new(value), bytes, used: self.now });
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some(kept) = self.entries.remove(key) else { return };
        self.bytes -= kept.bytes;
        self.by_use.remove(&kept.used);
        let lengths = self.lengths.entry(key.group).or_default();
        if let Some(n) = lengths.get_mut(&key.n_tokens) {
            *n -= 1;
            if *n == 0 {
                lengths.remove(&key.n_tokens);
            }
        }
        if lengths.is_empty() {
            self.lengths.remove(&key.group);
        }
    }

    /// Numbers of tokens, below one, of which there are entries of a group.
    pub(super) fn lengths(&self, group: u64, below: u64) -> Vec<u64> {
        self.lengths.get(&group).into_iter().flat_map(|n| n.range(..below)).map(|(&n, _)| n).collect()
    }
}
