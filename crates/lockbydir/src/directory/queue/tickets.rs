//! The tickets in a queue, and whether their waiters still wait.

use std::time::Duration;

use lockbydir_protocol::{LocalContext, Ticket};

#[cfg(windows)]
use super::event as ticket_file;
#[cfg(unix)]
use super::pipe as ticket_file;
use crate::os::syscalls::list_of;
use crate::os::{Errno, Found, Handle, clock};

/// The most tickets that are read from a queue.
const MAX_TICKETS: usize = 10_000;
/// The age from which a ticket of another kernel is removed together with the queue, if nobody else
/// is in it. A waiter that is still alive there takes a new ticket.
const STALE_TICKET: Duration = Duration::from_secs(3600);

/// Returns the tickets in a queue, in no particular order.
pub(super) fn tickets(queue: &Handle) -> Result<Vec<Ticket>, Errno> {
    let mut found = Vec::new();
    for entry in list_of(queue)?.take(MAX_TICKETS) {
        found.extend(as_ticket(&entry?));
    }
    Ok(found)
}

/// Returns true if there may be a ticket in a queue. Reads no more names than that needs.
#[cfg(unix)]
pub(super) fn has_ticket(queue: &Handle) -> bool {
    let is_ticket = |entry: Result<Found, _>| entry.is_ok_and(|entry| as_ticket(&entry).is_some());
    list_of(queue).map_or(true, |found| found.take(MAX_TICKETS).any(is_ticket))
}

fn as_ticket(entry: &Found) -> Option<Ticket> {
    let text = entry.text().filter(|_| ticket_file::is_ticket(entry.kind()));
    text.and_then(Ticket::parse)
}

/// Returns true if the waiter of this ticket still waits. For a ticket of another kernel, only its
/// age decides.
pub(super) fn is_waiting(queue: &Handle, ticket: &Ticket, here: &LocalContext) -> bool {
    if ticket.origin.is_same_boot(&here.origin) {
        return ticket_file::is_alive(queue, ticket);
    }
    let age = clock::now().wall.saturating_sub(Duration::from_micros(ticket.order));
    age < STALE_TICKET && !(here.is_local && here.is_before_boot(ticket))
}
