//! The fuzzer around [`wingbeat_fuzz::folder`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::folder(data));
