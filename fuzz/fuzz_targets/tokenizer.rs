//! The fuzzer around [`wingbeat_fuzz::tokenizer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::tokenizer(data));
