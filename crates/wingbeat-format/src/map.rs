//! The one place where a file is mapped into memory.
//!
//! Takes a path, gives a read-only shared map of the whole file. Parsing it is the format modules' business.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;

use memmap2::Mmap;

use crate::error::FormatError;

/// Maps the regular, non-empty file at `path`.
pub(crate) fn map_file(path: &Path, label: &str) -> Result<Mmap, FormatError> {
    // Asked of the path, not of an open handle: opening a pipe would wait for a writer.
    let info = fs::metadata(path).map_err(|e| FormatError::io(label, "open", e))?;
    if info.is_dir() {
        return Err(FormatError::NotAFile {
            file: label.to_owned(),
            expected: "a model file",
            found: "a directory",
        });
    }
    if !info.is_file() {
        let found = "a device, pipe or socket";
        return Err(FormatError::NotAFile { file: label.to_owned(), expected: "a model file", found });
    }
    let file = File::open(path).map_err(|e| FormatError::io(label, "open", e))?;
    // A map of no bytes is refused by some systems.
    let n_bytes = file.metadata().map_err(|e| FormatError::io(label, "stat", e))?.len();
    if n_bytes == 0 {
        return Err(FormatError::Empty { file: label.to_owned() });
    }
    // SAFETY: the map is read-only and private to this crate, which only ever hands out `&[u8]` of it and
    // never assumes that two reads agree. What remains is another process shortening or rewriting the file in
    // place while it is mapped, which no reader of maps can rule out; our own writers replace files by
    // renaming, which leaves existing maps on the old contents.
    let map = unsafe { Mmap::map(&file) };
    map.map_err(|e| FormatError::io(label, "map", e))
}
