//! Long texts, and many texts, on several threads.
//!
//! Long texts are divided at exact cuts (`cuts.rs`), so the parts' ids joined are the whole's. Each thread takes
//! the next part whenever it is done with one: a thread that other work on the machine holds up holds up nothing
//! but its own part. The caller's thread takes parts like the others and joins what is ready in between, so that
//! joining is shared work too; where the system gives no other threads, it does everything. What a thread does with
//! a part is `cursors.rs`.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use crate::cursors::{self, Outcome};
use crate::cuts::Cuts;
use crate::double_array::DoubleArray;

/// A thread is started for this many bytes, not for fewer: starting one takes tens of microseconds, in which some
/// tens of kilobytes could be encoded.
pub(crate) const MIN_THREAD_BYTES: usize = 1 << 17;
/// A thread is to have about this many turns at least, so that none is done long before the others.
const TURNS: usize = 8;
/// What is taken in one turn is at least this long, as long as a block of the cursors, …
const MIN_TURN_BYTES: usize = 1 << 16;
/// … and at most about this long, so that its ids are still in a cache when they are joined.
const MAX_TURN_BYTES: usize = 1 << 18;

/// The ids of a text up to the first byte that has no token, and whether there is such a byte.
pub(crate) type Encoded = (Vec<u32>, Outcome);

/// A text or, of a long one, a part.
struct Part<'a> {
    bytes: &'a [u8],
    /// How many bytes of its text come after it: none if it is the last or only part.
    n_after: usize,
}

/// Encodes each text, on the caller's thread and on up to `n_threads - 1` others.
pub(crate) fn encode(array: &DoubleArray, cuts: &Cuts, texts: &[&[u8]], n_threads: usize) -> Vec<Encoded> {
    let n_bytes = texts.iter().fold(0usize, |n, text| n.saturating_add(text.len()));
    let n_threads = n_threads.min(n_bytes / MIN_THREAD_BYTES).max(1);
    let turn_bytes = (n_bytes / n_threads / TURNS).clamp(MIN_TURN_BYTES, MAX_TURN_BYTES);
    // One thread alone gains nothing from parts.
    let parts = divide(cuts, texts, if n_threads == 1 { usize::MAX } else { turn_bytes });
    let turns = turns(&parts, turn_bytes);

    let n_taken = AtomicUsize::new(0);
    let next_turn = || turns.get(n_taken.fetch_add(1, Ordering::Relaxed)).cloned();
    let spare = Spare::default();
    let encode = |index: usize, scratch: &mut Vec<u32>| {
        let mut ids = spare.take();
        let outcome = cursors::encode(array, cuts, parts[index].bytes, &mut ids, scratch);
        (ids, outcome)
    };
    let (sender, receiver) = mpsc::channel();
    let mut joiner = Joiner::new(&parts, &spare, texts.len());
    thread::scope(|scope| {
        for _ in 1..n_threads {
            let sender = sender.clone();
            let work = || {
                let sender = sender; // to be dropped with the thread
                let mut scratch = Vec::new();
                while let Some(turn) = next_turn() {
                    for index in turn {
                        // The receiver outlives the threads, so nothing is ever lost.
                        let _ = sender.send((index, encode(index, &mut scratch)));
                    }
                }
            };
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break; // The threads that there are take its turns.
            }
        }
        drop(sender);

        let mut scratch = Vec::new();
        while let Some(turn) = next_turn() {
            for index in turn {
                joiner.take(index, encode(index, &mut scratch));
            }
            receiver.try_iter().for_each(|(index, encoded)| joiner.take(index, encoded));
        }
        receiver.iter().for_each(|(index, encoded)| joiner.take(index, encoded));
    });
    joiner.texts
}

/// The texts in order, those much longer than `part_bytes` divided into parts of about that length.
fn divide<'a>(cuts: &Cuts, texts: &[&'a [u8]], part_bytes: usize) -> Vec<Part<'a>> {
    let mut parts = Vec::with_capacity(texts.len());
    for &text in texts {
        let mut rest = text;
        // A short last part would be a turn of its own for little, so it stays with the one before it.
        while rest.len() > part_bytes.saturating_add(part_bytes / 2) {
            let (bytes, after) = rest.split_at(cuts.next(rest, part_bytes));
            if after.is_empty() {
                break;
            }
            parts.push(Part { bytes, n_after: after.len() });
            rest = after;
        }
        parts.push(Part { bytes: rest, n_after: 0 });
    }
    parts
}

/// Which parts are taken in one turn: as many as come to `turn_bytes`.
fn turns(parts: &[Part<'_>], turn_bytes: usize) -> Vec<Range<usize>> {
    let mut turns = Vec::new();
    let (mut first, mut n_bytes) = (0, 0);
    for (i, part) in parts.iter().enumerate() {
        n_bytes += part.bytes.len();
        if n_bytes >= turn_bytes || i + 1 == parts.len() {
            turns.push(first..i + 1);
            (first, n_bytes) = (i + 1, 0);
        }
    }
    turns
}

/// Takes what parts have become, in any order, and makes texts of it.
struct Joiner<'a> {
    parts: &'a [Part<'a>],
    /// Where a joined part's buffer goes.
    spare: &'a Spare,
    /// What is there but cannot be joined yet, by part.
    waiting: Vec<Option<Encoded>>,
    /// How many parts are joined, which is the next one that can be.
    n_joined: usize,
    texts: Vec<Encoded>,
    /// Whether parts of the last of `texts` are still to come.
    is_open: bool,
}

impl<'a> Joiner<'a> {
    fn new(parts: &'a [Part<'a>], spare: &'a Spare, n_texts: usize) -> Joiner<'a> {
        let waiting = parts.iter().map(|_| None).collect();
        let texts = Vec::with_capacity(n_texts);
        Joiner { parts, spare, waiting, n_joined: 0, texts, is_open: false }
    }

    fn take(&mut self, index: usize, encoded: Encoded) {
        self.waiting[index] = Some(encoded);
        while let Some(encoded) = self.waiting.get_mut(self.n_joined).and_then(Option::take) {
            self.join(encoded, self.parts[self.n_joined].n_after);
            self.n_joined += 1;
        }
    }

    /// Joins the next part, after which `n_after` bytes of its text are left.
    fn join(&mut self, (mut new_ids, new_outcome): Encoded, n_after: usize) {
        match self.texts.last_mut() {
            Some((ids, outcome)) if self.is_open => {
                // Greedy matching goes from the front: nothing after a byte without token counts.
                if *outcome == Outcome::Complete {
                    ids.extend_from_slice(&new_ids);
                    *outcome = new_outcome;
                }
                self.spare.give(new_ids);
            }
            _ => {
                // Real texts have more than 3 bytes a token.
                new_ids.reserve(n_after / 3);
                self.texts.push((new_ids, new_outcome));
            }
        }
        self.is_open = n_after > 0;
    }
}

/// Buffers to be used again: fresh ones would cost the threads more than joining, in pages the system has to clear.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u32>>>);

impl Spare {
    fn take(&self) -> Vec<u32> {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        buffer.unwrap_or_default()
    }

    fn give(&self, mut buffer: Vec<u32>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests;
