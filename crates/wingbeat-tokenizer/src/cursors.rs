//! The walk through a long text: several cursors side by side.
//!
//! A plain walk waits for one dependent load a byte and mispredicts a branch at each token's end. Here each of
//! [`CURSORS`] cursors has its own section of a block of text, sections meeting at exact cuts (`cuts.rs`), and all
//! step in turn with selects instead of branches: their loads overlap and nothing is mispredicted. On one core of
//! a server CPU that is twice as fast as the plain walk (500 against 250 MB/s with the World vocabulary).
//!
//! Three to six cursors differ little; four was best of this code. Everything is bounds-checked: the same with
//! unchecked reads and writes was within 5 % of it.

use std::hint::select_unpredictable;

use crate::cuts::Cuts;
use crate::double_array::{BASE, DoubleArray, LABEL_SHIFT, LEAF, LEAF_SHIFT, TOKEN, Walk};
use crate::trie::MISSING;

/// How many cursors walk side by side.
const CURSORS: usize = 4;
/// Blocks are about this long, so that what is kept of one stays in the cache.
const BLOCK_BYTES: usize = 1 << 16;
/// A block with hardly any cuts gets longer; beyond this length a single cursor walks it, which needs no memory.
const MAX_BLOCK_BYTES: usize = 4 * BLOCK_BYTES;
/// With shorter sections than this, setting the cursors up costs more than it brings.
const MIN_SECTION_BYTES: usize = 24;
/// With fewer bytes left to one of the cursors, each finishes its section alone.
const MIN_STEPS: usize = 2;

/// How encoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole text is encoded.
    Complete,
    /// No token matches after the ones appended.
    NoToken,
}

/// Appends the tokens of `text` to `ids`. `scratch` is memory to be used again for the next text.
pub(crate) fn encode(
    array: &DoubleArray,
    cuts: &Cuts,
    text: &[u8],
    ids: &mut Vec<u32>,
    scratch: &mut Vec<u32>,
) -> Outcome {
    // Real texts have more than 3 bytes a token.
    ids.reserve(text.len() / 3);
    let mut rest = text;
    while !rest.is_empty() {
        // A short last block would be slow, so it joins the one before it.
        let is_last = rest.len() <= BLOCK_BYTES + BLOCK_BYTES / 2;
        let n = if is_last { rest.len() } else { cuts.next(rest, BLOCK_BYTES) };
        let (block, after) = rest.split_at(n);
        let n_before = ids.len();
        encode_block(array, cuts, block, ids, scratch);
        if array.lacks_bytes()
            && let Some(n) = ids[n_before..].iter().position(|&id| id == MISSING)
        {
            ids.truncate(n_before + n);
            return Outcome::NoToken;
        }
        rest = after;
    }
    Outcome::Complete
}

/// Encodes one block, which begins and ends at a cut. `scratch` is memory to be used again.
fn encode_block(array: &DoubleArray, cuts: &Cuts, block: &[u8], ids: &mut Vec<u32>, scratch: &mut Vec<u32>) {
    let section_bytes = block.len() / CURSORS;
    if section_bytes < MIN_SECTION_BYTES || block.len() > MAX_BLOCK_BYTES {
        return encode_plain(array, block, Walk::from(0), ids);
    }
    let mut start = [0; CURSORS];
    let mut end = [block.len(); CURSORS];
    for j in 1..CURSORS {
        start[j] = cuts.next(block, (j * section_bytes).max(start[j - 1]));
        end[j - 1] = start[j];
    }

    // A section has no more tokens than bytes, so its tokens have room from its own start on.
    if scratch.len() < block.len() {
        scratch.resize(block.len(), 0);
    }
    let entries = array.entries();
    let mut at = start; // the next byte to read
    let mut base = [0; CURSORS]; // of the node reached; the root's is 0
    let mut token_end = start; // where the longest token so far ends, or the one before if there is none yet
    let mut token_place = [0u32; CURSORS]; // its entry
    let mut n_out = start; // where in `scratch` the token goes when the walk is over
    loop {
        // A step moves a cursor by one byte at most, so this many leave none outside its section.
        let n_steps = (0..CURSORS).map(|j| end[j] - at[j]).min().unwrap_or(0);
        if n_steps < MIN_STEPS {
            break;
        }
        for _ in 0..n_steps {
            for j in 0..CURSORS {
                let byte = u32::from(block[at[j]]);
                let place = base[j] ^ byte;
                let entry = entries[place as usize];
                let is_child = entry >> LABEL_SHIFT == byte;
                // No child is like a leaf: the walk is over and the root is next, but no token ends here.
                let entry = select_unpredictable(is_child, entry, LEAF);
                let is_token = entry & TOKEN != 0;
                at[j] = select_unpredictable(is_child, at[j] + 1, token_end[j]);
                token_end[j] = select_unpredictable(is_token, at[j], token_end[j]);
                token_place[j] = select_unpredictable(is_token, place, token_place[j]);
                base[j] = entry & BASE;
                scratch[n_out[j]] = token_place[j];
                n_out[j] += (entry >> LEAF_SHIFT & 1) as usize;
            }
        }
    }

    for j in 0..CURSORS {
        array.extend_ids(&scratch[start[j]..n_out[j]], ids);
        let walk = Walk { at: at[j], base: base[j], token_end: token_end[j], token_place: token_place[j] };
        encode_plain(array, &block[..end[j]], walk, ids);
    }
}

/// Encodes the rest of `text` with one cursor, beginning with a walk that may be under way.
fn encode_plain(array: &DoubleArray, text: &[u8], mut walk: Walk, ids: &mut Vec<u32>) {
    // A walk below the root has a token to give even if it has read all bytes.
    while walk.at < text.len() || walk.base != 0 {
        let (id, end) = array.finish(text, walk);
        ids.push(id);
        walk = Walk::from(end);
    }
}
