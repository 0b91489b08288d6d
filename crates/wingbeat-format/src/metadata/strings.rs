//! Many strings in one piece.
//!
//! A vocabulary is 65536 strings of a few bytes. They stay where the file has them, each behind its length,
//! and are walked in order; nothing is allocated for them at open.

use std::fmt;

use crate::bytes::Bytes;

/// Bytes of the length in front of each string, as in GGUF since version 2.
const LENGTH_BYTES: usize = size_of::<u64>();

/// An array of byte strings, to be read in order.
#[derive(Clone, PartialEq, Eq)]
pub struct StringArray {
    /// Each string: its length as a little-endian u64, then its bytes. Walked and checked before it gets
    /// here.
    data: Bytes,
    count: usize,
}

impl StringArray {
    /// Takes `count` strings from the start of `bytes`; `None` if they are not all there. Allocates nothing.
    pub(crate) fn parse(bytes: &Bytes, count: usize) -> Option<StringArray> {
        let mut rest: &[u8] = bytes;
        for _ in 0..count {
            let (_, after) = split_string(rest)?;
            rest = after;
        }
        let data = bytes.slice(0..bytes.len() - rest.len())?;
        Some(StringArray { data, count })
    }

    /// The strings as GGUF has them: each behind its length.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.data
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The strings in order. They need not be UTF-8.
    pub fn iter(&self) -> Strings<'_> {
        Strings { rest: &self.data, left: self.count }
    }
}

fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

impl<S: AsRef<[u8]>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> StringArray {
        let (mut data, mut count) = (Vec::new(), 0);
        for string in strings {
            let string = string.as_ref();
            data.extend((string.len() as u64).to_le_bytes());
            data.extend(string);
            count += 1;
        }
        StringArray { data: Bytes::from_vec(data), count }
    }
}

impl<'a> IntoIterator for &'a StringArray {
    type Item = &'a [u8];
    type IntoIter = Strings<'a>;

    fn into_iter(self) -> Strings<'a> {
        self.iter()
    }
}

impl fmt::Debug for StringArray {
    /// The count and the first few: a vocabulary would flood any message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} strings ", self.count)?;
        f.debug_list().entries(self.iter().take(4).map(String::from_utf8_lossy)).finish()
    }
}

/// Iterator over a [`StringArray`].
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // All lengths were checked when the array was made. A mapped file that someone rewrites meanwhile may
        // still surprise: the walk then ends early.
        let Some((string, rest)) = split_string(self.rest) else {
            self.left = 0;
            return None;
        };
        self.rest = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
