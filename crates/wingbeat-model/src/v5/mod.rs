//! RWKV-5 "Eagle", 5.1 and 5.2: config, weight table, state table, forward pass. Source: the Eagle and Finch paper (arXiv
//! 2404.05892) and the PyPI package `rwkv`. What differs between the two is in the tensors: a decay a head or a channel,
//! with a gate or without. GGUF names follow llama.cpp's for later versions; llama.cpp itself has no RWKV-5.

mod config;
mod forward;
mod state;
mod table;

pub(crate) use config::config;
pub use forward::Rwkv5;
pub use state::{ATT_SHIFT, FFN_SHIFT, WKV, state_layout};
pub use table::TABLE;
