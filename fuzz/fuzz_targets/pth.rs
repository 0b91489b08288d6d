//! The fuzzer around [`wingbeat_fuzz::pth`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::pth(data));
