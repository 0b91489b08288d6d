//! The World vocabulary, `rwkv_vocab_v20230424`, as a part of the program: nothing is read, unpacked or built.
//!
//! The build script makes its texts and tables from `assets/world.bin` with this crate's own modules. Here they
//! are taken in and used in place: having the tokenizer costs what its first texts touch of it, page by page.
//! Whether a model's vocabulary is this one is for `tokenizer.rs` to ask, never to assume.

use crate::Vocabulary;
use crate::cuts::Cuts;
use crate::double_array::DoubleArray;
use crate::frozen::Frozen;

/// The length of the longest token: 128 spaces.
const MAX_TOKEN_BYTES: usize = 128;

/// Bytes that begin where numbers of any size may, and a cache line does.
#[repr(C, align(64))]
struct Aligned<const N: usize>([u8; N]);

/// The named file of the build script's, as a slice of numbers.
macro_rules! table {
    ($name:literal) => {{
        const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $name));
        static TABLE: Aligned<{ BYTES.len() }> =
            Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name)));
        Frozen::Bundled(
            bytemuck::try_cast_slice(&TABLE.0)
                .expect("it is aligned and the build script wrote whole numbers"),
        )
    }};
}

impl Vocabulary {
    /// The bundled World vocabulary, `rwkv_vocab_v20230424`: 65,530 ids, of which all but 0 have text.
    ///
    /// It is used where it lies in the program, so having it costs nothing.
    pub fn world() -> Vocabulary {
        Vocabulary::from_tables(table!("world.texts"), table!("world.offsets"), MAX_TOKEN_BYTES)
    }
}

/// What encoding needs, the same as is built from the vocabulary.
pub(crate) fn tables() -> (Cuts, DoubleArray) {
    let array = DoubleArray::from_tables(table!("world.entries"), table!("world.ids"));
    (Cuts::from_table(table!("world.cuts")), array)
}

#[cfg(test)]
mod tests;
