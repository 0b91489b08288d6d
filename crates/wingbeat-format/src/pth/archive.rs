//! Lays out a zip archive of stored entries whose lengths are known beforehand, and whose sums are not.
//!
//! Entries follow each other, each with its data at a multiple of 64 as torch has them, the directory after the last;
//! lengths and places beyond 32 bits go into zip64 fields (APPNOTE.TXT 4.3, 4.5.3). The bytes of data are the writer's
//! business.

use crate::error::FormatError;

/// Where torch lets data begin.
const ALIGNMENT: u64 = 64;
/// torch's extra field that has nothing but room in it.
const ROOM_FIELD: [u8; 2] = *b"FB";
const ZIP64_FIELD: u16 = 1;
/// The format's version that has zip64, times ten.
const VERSION: u16 = 45;
/// Names are UTF-8.
const UTF8: u16 = 1 << 11;
const ENTRY_BYTES: u64 = 30;
/// Where an entry's header has its sum.
const SUM_AT: u64 = 14;

/// An entry that has its place.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    n_bytes: u64,
    /// Where its header begins.
    at: u64,
    /// The sum of its bytes, once they are known.
    pub(super) sum: u32,
}

impl Entry {
    /// Where the sum stands in the file.
    pub(super) fn sum_at(&self) -> u64 {
        self.at + SUM_AT
    }
}

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) entries: Vec<Entry>,
    /// The bytes so far, data included.
    n_bytes: u64,
}

impl Archive {
    /// Adds an entry: its header, which ends where its data are to begin.
    pub(super) fn add(
        &mut self,
        file: &str,
        name: String,
        n_bytes: u64,
        sum: u32,
    ) -> Result<Vec<u8>, FormatError> {
        let at = self.n_bytes;
        let mut extra = Vec::new();
        if is_wide(n_bytes) {
            put(&mut extra, &[&ZIP64_FIELD.to_le_bytes(), &16u16.to_le_bytes()]);
            put(&mut extra, &[&n_bytes.to_le_bytes(), &n_bytes.to_le_bytes()]);
        }
        let end = at + ENTRY_BYTES + name.len() as u64 + extra.len() as u64 + 4;
        let room = (end.next_multiple_of(ALIGNMENT) - end) as usize;
        put(&mut extra, &[&ROOM_FIELD, &(room as u16).to_le_bytes(), &vec![b'Z'; room]]);
        let mut header = b"PK\x03\x04".to_vec();
        put(&mut header, &[&VERSION.to_le_bytes(), &UTF8.to_le_bytes(), &[0; 2], &TIME]);
        let narrow = narrow(n_bytes).to_le_bytes();
        put(&mut header, &[&sum.to_le_bytes(), &narrow, &narrow]);
        put(&mut header, &[&(name.len() as u16).to_le_bytes(), &(extra.len() as u16).to_le_bytes()]);
        put(&mut header, &[name.as_bytes(), &extra]);
        let end = (at + header.len() as u64).checked_add(n_bytes);
        self.n_bytes = end.ok_or_else(|| {
            FormatError::malformed(file, format!("zip entry {name:?}"), "an end below 2^64", n_bytes)
        })?;
        self.entries.push(Entry { name, n_bytes, at, sum });
        Ok(header)
    }

    /// The directory and the records at the file's end.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Entry { name, n_bytes, at, sum } in &self.entries {
            let mut extra = Vec::new();
            let wide: Vec<u8> = [n_bytes, n_bytes, at]
                .into_iter()
                .filter(|n| is_wide(**n))
                .flat_map(|n| n.to_le_bytes())
                .collect();
            if !wide.is_empty() {
                put(&mut extra, &[&ZIP64_FIELD.to_le_bytes(), &(wide.len() as u16).to_le_bytes(), &wide]);
            }
            out.extend(b"PK\x01\x02");
            put(
                &mut out,
                &[&VERSION.to_le_bytes(), &VERSION.to_le_bytes(), &UTF8.to_le_bytes(), &[0; 2], &TIME],
            );
            put(
                &mut out,
                &[&sum.to_le_bytes(), &narrow(*n_bytes).to_le_bytes(), &narrow(*n_bytes).to_le_bytes()],
            );
            put(&mut out, &[&(name.len() as u16).to_le_bytes(), &(extra.len() as u16).to_le_bytes()]);
            // No comment, the first disk, no attributes.
            put(&mut out, &[&[0; 10], &narrow(*at).to_le_bytes(), name.as_bytes(), &extra]);
        }
        let (n, n_directory) = (self.entries.len() as u64, out.len() as u64);
        let end64 = self.n_bytes + n_directory;
        // Written always, as torch does.
        out.extend(b"PK\x06\x06");
        put(&mut out, &[&44u64.to_le_bytes(), &VERSION.to_le_bytes(), &VERSION.to_le_bytes(), &[0; 8]]);
        for number in [n, n, n_directory, self.n_bytes] {
            out.extend(number.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        put(&mut out, &[&end64.to_le_bytes(), &1u32.to_le_bytes()]);
        out.extend(b"PK\x05\x06\0\0\0\0");
        let count = u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes();
        put(&mut out, &[&count, &count, &narrow(n_directory).to_le_bytes()]);
        put(&mut out, &[&narrow(self.n_bytes).to_le_bytes(), &[0; 2]]);
        out
    }
}

/// The first moment that the format can name: files made of the same weights are the same.
const TIME: [u8; 4] = [0, 0, 0x21, 0];

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend(*part));
}

fn is_wide(n: u64) -> bool {
    n >= u64::from(u32::MAX)
}

/// The number, or all ones where a zip64 field has it.
fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
