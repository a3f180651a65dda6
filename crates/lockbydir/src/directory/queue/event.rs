//! A ticket on Windows: a file that its waiter keeps open. And its two kernel events.

use lockbydir_protocol::Ticket;
use lockbydir_windows::Event;

use crate::os::syscalls::open_to_write_at;
use crate::os::{Errno, FileKind, Found, Handle};

/// The handles that a waiter keeps open.
#[derive(Default)]
pub(super) struct Open {
    pub(super) own: Option<OwnEvents>,
    pub(super) ahead: Option<(Ticket, Event)>,
}

/// The ticket of a waiter, and its events.
pub(super) struct OwnEvents {
    pub(super) name: String,
    #[expect(dead_code, reason = "open as long as the waiter is in the queue")]
    pub(super) file: Handle,
    pub(super) bell: Option<Event>,
    pub(super) farewell: Option<Event>,
}

/// Returns the name of the event that wakes the waiter of this ticket.
pub(super) fn bell(ticket: &Ticket) -> String {
    format!(r"Global\lockbydir-{}-{}-bell", ticket.nonce, ticket.order)
}

/// Returns the name of the event that is set when this ticket leaves the queue.
pub(super) fn farewell(ticket: &Ticket) -> String {
    format!(r"Global\lockbydir-{}-{}-farewell", ticket.nonce, ticket.order)
}

/// Returns true if this is a name that the queue uses.
pub(super) fn is_ours(found: &Found) -> bool {
    found.text().is_some_and(|name| Ticket::parse(name).is_some())
}

/// Returns true if this can be a ticket.
pub(super) fn is_ticket(kind: FileKind) -> bool {
    kind == FileKind::File
}

/// Returns true if a process keeps the ticket open. Any other failure to open it does not prove
/// that no process does.
pub(super) fn is_alive(queue: &Handle, ticket: &Ticket) -> bool {
    match open_to_write_at(queue, ticket.to_string().as_ref()) {
        Ok(_) | Err(Errno::NOENT | Errno::GOING) => false,
        Err(_) => true,
    }
}
