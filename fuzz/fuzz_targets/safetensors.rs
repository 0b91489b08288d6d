//! The fuzzer around [`wingbeat_fuzz::safetensors`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::safetensors(data));
