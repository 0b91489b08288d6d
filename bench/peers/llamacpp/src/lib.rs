//! llama.cpp for the programs that measure it: its C API, called through types that keep its rules.
//!
//! Nothing is timed here: `main.rs` and what it names does that, `bin/quantize-llamacpp.rs` makes models.

pub mod llama;
