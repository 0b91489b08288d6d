//! The header of a `.npy` file: NumPy's format 1.0 is written, 1.0 to 3.0 are read (numpy.lib.format).
//!
//! `\x93NUMPY`, two bytes of version, the length of the header as u16 (u32 from 2.0), and the header: a dictionary
//! as Python writes it, with the keys `descr`, `fortran_order` and `shape`, filled up with spaces and ended by a line
//! break so that the data begin at a multiple of 64. Only matrices of little-endian float32, row by row, are read.

use anyhow::{Context, bail, ensure};
use std::io::Read;

/// What every file begins with.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The one type that is read and written: float32, little-endian.
const FLOAT32: &str = "<f4";
/// Data begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// No header of a plain array is longer.
const MOST_HEADER_BYTES: u32 = 1 << 16;

/// The beginning of a file of a matrix `(n_rows, n_cols)`.
pub(super) fn header(n_rows: usize, n_cols: usize) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '{FLOAT32}', 'fortran_order': False, 'shape': ({n_rows}, {n_cols}), }}")
            .into_bytes();
    let fixed = MAGIC.len() + 2 + size_of::<u16>();
    text.resize((fixed + text.len() + 1).next_multiple_of(ALIGNMENT) - fixed - 1, b' ');
    text.push(b'\n');
    let length = u16::try_from(text.len()).expect("two numbers and some words are not 64 KiB");
    [&MAGIC[..], &[1, 0], &length.to_le_bytes(), &text].concat()
}

/// What a header says, and its length in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    pub(super) n_bytes: u64,
}

/// Reads the beginning of a file.
pub(super) fn read_header(from: &mut dyn Read) -> anyhow::Result<Header> {
    const TRUNCATED: &str = "the header is truncated";
    let mut start = [0; MAGIC.len() + 2];
    from.read_exact(&mut start).context(TRUNCATED)?;
    let (magic, version) = start.split_at(MAGIC.len());
    ensure!(magic == MAGIC, "expected \\x93NUMPY at the beginning, found {}", magic.escape_ascii());
    let n_length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        major => bail!("expected version 1 to 3 of the npy format, found {major}.{}", version[1]),
    };
    let mut length = [0; 4];
    from.read_exact(&mut length[..n_length_bytes]).context(TRUNCATED)?;
    let length = u32::from_le_bytes(length);
    ensure!(
        length <= MOST_HEADER_BYTES,
        "expected a header of at most {MOST_HEADER_BYTES} bytes, found {length}"
    );
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text).context(TRUNCATED)?;
    let (n_rows, n_cols) = shape(&text)?;
    Ok(Header { n_rows, n_cols, n_bytes: (start.len() + n_length_bytes) as u64 + u64::from(length) })
}

/// The shape in a header whose other entries are as they must be.
fn shape(text: &[u8]) -> anyhow::Result<(usize, usize)> {
    let (mut is_float32, mut is_by_rows, mut shape) = (false, false, None);
    let mut words = Words { text, at: 0 };
    words.expect(b'{')?;
    while !words.takes(b'}') {
        let key = words.string()?;
        words.expect(b':')?;
        let is_first = match key.as_str() {
            "descr" => {
                let found = words.string().context("`descr`: expected '<f4' (float32)")?;
                ensure!(found == FLOAT32, "`descr`: expected '<f4' (float32), found '{found}'");
                !std::mem::replace(&mut is_float32, true)
            }
            "fortran_order" => {
                let found = words.name()?;
                ensure!(found == "False", "`fortran_order`: expected False (row by row), found {found}");
                !std::mem::replace(&mut is_by_rows, true)
            }
            "shape" => shape.replace(words.tuple()?).is_none(),
            key => bail!("the header has an unknown key `{key}`"),
        };
        ensure!(is_first, "the header has a second `{key}`");
        if !words.takes(b',') {
            words.expect(b'}')?;
            break;
        }
    }
    ensure!(words.peek().is_none(), "the header goes on after its dictionary");
    ensure!(is_float32 && is_by_rows, "the header needs the keys descr, fortran_order and shape");
    match shape.as_deref() {
        Some(&[n_rows, n_cols]) => Ok((n_rows, n_cols)),
        Some(shape) => bail!("`shape`: expected two dimensions (texts, width), found {}", shape.len()),
        None => bail!("the header has no `shape`"),
    }
}

/// The little of Python's grammar that headers are made of.
struct Words<'a> {
    text: &'a [u8],
    at: usize,
}

impl Words<'_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> anyhow::Result<()> {
        ensure!(
            self.takes(byte),
            "the header: expected `{}` at byte {}, found {}",
            byte as char,
            self.at,
            self.found()
        );
        Ok(())
    }

    fn found(&self) -> String {
        match self.text.get(self.at) {
            Some(byte) => format!("`{}`", byte.escape_ascii()),
            None => "its end".to_owned(),
        }
    }

    /// As long as `belongs` says.
    fn run(&mut self, belongs: fn(&u8) -> bool) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word: String =
            rest.iter().take_while(|byte| belongs(byte)).take(100).map(|byte| char::from(*byte)).collect();
        self.at += word.len();
        word
    }

    /// Between quotes, without escapes.
    fn string(&mut self) -> anyhow::Result<String> {
        let quote = if self.peek() == Some(b'"') { b'"' } else { b'\'' };
        self.expect(quote)?;
        let word = self.run(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'\\'));
        ensure!(
            self.text.get(self.at) == Some(&quote),
            "the header: a string at byte {} has no end",
            self.at
        );
        self.at += 1;
        Ok(word)
    }

    fn name(&mut self) -> anyhow::Result<String> {
        self.peek();
        let word = self.run(u8::is_ascii_alphanumeric);
        ensure!(!word.is_empty(), "the header: expected a word at byte {}, found {}", self.at, self.found());
        Ok(word)
    }

    fn tuple(&mut self) -> anyhow::Result<Vec<usize>> {
        let mut numbers = Vec::new();
        self.expect(b'(')?;
        while !self.takes(b')') {
            let word = self.name()?;
            // Python 2 wrote `3L`.
            let digits = word.strip_suffix('L').unwrap_or(&word);
            let number = digits.parse();
            numbers.push(number.map_err(|_| anyhow::anyhow!("`shape`: `{word}` is no number that fits"))?);
            if !self.takes(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests;
