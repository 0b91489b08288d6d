//! The fuzzer around [`wingbeat_fuzz::gguf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::gguf(data));
