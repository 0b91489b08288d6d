//! The fuzzer around [`wingbeat_fuzz::rwkv_cpp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wingbeat_fuzz::rwkv_cpp(data));
