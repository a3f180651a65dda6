//! The inputs of the fuzzer that are worth keeping, as a test.

#![allow(missing_docs, reason = "test names are sentences")]

#[path = "../../../crates/protocol/tests/it/hostile/mod.rs"]
mod hostile;

use hostile::{attack, names};

#[test]
fn the_fuzzers_seeds_break_no_promise() {
    let seeds = |target: &str| {
        let folder = format!("{}/../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let found: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|seed| std::fs::read(seed.unwrap().path()).unwrap())
            .collect();
        assert!(!found.is_empty(), "{folder} is empty");
        found
    };

    seeds("entry").iter().for_each(|bytes| names::entry(bytes));
    seeds("ticket").iter().for_each(|bytes| names::ticket(bytes));
    seeds("listing").iter().for_each(|bytes| attack(bytes));
}
