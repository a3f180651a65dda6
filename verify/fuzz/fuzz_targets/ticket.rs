//! Fuzzes tickets: parses any bytes, and prints and parses any ticket.
#![no_main]

#[path = "../../../crates/protocol/tests/it/hostile/mod.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hostile::names::ticket(bytes);
});
