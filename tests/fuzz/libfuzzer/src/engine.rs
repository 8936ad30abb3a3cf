#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::engine(data, &mut keel_fuzz::Reached::unnoted()));
