//! The queue on Windows: a ticket is a file that its waiter keeps open, so that nobody else can open it
//! to write, and there are two events of the kernel for it, by the ticket's nonce: the bell, which
//! wakes its waiter, and the farewell, which wakes the one behind. Words are not passed on: who wakes
//! lists the queue and sees where it stands. Where an event is not to be had (another user's, a
//! sandbox), only looks tell.

use std::os::windows::io::AsHandle;
use std::time::Duration;

use lockbydir_protocol::{Handoff, Liveness, Ticket, Wake, WakeSource};
use lockbydir_windows::Event;

use super::{Place, is_alive as waits, tickets};
use crate::directory::executor::{Directory, OpenHandles};
use crate::os::process;
use crate::os::syscalls::{create_and_keep_at, open_to_write_at, rmdir, unlinkat};
use crate::os::{Errno, FileKind, Found, Handle};

/// What a waiter keeps open.
#[derive(Default)]
pub(super) struct Open {
    own: Option<OwnEvents>,
    ahead: Option<(Ticket, Event)>,
}

struct OwnEvents {
    name: String,
    #[expect(dead_code, reason = "open as long as the waiter is in the queue")]
    file: Handle,
    bell: Option<Event>,
    farewell: Option<Event>,
}

/// The name of the event that wakes the waiter of this ticket.
fn bell(ticket: &Ticket) -> String {
    format!(r"Global\lockbydir-{}-{}-bell", ticket.nonce, ticket.order)
}

/// The name of the event that is set when this ticket leaves the queue.
fn farewell(ticket: &Ticket) -> String {
    format!(r"Global\lockbydir-{}-{}-farewell", ticket.nonce, ticket.order)
}

impl Directory {
    pub(super) fn knock(&self, _kept: &mut OpenHandles) -> bool {
        // Of another kernel's waiters nobody can tell whether they live, and none of them hears.
        let here = self.here();
        self.queue().is_ok_and(|queue| {
            tickets(&queue).is_ok_and(|found| {
                found.iter().any(|ticket| {
                    ticket.origin.is_same_boot(&here.origin) && waits(&queue, ticket, &here)
                })
            })
        })
    }

    /// Rings the bell of the first in the queue who has one.
    pub(super) fn ring(&self, _kept: &mut OpenHandles) -> Result<(), Errno> {
        let here = self.here();
        let mut found = self.queue().and_then(|queue| tickets(&queue))?;
        found.sort();
        found
            .iter()
            .filter(|ticket| ticket.origin.is_same_boot(&here.origin))
            .find_map(|ticket| Event::open(&bell(ticket)).ok())
            .map(|bell| bell.set())
            .ok_or(Errno::BUSY)
    }

    /// Its waiter and the one behind it wake and see that it is gone.
    pub(super) fn expel(&self, ticket: &Ticket, _word: &Handoff) -> Result<(), Errno> {
        let done = unlinkat(&self.queue()?, ticket.to_string().as_ref());
        for name in [bell(ticket), farewell(ticket)] {
            if let Ok(event) = Event::open(&name) {
                event.set();
            }
        }
        done
    }

    pub(crate) fn close_queue(&self) -> Result<(), Errno> {
        let queue = self.queue()?;
        self.clear(&queue)?;
        drop(queue);
        rmdir(&self.queue_path())
    }
}

/// Is this a name that a queue gives?
pub(super) fn is_ours(found: &Found) -> bool {
    found.text().is_some_and(|name| Ticket::parse(name).is_some())
}

/// Can it be a ticket?
pub(super) fn is_ticket(kind: FileKind) -> bool {
    kind == FileKind::File
}

/// Does somebody keep the ticket open? Whatever else keeps us from opening it is no proof that
/// nobody does.
pub(super) fn is_alive(queue: &Handle, ticket: &Ticket) -> bool {
    match open_to_write_at(queue, ticket.to_string().as_ref()) {
        Ok(_) | Err(Errno::NOENT | Errno::GOING) => false,
        Err(_) => true,
    }
}

impl Place<'_> {
    pub(super) fn make_ticket(&mut self, queue: &Handle, ticket: &Ticket) -> Result<(), Errno> {
        // Before the ticket can be seen: whoever sees it finds them.
        let event = |name: String| Event::named(&name).ok();
        let (bell, farewell) = (event(bell(ticket)), event(farewell(ticket)));
        let name = ticket.to_string();
        let file = create_and_keep_at(queue, name.as_ref())?;
        self.open.own = Some(OwnEvents { name, file, bell, farewell });
        Ok(())
    }

    /// First the ticket is closed and removed, then the one behind is woken: it finds no ticket.
    pub(super) fn leave(&mut self, ticket: &Ticket, _word: &Handoff) -> Result<(), Errno> {
        self.open.ahead = None;
        let farewell = self.open.own.take().and_then(|own| own.farewell);
        let queue = self.queue.take().map_or_else(|| self.directory.queue(), Ok);
        let done = queue.and_then(|queue| unlinkat(&queue, ticket.to_string().as_ref()));
        if let Some(farewell) = farewell {
            farewell.set();
        }
        done
    }

    /// The bell hears from the beginning.
    pub(super) fn listen(&mut self) -> Result<(), Errno> {
        self.open.ahead = None;
        Ok(())
    }

    /// Is our ticket gone? That is told once.
    pub(super) fn is_expelled(&mut self) -> bool {
        let queue = &self.queue;
        let is_gone = |own: &mut OwnEvents| {
            let Some(queue) = queue else { return true };
            let found = open_to_write_at(queue, own.name.as_ref());
            matches!(found, Ok(_) | Err(Errno::NOENT | Errno::GOING))
        };
        self.open.own.take_if(is_gone).is_some()
    }

    /// Sleeps until something is heard, or `until`.
    pub(super) fn hear(&mut self, ear: &WakeSource, until: Duration) -> Wake {
        let mut life = None;
        match ear {
            WakeSource::Ticket(ticket) => {
                if self.open.ahead.as_ref().is_none_or(|(open, _)| open != ticket) {
                    let opened = Event::open(&farewell(ticket));
                    self.open.ahead = opened.ok().map(|event| (ticket.clone(), event));
                }
                // After the event was opened: who left before has left no ticket.
                if !self.directory.queue().is_ok_and(|queue| is_alive(&queue, ticket)) {
                    self.open.ahead = None;
                    return Wake::PeerGone;
                }
                life = process::first_living(lockbydir_protocol::Owner::One(ticket.process));
            }
            WakeSource::Bell(owner) => {
                life = process::first_living(*owner);
                // Where no handle can be had of one who lives, only looks tell of its end.
                if life.is_none() && process::life(*owner) == Liveness::Gone {
                    return Wake::Ended;
                }
            }
            WakeSource::Nothing => {}
        }

        // An own bell is rung by whoever releases, and by whoever puts us out of the queue.
        let bell = self.open.own.as_ref().and_then(|own| own.bell.as_ref());
        let heard = match ear {
            WakeSource::Ticket(_) => self.open.ahead.as_ref().map(|(_, event)| event),
            WakeSource::Bell(_) => bell,
            WakeSource::Nothing => None,
        };
        let sources = [heard.map(AsHandle::as_handle), life.as_ref().map(|life| life.source())];
        let all: Vec<_> = sources.into_iter().flatten().collect();
        let Some(first_is_heard) = self.poll(&all, until) else {
            return Wake::Interrupted;
        };
        let is_heard = heard.is_some() && first_is_heard;
        match ear {
            WakeSource::Bell(_) if is_heard => {
                if let Some(bell) = bell {
                    bell.reset();
                }
                if self.is_expelled() { Wake::Expelled } else { Wake::Notified }
            }
            WakeSource::Ticket(_)
                if is_heard || life.as_ref().is_some_and(|life| life.has_ended()) =>
            {
                self.open.ahead = None;
                Wake::PeerGone
            }
            _ if life.as_ref().is_some_and(|life| life.has_ended()) => Wake::Ended,
            _ if self.is_expelled() => Wake::Expelled,
            _ => Wake::Time,
        }
    }
}
