//! Model files as named tensors.
//!
//! This crate stands at the head of the data path: it maps a GGUF, safetensors, `.pth` or rwkv.cpp file, or the
//! files of a folder, checks everything
//! the file says about itself against the bytes that are really there, and hands out [`Tensor`]s whose data lie
//! where they lay in the file ([`Bytes`]). It also knows the storage types ([`DType`]: how a row of each is
//! laid out, decoded to f32 and encoded), and writes all four formats.
//!
//! It does not know what a tensor means: names, versions and shapes of RWKV are the model crate's business,
//! fast arithmetic on stored blocks the backends'. A mapped file is not read at open beyond its header;
//! tensor data are paged in by whoever uses them first.
//!
//! ```
//! use wingbeat_format::{DType, Metadata, ModelFile, TensorSpec, Value, gguf};
//!
//! let path = std::env::temp_dir().join(format!("wingbeat-format-doc-{}.gguf", std::process::id()));
//! let mut metadata = Metadata::new();
//! metadata.insert("general.architecture", Value::from("rwkv7"));
//! let specs = [TensorSpec { name: "ln.weight".to_owned(), dtype: DType::F32, shape: vec![2] }];
//! let mut writer = gguf::Writer::create(&path, &metadata, &specs)?;
//! let mut row = Vec::new();
//! DType::F32.encode_row(&[1.0, -2.5], &mut row)?;
//! writer.write(&row)?;
//! writer.finish()?;
//!
//! let file = ModelFile::open(&path)?;
//! assert_eq!(file.metadata().str("general.architecture"), Some("rwkv7"));
//! assert_eq!(file.tensor("ln.weight").map(|t| t.to_f32()), Some(vec![1.0, -2.5]));
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), wingbeat_format::FormatError>(())
//! ```
#![deny(unsafe_code)]

mod bytes;
mod error;
mod file;
pub mod folder;
pub mod gguf;
mod guard;
mod map;
mod metadata;
pub mod pth;
pub mod quant;
pub mod rwkv_cpp;
pub mod safetensors;
mod stream;
mod tensor;

pub use bytes::Bytes;
pub use error::FormatError;
pub use file::{FileFormat, ModelFile, Part};
pub use folder::{CONFIG_PREFIX, VOCABULARY_KEY};
pub use metadata::{Array, Metadata, StringArray, Strings, Value};
pub use quant::DType;
pub use tensor::{Tensor, TensorSpec};
