#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| elman_fuzz::run("checkpoint", data));
