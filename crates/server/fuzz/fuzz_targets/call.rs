#![no_main]

#[path = "../../tests/property/call.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::check(input));
