//! The zip archive around a checkpoint: which entries there are and where their bytes lie.
//!
//! Everything is taken from the central directory at the file's end, which has the sizes even where an entry
//! is followed by a data descriptor, and compared with each entry's own header when its bytes are asked for.
//! What the entries mean is the reader's business.

use std::collections::HashMap;
use std::ops::Range;

use crate::bytes::Bytes;
use crate::error::FormatError;

/// How an archive begins: with an entry, or, if it has none, with its end.
const MAGICS: [&[u8]; 2] = [ENTRY_MAGIC, END_MAGIC];
const ENTRY_MAGIC: &[u8] = b"PK\x03\x04";
const CENTRAL_MAGIC: &[u8] = b"PK\x01\x02";
const END_MAGIC: &[u8] = b"PK\x05\x06";
const END64_MAGIC: &[u8] = b"PK\x06\x06";
const LOCATOR64_MAGIC: &[u8] = b"PK\x06\x07";

const ENTRY_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END64_BYTES: usize = 56;
const LOCATOR64_BYTES: usize = 20;
/// A comment may follow the end; its length has 16 bits.
const MAX_COMMENT_BYTES: usize = 0xffff;
/// The extra field that has the numbers which do not fit 32 bits.
const ZIP64_FIELD: u16 = 1;
const STORED: u16 = 0;
/// Of a name that is not the expected one.
const MAX_SHOWN_BYTES: usize = 64;
/// General purpose flag: the sizes follow the bytes.
const DESCRIPTOR: u16 = 1 << 3;
/// General purpose flags of encryption: plain, strong, and of the directory.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// Whether the file begins as a zip archive does.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    MAGICS.iter().any(|magic| bytes.starts_with(magic))
}

/// An entry as the central directory describes it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    flags: u16,
    method: u16,
    packed_bytes: u64,
    n_bytes: u64,
    /// Where its own header begins.
    header: u64,
}

/// The entries of an archive.
pub(super) struct Directory<'a> {
    file: &'a str,
    bytes: &'a Bytes,
    /// Names in the directory's order.
    names: Vec<&'a str>,
    entries: HashMap<&'a str, Entry>,
    /// Where the central directory begins: no entry reaches beyond.
    start: usize,
}

/// Where the central directory lies and how much is in it.
struct End {
    n_entries: u64,
    n_bytes: u64,
    start: u64,
    /// Where the first of the end records begins.
    end: usize,
}

impl<'a> Directory<'a> {
    /// Reads the central directory. Names occur once and are UTF-8.
    pub(super) fn read(file: &'a str, bytes: &'a Bytes) -> Result<Directory<'a>, FormatError> {
        let end = find_end(file, bytes)?;
        let range = usize::try_from(end.start)
            .ok()
            .zip(usize::try_from(end.n_bytes).ok())
            .and_then(|(start, n)| Some(start..start.checked_add(n)?))
            .filter(|range| range.end <= end.end);
        let Some(range) = range else {
            let found = format!("{} bytes from byte {}", end.n_bytes, end.start);
            return Err(malformed(file, format!("to lie before byte {}", end.end), found));
        };
        let start = range.start;
        let mut directory = Directory { file, bytes, names: Vec::new(), entries: HashMap::new(), start };
        let mut rest = &bytes[range];
        // The count is not trusted with an allocation: the lists grow as entries are really found.
        for i in 0..end.n_entries {
            rest = directory.entry(rest, i)?;
        }
        if !rest.is_empty() {
            let expected = format!("{} entries in {} bytes", end.n_entries, end.n_bytes);
            return Err(malformed(file, expected, format!("{} bytes more", rest.len())));
        }
        Ok(directory)
    }

    /// Names of all entries, in the directory's order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().copied()
    }

    /// The bytes of an entry, or `None` if there is none of that name.
    pub(super) fn get(&self, name: &str) -> Result<Option<Range<usize>>, FormatError> {
        self.entries.get(name).map(|entry| self.locate(name, entry)).transpose()
    }

    /// Adds the entry that `rest` begins with, and gives what follows it.
    fn entry(&mut self, rest: &'a [u8], i: u64) -> Result<&'a [u8], FormatError> {
        let file = self.file;
        let short = || malformed(file, format!("a whole entry {i}"), format!("{} bytes", rest.len()));
        let (head, tail) = rest.split_first_chunk::<CENTRAL_BYTES>().ok_or_else(short)?;
        if !head.starts_with(CENTRAL_MAGIC) {
            let found = format!("\"{}\"", head[..CENTRAL_MAGIC.len()].escape_ascii());
            return Err(malformed(file, format!("entry {i} to begin with \"PK\\x01\\x02\""), found));
        }
        let (name, tail) = tail.split_at_checked(u16_at(head, 28).into()).ok_or_else(short)?;
        let (extra, tail) = tail.split_at_checked(u16_at(head, 30).into()).ok_or_else(short)?;
        let (_comment, tail) = tail.split_at_checked(u16_at(head, 32).into()).ok_or_else(short)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| malformed(file, format!("a name in UTF-8 for entry {i}"), "other bytes"))?;

        let mut wide = Wide::of(extra);
        let mut number = |at| wide.number(u32_at(head, at));
        // The order of the extra field's numbers: length, packed length, place.
        let numbers = (|| Some((number(24)?, number(20)?, number(42)?)))();
        let (n_bytes, packed_bytes, header) = numbers.ok_or_else(|| {
            let item = item(name);
            FormatError::malformed(
                file,
                item,
                "a zip64 field with its 64-bit numbers",
                "a shorter one or none",
            )
        })?;
        let entry = Entry { flags: u16_at(head, 8), method: u16_at(head, 10), packed_bytes, n_bytes, header };
        if self.entries.insert(name, entry).is_some() {
            return Err(FormatError::Duplicate { file: file.to_owned(), item: item(name) });
        }
        self.names.push(name);
        Ok(tail)
    }

    /// Checks an entry against its own header and finds its bytes.
    fn locate(&self, name: &str, entry: &Entry) -> Result<Range<usize>, FormatError> {
        let malformed =
            |expected: String, found: String| FormatError::malformed(self.file, item(name), expected, found);
        let before = format!("its header before the directory at byte {}", self.start);
        let out_of_range = || malformed(before.clone(), format!("byte {}", entry.header));
        let header = usize::try_from(entry.header).map_err(|_| out_of_range())?;
        let rest = self.bytes.get(header..self.start).ok_or_else(out_of_range)?;
        let (head, rest) = rest.split_first_chunk::<ENTRY_BYTES>().ok_or_else(out_of_range)?;
        if !head.starts_with(ENTRY_MAGIC) {
            let found = format!("\"{}\" at byte {header}", head[..ENTRY_MAGIC.len()].escape_ascii());
            return Err(malformed("its header to begin with \"PK\\x03\\x04\"".to_owned(), found));
        }
        let (n_name, n_extra) = (usize::from(u16_at(head, 26)), usize::from(u16_at(head, 28)));
        if rest.get(..n_name) != Some(name.as_bytes()) {
            // The length may be as damaged as the name.
            let found = rest.get(..n_name.min(MAX_SHOWN_BYTES)).unwrap_or_default().escape_ascii();
            return Err(malformed("the same name in its header".to_owned(), format!("\"{found}\"")));
        }
        if (entry.flags | u16_at(head, 6)) & ENCRYPTED != 0 {
            return Err(malformed(
                "an entry that is not encrypted".to_owned(),
                "an encrypted one".to_owned(),
            ));
        }
        if let Some(method) = [entry.method, u16_at(head, 8)].into_iter().find(|&m| m != STORED) {
            let found = format!("compression method {method}: torch.save compresses nothing");
            return Err(malformed("an entry that is not compressed".to_owned(), found));
        }
        if entry.packed_bytes != entry.n_bytes {
            let found = format!("{} of {}", entry.packed_bytes, entry.n_bytes);
            return Err(malformed("as many bytes stored as there are".to_owned(), found));
        }
        // Where the sizes follow the bytes, the header has none.
        let own = u32_at(head, 22);
        if u16_at(head, 6) & DESCRIPTOR == 0 && own != u32::MAX && u64::from(own) != entry.n_bytes {
            return Err(malformed(
                format!("{} bytes, as the directory says", entry.n_bytes),
                own.to_string(),
            ));
        }
        // Within the file's length, which is a usize: the name was found there.
        let start = header + ENTRY_BYTES + n_name + n_extra;
        let end = usize::try_from(entry.n_bytes).ok().and_then(|n| start.checked_add(n));
        match end.filter(|&end| end <= self.start) {
            Some(end) => Ok(start..end),
            None => {
                let expected = format!("its bytes before the directory at byte {}", self.start);
                Err(malformed(expected, format!("{} bytes from byte {start}", entry.n_bytes)))
            }
        }
    }
}

/// The numbers of a zip64 extra field, which stand in for those that are all ones.
struct Wide<'a> {
    numbers: &'a [u8],
}

impl<'a> Wide<'a> {
    fn of(mut extra: &'a [u8]) -> Wide<'a> {
        while let Some((head, rest)) = extra.split_first_chunk::<4>() {
            let n = usize::from(u16_at(head, 2)).min(rest.len());
            let (numbers, after) = rest.split_at(n);
            if u16_at(head, 0) == ZIP64_FIELD {
                return Wide { numbers };
            }
            extra = after;
        }
        Wide { numbers: &[] }
    }

    fn number(&mut self, narrow: u32) -> Option<u64> {
        if narrow != u32::MAX {
            return Some(narrow.into());
        }
        let (number, rest) = self.numbers.split_first_chunk()?;
        self.numbers = rest;
        Some(u64::from_le_bytes(*number))
    }
}

/// Finds the record at the end of the file, and the one for large archives before it.
fn find_end(file: &str, bytes: &[u8]) -> Result<End, FormatError> {
    let first = bytes.len().saturating_sub(END_BYTES + MAX_COMMENT_BYTES);
    let is_end = |at: &usize| {
        let record = bytes.get(*at..).and_then(<[u8]>::first_chunk::<END_BYTES>);
        record.is_some_and(|r| {
            r.starts_with(END_MAGIC) && at + END_BYTES + usize::from(u16_at(r, 20)) == bytes.len()
        })
    };
    let found = (first..bytes.len()).rev().find(is_end);
    let Some((at, end)) = found.and_then(|at| Some((at, bytes.get(at..)?.first_chunk::<END_BYTES>()?)))
    else {
        let found =
            format!("none in its last {} bytes: the file is cut short or damaged", bytes.len() - first);
        return Err(malformed(file, "the directory's end at the end of the file", found));
    };
    let whole = |disks: [u32; 2]| match disks {
        [0, 0] => Ok(()),
        _ => Err(malformed(file, "an archive in one file", "one of several parts")),
    };
    // Large archives say so right before this record. Their numbers here may be all ones.
    let locator = at.checked_sub(LOCATOR64_BYTES).and_then(|at| bytes.get(at..)?.first_chunk());
    let locator: Option<&[u8; LOCATOR64_BYTES]> = locator.filter(|l| l.starts_with(LOCATOR64_MAGIC));
    let Some(locator) = locator else {
        whole([u16_at(end, 4).into(), u16_at(end, 6).into()])?;
        return Ok(End {
            n_entries: u16_at(end, 10).into(),
            n_bytes: u32_at(end, 12).into(),
            start: u32_at(end, 16).into(),
            end: at,
        });
    };
    let at = u64_at(locator, 8);
    let place = usize::try_from(at).ok();
    let end64 = place.and_then(|at| bytes.get(at..)?.first_chunk::<END64_BYTES>());
    match (place, end64.filter(|end| end.starts_with(END64_MAGIC))) {
        (Some(at), Some(end)) => {
            whole([u32_at(end, 16), u32_at(end, 20)])?;
            Ok(End { n_entries: u64_at(end, 32), n_bytes: u64_at(end, 40), start: u64_at(end, 48), end: at })
        }
        _ => Err(malformed(file, format!("the zip64 record at byte {at}"), "something else there")),
    }
}

/// An entry, for messages.
pub(super) fn item(name: &str) -> String {
    format!("zip entry {name:?}")
}

fn malformed(file: &str, expected: impl Into<String>, found: impl std::fmt::Display) -> FormatError {
    FormatError::malformed(file, "zip directory", expected, found)
}

// The records are arrays of fixed length, the places constants inside them.

fn u16_at<const N: usize>(record: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([record[at], record[at + 1]])
}

fn u32_at<const N: usize>(record: &[u8; N], at: usize) -> u32 {
    u32::from(u16_at(record, at)) | u32::from(u16_at(record, at + 2)) << 16
}

fn u64_at<const N: usize>(record: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(record, at)) | u64::from(u32_at(record, at + 4)) << 32
}
