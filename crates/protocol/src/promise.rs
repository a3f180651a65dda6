//! The names of the promises. The same name is the heading in docs/protocol.md and the property in the
//! model, and other proofs report with it what they have checked.

/// A holder is valid while its boot clock is before its deadline and no loss was reported to it.
pub const AT_MOST_ONE_VALID_HOLDER: &str = "At most one valid holder";
/// The exception is a break by force.
pub const ONLY_THE_HOLDER_ENDS_A_HOLD: &str =
    "Only the holder ends a hold, or a judge of an expired or dead one";
/// Each holding has a larger token than all holdings before it.
pub const NUMBERS_GROW: &str = "Numbers grow";
/// The entry alone determines how long a lock lasts.
pub const A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS: &str =
    "A waiter's timeout never shortens a holder's";
/// A waiter that gives up leaves no request behind that could be granted later.
pub const WHO_GIVES_UP_NEVER_GETS_IT_LATER: &str = "Who gives up never gets it later";
/// A lock that is free while somebody waits is taken; no wake-up is lost for good, and nobody
/// overtakes a queued waiter that is able to take the lock.
pub const THE_QUEUE_MOVES: &str = "The queue moves";
/// Whatever step a crash interrupts, the next waiter gets the lock.
pub const A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN: &str =
    "A crash anywhere leaves a lock that is free again within its timeout";
/// When all who used a lock have released it or given up, its directory is gone.
pub const A_LOCK_THAT_NOBODY_WANTS_LEAVES_NOTHING_BEHIND: &str =
    "A lock that nobody wants leaves nothing behind";
/// Only names of this protocol's grammar are renamed or removed.
pub const NAMES_OF_OTHERS_ARE_NEVER_TOUCHED: &str = "Names of others are never touched";

/// All promises, in the order of docs/protocol.md.
pub const ALL: [&str; 9] = [
    AT_MOST_ONE_VALID_HOLDER,
    ONLY_THE_HOLDER_ENDS_A_HOLD,
    NUMBERS_GROW,
    A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS,
    WHO_GIVES_UP_NEVER_GETS_IT_LATER,
    THE_QUEUE_MOVES,
    A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
    A_LOCK_THAT_NOBODY_WANTS_LEAVES_NOTHING_BEHIND,
    NAMES_OF_OTHERS_ARE_NEVER_TOUCHED,
];

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    #[test]
    fn every_promise_is_a_heading_of_the_protocol_and_every_such_heading_a_promise() {
        let text = include_str!("../tests/protocol.md");
        let (_, promises) = text.split_once("\n## Promises\n").expect("the chapter");
        let (promises, _) = promises.split_once("\n## ").expect("the next chapter");

        let headings: Vec<_> =
            promises.lines().filter_map(|line| line.strip_prefix("### ")).collect();

        assert_eq!(headings, super::ALL);
    }
}
