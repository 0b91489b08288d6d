//! The fuzzer around [`wingbeat_fuzz::vocabulary`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::vocabulary(data));
