//! A ticket on Unix: a named pipe that its waiter keeps open. And the bell, another pipe.

use lockbydir_protocol::Ticket;

use crate::os::syscalls::{about, open_pipe_at, read};
use crate::os::{Errno, FileKind, Found, Handle, PipeEnd};

pub(super) const BELL: &str = "bell";

/// The handles that a waiter keeps open.
#[derive(Default)]
pub(super) struct Open {
    pub(super) own: Option<Handle>,
    pub(super) ahead: Option<(Ticket, Handle)>,
    pub(super) bell: Option<Handle>,
}

/// Returns true if this is a name that the queue uses.
pub(super) fn is_ours(found: &Found) -> bool {
    found.text().is_some_and(|name| name == BELL || Ticket::parse(name).is_some())
}

/// Returns true if this can be a ticket.
pub(super) fn is_ticket(kind: FileKind) -> bool {
    matches!(kind, FileKind::Pipe | FileKind::Unknown)
}

/// Opens a named pipe; refuses anything else in its place.
pub(super) fn open_pipe(queue: &Handle, name: &str, end: PipeEnd) -> Result<Handle, Errno> {
    let pipe = open_pipe_at(queue, name.as_ref(), end)?;
    match about(&pipe)?.kind {
        FileKind::Pipe => Ok(pipe),
        _ => Err(Errno::INVAL),
    }
}

/// Returns true if a process has the ticket's pipe open.
pub(super) fn is_alive(queue: &Handle, ticket: &Ticket) -> bool {
    match open_pipe(queue, &ticket.to_string(), PipeEnd::Read) {
        Ok(pipe) => !matches!(read(&pipe, &mut [0; 1]), Ok(0)),
        Err(_) => false,
    }
}
