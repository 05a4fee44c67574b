#![no_main]

#[path = "../../tests/property/single_header.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::check(input));
