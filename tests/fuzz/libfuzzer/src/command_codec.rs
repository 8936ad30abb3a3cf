#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::command_codec(data, &mut keel_fuzz::Reached::unnoted()));
