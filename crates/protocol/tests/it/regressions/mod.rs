//! Faults that were found and fixed: the machines get the answers that once misled them.

mod holding;
mod waiting;

use std::time::Duration;

use lockbydir_protocol::*;

pub(super) fn at(second: u64) -> Now {
    Now { boot: Duration::from_secs(second), wall: Duration::from_secs(1_000_000 + second) }
}

pub(super) fn here(origin: Origin) -> LocalContext {
    let booted = Some(Stamp(1_000_000_000_000_000));
    LocalContext { origin, is_local: true, booted, host: Host::new("h"), longest_name: 255 }
}

/// Returns an entry as the machine itself makes it.
pub(super) fn published(here: LocalContext, nonce: u128, now: Now) -> Entry {
    let request = AcquireRequest {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(10),
        fenced: true,
        shared: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
        names_child: false,
    };
    let mut acquire = Acquire::new(request, here, None);
    acquire.start(now);
    match acquire.resume(now, Answer::Seen(Observation::Absent)) {
        Step::Perform(Operation::Stage(entry)) => entry,
        step => panic!("{step:?}"),
    }
}

pub(super) fn holding(entries: Vec<Entry>) -> Answer {
    let listing =
        Listing { entries, litter: None, modified: Stamp(1), stranger: None, foreign: None };
    Answer::Seen(Observation::Directory(listing))
}

/// Runs a machine to its end; each operation always gets the same answer.
pub(super) fn ends<M: Machine>(
    machine: &mut M,
    answer: impl Fn(&Operation) -> Answer,
) -> M::Outcome {
    let mut step = machine.start(at(2));
    for _ in 0..200 {
        match step {
            Step::Finished(outcome) => return outcome,
            Step::Perform(operation) => step = machine.resume(at(2), answer(&operation)),
        }
    }
    panic!("it does not end");
}

pub(super) fn request_of(nonce: u128) -> AcquireRequest {
    AcquireRequest {
        nonce: Nonce(nonce),
        timeout: Duration::from_secs(10),
        fenced: false,
        shared: false,
        owner: Owner::Nobody,
        host: Host::new("h"),
        label: Label::new("").unwrap(),
        names_child: false,
    }
}

/// Returns the ticket of process 1 with this nonce, before it has an order.
pub(super) fn ticket_of(nonce: u128, here: LocalContext) -> Ticket {
    Ticket {
        order: 0,
        nonce: Nonce(nonce),
        stamp: Duration::ZERO,
        origin: here.origin,
        process: Process { pid: 1, start: 1 },
        host: Host::new("h"),
        label: Label::new("").unwrap(),
    }
}
