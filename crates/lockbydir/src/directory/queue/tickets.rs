//! The tickets in a queue, and whether their waiters still wait.

use std::time::Duration;

use lockbydir_protocol::{LocalContext, Ticket};

#[cfg(windows)]
use super::event as ticket_file;
#[cfg(unix)]
use super::pipe as ticket_file;
use crate::os::syscalls::list_of;
use crate::os::{Errno, Handle, clock};

/// The most tickets that are read from a queue.
const MAX_TICKETS: usize = 10_000;
/// The age from which a ticket of another kernel is removed together with the queue, if nobody else
/// is in it. A waiter that is still alive there takes a new ticket.
const STALE_TICKET: Duration = Duration::from_secs(3600);
/// Returns the tickets in a queue, in no particular order.
pub(super) fn tickets(queue: &Handle) -> Result<Vec<Ticket>, Errno> {
    let mut found = Vec::new();
    for entry in list_of(queue)?.take(MAX_TICKETS) {
        let entry = entry?;
        if ticket_file::is_ticket(entry.kind()) {
            found.extend(entry.text().and_then(Ticket::parse));
        }
    }
    Ok(found)
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
