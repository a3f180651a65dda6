//! What is known of a holder by its entry, and of a waiter by its ticket.

use std::time::Duration;

use lockbydir_protocol::{Entry, Liveness, LocalContext, Owner, Stamp, State, Ticket};

use super::event::Contender;
use super::history::Hold;
use super::waiting::Waiter;
use crate::os::{clock, process};

/// Returns what is known of a holding by its entry. `seen_age` is its age if its stamp is of another clock.
pub(super) fn hold(entry: &Entry, here: LocalContext, seen_age: Duration) -> Hold {
    let age = match entry.origin.is_same_clock(&here.origin) {
        true => clock::boot().saturating_sub(entry.stamp),
        false => seen_age,
    };
    Hold {
        by: Contender::holding(entry),
        token: entry.token,
        nonce: entry.nonce.0,
        changes: Some(entry.renewals),
        timeout: entry.timeout,
        remaining: entry.timeout.saturating_sub(age),
        age,
        is_open: entry.state == State::Open,
    }
}

/// Returns the age of a change by the wall clock, which stamps files here; for files on a server it
/// is an approximation.
pub(super) fn age(modified: Stamp) -> Duration {
    let wall = i128::try_from(clock::now().wall.as_nanos()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(wall - modified.0).unwrap_or(0))
}

/// Returns the waiter of a ticket.
pub(super) fn waiter(ticket: &Ticket) -> Waiter {
    Waiter { who: Contender::waiting(ticket), nonce: ticket.nonce.0 }
}

/// Returns whether the waiter of this ticket is alive; `None` if we cannot know.
pub(super) fn is_alive(ticket: &Ticket) -> Option<bool> {
    ticket
        .origin
        .is_same_pids(&process::here().0)
        .then(|| process::life(Owner::One(ticket.process)) == Liveness::Alive)
}
