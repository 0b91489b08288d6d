//! The trie packed into one array of 32-bit entries, and the plain walk through it.
//!
//! Node and byte give the place of the child: `base(node) ^ byte`. All bases differ, so a place can be asked for
//! by one node only if the byte is right, and an entry's own label is all that need be checked. As base and
//! child differ only in the low byte, a node's children lie in one block of 256 places; no index can leave the
//! array, whose length is a multiple of 256. The root has all 256 children and block 0 to itself, its base is 0.
//!
//! An entry: base of the children (22 bits) | a token ends here | no children | label (8 bits). An entry without
//! children has base 0, the root's, so that a walk that ends there stands at the root again. The token's id lies
//! in a second array, read once a token. `cursors.rs` walks the same arrays for long texts.

use std::collections::VecDeque;

use crate::TokenizerError;
use crate::frozen::Frozen;
use crate::trie::{MAX_NODES, MISSING, NO_TOKEN, ROOT, Trie};

/// The bits of an entry that are the base.
pub(crate) const BASE: u32 = (1 << 22) - 1;
/// The bit of an entry at which a token ends.
pub(crate) const TOKEN: u32 = 1 << 22;
/// Place of the bit of an entry that has no children: the walk is over.
pub(crate) const LEAF_SHIFT: u32 = 23;
/// The bit itself.
pub(crate) const LEAF: u32 = 1 << LEAF_SHIFT;
/// Place of an entry's label.
pub(crate) const LABEL_SHIFT: u32 = 24;

/// The packed trie.
pub(crate) struct DoubleArray {
    /// The length is a multiple of 256 and every base is below it.
    entries: Frozen<u32>,
    /// The id of the token that ends at the entry of the same index. As long as `entries`.
    ids: Ids,
    /// Whether some single byte has no token, so that [`MISSING`] occurs in `ids`.
    lacks_bytes: bool,
}

impl DoubleArray {
    /// Packs `trie`.
    pub(crate) fn new(trie: &Trie) -> Result<DoubleArray, TokenizerError> {
        let children = Children::new(trie);
        let mut blocks = Blocks::new();
        let mut base_of = vec![0u32; trie.len()];
        // Nodes with many children first, while there is room to choose from; the single ones fill the holes.
        for node in children.by_falling_count() {
            base_of[node as usize] = blocks.place(children.labels(node));
        }

        let n_places = blocks.n_places();
        if n_places > MAX_NODES {
            return Err(TokenizerError::TooLarge { what: "trie places", found: n_places, limit: MAX_NODES });
        }
        let mut entries = blocks.unused_entries();
        let mut ids = vec![NO_TOKEN; n_places];
        for node in 1..trie.len() {
            let label = u32::from(trie.label[node]);
            let place = (base_of[trie.parent[node] as usize] ^ label) as usize;
            let token = trie.token[node];
            let token_bit = if token == NO_TOKEN { 0 } else { TOKEN };
            let leaf_bit = if children.labels(node as u32).is_empty() { LEAF } else { 0 };
            entries[place] = label << LABEL_SHIFT | leaf_bit | token_bit | base_of[node];
            ids[place] = token;
        }
        Ok(DoubleArray {
            entries: entries.into(),
            ids: Ids::new(ids),
            lacks_bytes: trie.token.contains(&MISSING),
        })
    }

    /// The array of tables made before, [`DoubleArray::entries`] and [`DoubleArray::narrow_ids`], of a vocabulary
    /// that has all bytes.
    pub(crate) fn from_tables(entries: Frozen<u32>, ids: Frozen<u16>) -> DoubleArray {
        DoubleArray { entries, ids: Ids::Narrow(ids), lacks_bytes: false }
    }

    /// The entries, which the walk through a long text reads itself.
    pub(crate) fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// The ids of the tokens that end at each entry, if they all fit 16 bits.
    #[allow(dead_code, reason = "the build script and tests use it")]
    pub(crate) fn narrow_ids(&self) -> Option<&[u16]> {
        match &self.ids {
            Ids::Narrow(ids) => Some(ids),
            Ids::Wide(_) => None,
        }
    }

    /// Appends the ids of the tokens that end at these entries.
    pub(crate) fn extend_ids(&self, places: &[u32], out: &mut Vec<u32>) {
        match &self.ids {
            Ids::Narrow(ids) => out.extend(places.iter().map(|&place| u32::from(ids[place as usize]))),
            Ids::Wide(ids) => out.extend(places.iter().map(|&place| ids[place as usize])),
        }
    }

    /// Whether some single byte has no token: then [`MISSING`] may be among the ids.
    pub(crate) fn lacks_bytes(&self) -> bool {
        self.lacks_bytes
    }

    /// Takes a walk to its end: the id of the longest token on its way, and where that token ends in `text`.
    ///
    /// A walk from anywhere before the end of `text` finds a token of one byte at least, if only [`MISSING`].
    pub(crate) fn finish(&self, text: &[u8], mut walk: Walk) -> (u32, usize) {
        for &byte in text.get(walk.at..).unwrap_or_default() {
            let place = walk.base ^ u32::from(byte);
            let entry = self.entries[place as usize];
            if entry >> LABEL_SHIFT != u32::from(byte) {
                break;
            }
            walk.at += 1;
            if entry & TOKEN != 0 {
                walk.token_place = place;
                walk.token_end = walk.at;
            }
            if entry & LEAF != 0 {
                break;
            }
            walk.base = entry & BASE;
        }
        (self.ids.get(walk.token_place), walk.token_end)
    }

    /// The id of the token that is exactly `token`.
    pub(crate) fn get(&self, token: &[u8]) -> Option<u32> {
        let (id, end) = self.finish(token, Walk::from(0));
        (end > 0 && end == token.len() && id != MISSING).then_some(id)
    }
}

/// The id of the token that ends at each entry.
enum Ids {
    /// As the World vocabulary's, and most others': half the memory, so that more of it is in a cache.
    Narrow(Frozen<u16>),
    /// Of a vocabulary with ids that don't fit, or that lacks bytes.
    Wide(Frozen<u32>),
}

impl Ids {
    fn new(ids: Vec<u32>) -> Ids {
        // Where no token ends nobody looks, so that NO_TOKEN may become anything; MISSING must stay what it is.
        if ids.iter().all(|&id| id <= u32::from(u16::MAX) || id == NO_TOKEN) {
            Ids::Narrow(ids.iter().map(|&id| id as u16).collect::<Vec<u16>>().into())
        } else {
            Ids::Wide(ids.into())
        }
    }

    fn get(&self, place: u32) -> u32 {
        match self {
            Ids::Narrow(ids) => u32::from(ids[place as usize]),
            Ids::Wide(ids) => ids[place as usize],
        }
    }
}

/// A search for the longest token, somewhere on its way down the trie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Where in the text the next byte is read.
    pub(crate) at: usize,
    /// The base of the node reached; 0 is the root's.
    pub(crate) base: u32,
    /// Where the longest token so far ends; where the walk began if there is none yet.
    pub(crate) token_end: usize,
    /// Its entry; anything if there is none yet.
    pub(crate) token_place: u32,
}

impl Walk {
    /// A walk that begins at `at`.
    pub(crate) fn from(at: usize) -> Walk {
        Walk { at, base: 0, token_end: at, token_place: 0 }
    }
}

/// The children of each node, found by node.
struct Children {
    /// Where in `labels` each node's children begin, and at last where the last ones end.
    starts: Vec<u32>,
    /// The edges' bytes, node after node.
    labels: Vec<u8>,
}

impl Children {
    fn new(trie: &Trie) -> Children {
        // Counting sort by parent; node 0 is the root, which is nobody's child.
        let edges = || trie.parent.iter().zip(&trie.label).skip(1);
        let mut starts = vec![0u32; trie.len() + 1];
        for (&parent, _) in edges() {
            starts[parent as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut labels = vec![0; trie.len() - 1];
        for (&parent, &label) in edges() {
            let at = &mut next[parent as usize];
            labels[*at as usize] = label;
            *at += 1;
        }
        Children { starts, labels }
    }

    fn labels(&self, node: u32) -> &[u8] {
        let node = node as usize;
        &self.labels[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// The nodes that have children, the root first, those with equally many in order of the trie.
    fn by_falling_count(&self) -> Vec<u32> {
        let mut by_count = vec![Vec::new(); 257];
        for node in ROOT..self.starts.len() as u32 - 1 {
            by_count[self.labels(node).len()].push(node);
        }
        by_count.drain(1..).rev().flatten().collect()
    }
}

/// The places and bases that are still to be had, in blocks of 256.
struct Blocks {
    blocks: Vec<Block>,
    /// The blocks to be tried, for the number of children being placed now. A block leaves at the first node that
    /// does not fit: trying on would make the World array 2 % smaller and its making twice as long.
    open: VecDeque<u32>,
    /// The number of children being placed now.
    n_children: usize,
}

struct Block {
    /// Places without an entry.
    free: Set,
    /// Bases that no node has.
    bases: Set,
    n_free: usize,
}

impl Blocks {
    fn new() -> Blocks {
        Blocks { blocks: Vec::new(), open: VecDeque::new(), n_children: usize::MAX }
    }

    /// Takes a base and the places of its children. The number of children must never rise from call to call.
    fn place(&mut self, labels: &[u8]) -> u32 {
        if labels.len() != self.n_children {
            self.n_children = labels.len();
            self.open.clear();
            for (i, block) in (0..).zip(&self.blocks) {
                if block.n_free >= labels.len() {
                    self.open.push_back(i);
                }
            }
        }

        loop {
            let Some(&index) = self.open.front() else {
                self.open.push_back(self.blocks.len() as u32);
                self.blocks.push(Block { free: Set::FULL, bases: Set::FULL, n_free: 256 });
                continue;
            };
            let block = &mut self.blocks[index as usize];
            let base = block.take(labels);
            if base.is_none() || block.n_free < labels.len() {
                self.open.pop_front();
            }
            if let Some(base) = base {
                return index << 8 | u32::from(base);
            }
        }
    }

    fn n_places(&self) -> usize {
        self.blocks.len() * 256
    }

    /// Entries for all places, made so that none of them is ever taken for a child.
    ///
    /// A free place's label is one that only an unused base asks for. There is such a base: each used one has a
    /// child in its own block, so a block with a free place has at most 255 used ones.
    fn unused_entries(&self) -> Vec<u32> {
        let mut entries = Vec::with_capacity(self.n_places());
        for block in &self.blocks {
            let unused = u32::from(block.bases.first().unwrap_or(0));
            entries.extend((0..256).map(|place| (place ^ unused) << LABEL_SHIFT));
        }
        entries
    }
}

impl Block {
    /// Takes a base for children of these labels, if there is one.
    fn take(&mut self, labels: &[u8]) -> Option<u8> {
        let mut candidates = self.bases;
        for &label in labels {
            // base ^ label is free, seen as a set of bases
            candidates = candidates.and(self.free.xor_each(label));
            if candidates.is_empty() {
                return None;
            }
        }
        let base = candidates.first()?;
        self.bases.remove(base);
        for &label in labels {
            self.free.remove(base ^ label);
        }
        self.n_free -= labels.len();
        Some(base)
    }
}

/// A set of bytes.
#[derive(Clone, Copy)]
struct Set([u64; 4]);

impl Set {
    const FULL: Set = Set([u64::MAX; 4]);

    fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    fn first(self) -> Option<u8> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some((word as u32 * 64 + self.0[word].trailing_zeros()) as u8)
    }

    fn remove(&mut self, member: u8) {
        self.0[usize::from(member >> 6)] &= !(1 << (member & 63));
    }

    fn and(self, other: Set) -> Set {
        Set(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// The set of `member ^ with` for all members.
    fn xor_each(self, with: u8) -> Set {
        /// The members whose bit k is not set, for k in 0..6.
        const LOW: [u64; 6] = [
            0x5555_5555_5555_5555,
            0x3333_3333_3333_3333,
            0x0f0f_0f0f_0f0f_0f0f,
            0x00ff_00ff_00ff_00ff,
            0x0000_ffff_0000_ffff,
            0x0000_0000_ffff_ffff,
        ];
        let mut words: [u64; 4] = std::array::from_fn(|i| self.0[i ^ usize::from(with >> 6)]);
        for (k, low) in LOW.iter().enumerate() {
            if with >> k & 1 == 1 {
                for word in &mut words {
                    *word = (*word & low) << (1 << k) | (*word >> (1 << k)) & low;
                }
            }
        }
        Set(words)
    }
}

#[cfg(test)]
mod tests;
