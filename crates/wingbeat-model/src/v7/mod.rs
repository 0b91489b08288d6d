//! RWKV-7 "Goose": config, weight table, state table, forward pass. Source: the RWKV-7 paper (arXiv 2503.14456) and
//! RWKV-LM's rwkv_v7_numpy.py; GGUF names and layout as llama.cpp writes them.

mod config;
mod forward;
mod state;
mod table;

pub(crate) use config::config;
pub use forward::Rwkv7;
pub use state::{ATT_SHIFT, FFN_SHIFT, WKV, state_layout};
pub use table::TABLE;
