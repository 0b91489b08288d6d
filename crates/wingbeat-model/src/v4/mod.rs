//! RWKV-4 "Dove": config, weight table, state table, forward pass. Source: the RWKV paper (arXiv 2305.13048) and RWKV-LM's
//! RWKV_in_150_lines.py. GGUF names follow llama.cpp's for later versions; llama.cpp itself has no RWKV-4.

mod config;
mod forward;
mod state;
mod table;

pub(crate) use config::config;
pub use forward::Rwkv4;
pub(crate) use forward::moved;
pub use state::{AA, ATT_SHIFT, BB, FFN_SHIFT, PP, state_layout};
pub use table::TABLE;
