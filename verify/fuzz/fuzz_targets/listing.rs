//! Fuzzes the machines with whole hostile directories and queues, and with any answers at all.
#![no_main]

#[path = "../../../crates/protocol/tests/it/hostile/mod.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hostile::attack(bytes);
});
