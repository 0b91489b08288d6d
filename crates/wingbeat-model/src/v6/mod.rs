//! RWKV-6 "Finch": config, weight table, forward pass; the state is RWKV-5's. Source: the Eagle and Finch paper (arXiv
//! 2404.05892) and RWKV-LM's rwkv_v6_demo.py; GGUF names and layout as llama.cpp writes them.

mod config;
mod forward;
mod table;

pub use crate::v5::{ATT_SHIFT, FFN_SHIFT, WKV, state_layout};
pub(crate) use config::config;
pub use forward::Rwkv6;
pub use table::TABLE;
