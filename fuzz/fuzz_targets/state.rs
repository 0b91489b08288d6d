//! The fuzzer around [`wingbeat_fuzz::state`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::state(data));
