//! The form of an entry's file, written and read in one go.
//!
//! ```text
//! "wb-cache", version u32, kind u32, key [u8; 32], tokens u64, form u64, payload bytes u64    all little-endian
//! payload: values f32, of a state slab by slab in the order in which its device keeps them
//! XXH3-128 of all of the above
//! ```
//!
//! Who reads knows what the header must be, so that any other header is a foreign file. The checksum is taken of pieces
//! while they are in the processor's caches.

use super::key::Key;
use std::io::{self, ErrorKind, Read, Write};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 8] = *b"wb-cache";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 32 + 8 + 8 + 8;
const SUM_BYTES: usize = 16;
/// Bytes that are read or written and summed at a time: they stay in a core's second cache.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    State = 1,
    Embedding = 2,
}

/// What stands before the values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// A digest of how the values are ordered.
    pub(super) form: u64,
    pub(super) payload_bytes: u64,
}

impl Head {
    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 7] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &(self.kind as u32).to_le_bytes(),
            &self.key.digest,
            &self.key.n_tokens.to_le_bytes(),
            &self.form.to_le_bytes(),
            &self.payload_bytes.to_le_bytes(),
        ];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    /// Bytes of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.payload_bytes.saturating_add((HEADER_BYTES + SUM_BYTES) as u64)
    }
}

/// Writes an entry.
pub(super) struct Writer<W> {
    out: W,
    sum: Xxh3,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, head: &Head) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, sum: Xxh3::new() };
        writer.put(&head.bytes())?;
        Ok(writer)
    }

    /// The next bytes of the payload.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.sum.update(piece);
            self.out.write_all(piece)?;
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.out.write_all(&self.sum.digest128().to_le_bytes())?;
        self.out.flush()
    }
}

/// Why an entry was not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not what was written.
    Damaged(&'static str),
    /// The system refused.
    Io(io::Error),
    /// The device failed, or has no memory.
    Engine(crate::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.kind() {
            ErrorKind::UnexpectedEof => Refusal::Damaged("it ends too early"),
            _ => Refusal::Io(error),
        }
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Refusal {
        Refusal::Engine(error)
    }
}

/// Reads an entry. What it gave is worth something once [`Reader::end`] has said so.
pub(super) struct Reader<R> {
    input: R,
    sum: Xxh3,
}

impl<R: Read> Reader<R> {
    /// Reads the header, which must be this one.
    pub(super) fn begin(mut input: R, head: &Head) -> Result<Reader<R>, Refusal> {
        let mut found = [0; HEADER_BYTES];
        input.read_exact(&mut found)?;
        if found != head.bytes() {
            return Err(Refusal::Damaged("its header is not that of this entry"));
        }
        let mut sum = Xxh3::new();
        sum.update(&found);
        Ok(Reader { input, sum })
    }

    /// The next bytes of the payload.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<(), Refusal> {
        for piece in out.chunks_mut(PIECE_BYTES) {
            self.input.read_exact(piece)?;
            self.sum.update(piece);
        }
        Ok(())
    }

    /// The checksum, and the end.
    pub(super) fn end(mut self) -> Result<(), Refusal> {
        let mut found = [0; SUM_BYTES];
        self.input.read_exact(&mut found)?;
        if found != self.sum.digest128().to_le_bytes() {
            return Err(Refusal::Damaged("its checksum is wrong"));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(Refusal::Damaged("it goes on after its end")),
        }
    }
}
