//! Whatever answers a machine gets, it keeps the rules and ends.

use proptest::prelude::*;

use crate::hostile::{attack, names};

proptest! {
    // Enough to make a failing input readable: with LOCKBYDIR_FUZZ_STORY its operations and answers are
    // printed.
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_answers_make_a_machine_break_a_promise_or_run_for_ever(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        attack(&bytes);
    }

    #[test]
    fn any_entry_and_ticket_prints_portably_and_parses_back(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        names::entry(&bytes);
        names::ticket(&bytes);
    }
}

/// The seeds are inputs of the fuzzer that are worth keeping.
#[test]
fn the_fuzzers_seeds_break_no_promise() {
    let seeds = |target: &str| {
        let folder = format!("{}/../../verify/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
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
