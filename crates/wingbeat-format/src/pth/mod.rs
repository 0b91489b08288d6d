//! `.pth`, the checkpoints that `torch.save` writes (PyTorch 1.6 and later): reading and writing.
//!
//! ```text
//! a zip archive, nothing in it compressed:
//! NAME/data.pkl    a pickle: a dict from names to tensors, each a view (offset, shape, strides) of a storage
//! NAME/version     the archive format's version, as text
//! NAME/byteorder   "little" or "big"; older files have none
//! NAME/data/KEY    the bytes of the storage KEY
//! NAME/extra/wingbeat.json    ours: metadata, as an object of strings; torch passes over it
//! ```
//!
//! A pickle is a program, and loading one with Python runs whatever it says. Here a small machine
//! (`machine.rs`) runs the few instructions that a dict of tensors needs; any function but torch's own for
//! building tensors is refused by name and none is ever called. Tensors stay where they lie in the file, as
//! in the other formats.
//!
//! Sources: the zip specification (APPNOTE.TXT), Python's `pickletools`, PyTorch's `torch/serialization.py`,
//! `torch/_utils.py` and `caffe2/serialize/inline_container.cc`.

mod archive;
mod crc;
mod directory;
mod machine;
mod pickle;
mod read;
#[cfg(test)]
mod tests;
mod values;
mod write;

pub(crate) use directory::looks_like;
pub(crate) use read::read;
pub use write::Writer;

/// Where metadata lie: in the dict, programs that take every entry for a tensor would stumble over them. torch has a
/// folder of this name for what it does not know.
const METADATA_ENTRY: &str = "extra/wingbeat.json";
