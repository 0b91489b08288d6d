//! Byte ranges that keep their source alive.
//!
//! A tensor's data, a vocabulary, a whole file: all are [`Bytes`], a counted reference to a mapped file, a
//! static slice or an owned vector, and a range in it. Cloning and slicing copy nothing.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use crate::guard::Guard;

/// Where bytes really are.
enum Source {
    /// The guard is dropped first: it watches over the map.
    Map(Guard, Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Source {
    fn as_slice(&self) -> &[u8] {
        match self {
            Source::Map(_, map) => map,
            Source::Static(bytes) => bytes,
            Source::Owned(bytes) => bytes,
        }
    }
}

/// A range of a mapped file, of static data or of a vector; cheap to clone, dereferences to `[u8]`.
///
/// Nothing is promised about the alignment of its first byte.
#[derive(Clone)]
pub struct Bytes {
    source: Arc<Source>,
    /// Always inside the source, whose length never changes.
    range: Range<usize>,
}

impl Bytes {
    /// All of a mapped file.
    pub(crate) fn from_map(map: Mmap) -> Bytes {
        Bytes::whole(Source::Map(Guard::new(&map), map))
    }

    /// All of a static slice.
    pub fn from_static(bytes: &'static [u8]) -> Bytes {
        Bytes::whole(Source::Static(bytes))
    }

    /// All of a vector.
    pub fn from_vec(bytes: Vec<u8>) -> Bytes {
        Bytes::whole(Source::Owned(bytes))
    }

    fn whole(source: Source) -> Bytes {
        let range = 0..source.as_slice().len();
        Bytes { source: Arc::new(source), range }
    }

    /// A part of these bytes, or `None` where `range` is not inside them.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        self.get(range.clone())?;
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        Some(Bytes { source: Arc::clone(&self.source), range: start..end })
    }

    /// Whether some of the bytes were not in their file any more when they were read: it was shortened while it was
    /// mapped. They read as zeros then.
    pub fn is_damaged(&self) -> bool {
        matches!(&*self.source, Source::Map(guard, _) if guard.is_damaged())
    }

    /// Tells the system that these bytes will hardly be read again: pages of a mapped file leave this process's resident
    /// memory, not the system's cache, and come back when they are read. Does nothing to other bytes, and nothing on
    /// systems that have no such call.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Source::Map(_, map) = &*self.source {
            // SAFETY: the map is of a file and never written through, so a dropped page is read again with the same
            // contents.
            #[allow(unsafe_code)]
            let advised = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    self.range.start,
                    self.range.len(),
                )
            };
            // Advice: memory stays resident where it is not taken.
            drop(advised);
        }
    }

    /// Whether the bytes are a mapped file's, paged in at first use and shared with other processes.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.source, Source::Map(..))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.as_slice()[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Bytes {
    /// Compares contents, not places.
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    /// Says how many bytes and where they are: printing the contents would page in a model.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match *self.source {
            Source::Map(..) => "mapped",
            Source::Static(_) => "static",
            Source::Owned(_) => "owned",
        };
        write!(f, "Bytes({} bytes, {place}, at {})", self.range.len(), self.range.start)
    }
}
