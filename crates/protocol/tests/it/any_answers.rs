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
