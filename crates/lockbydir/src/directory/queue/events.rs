//! The queue on Windows. A ticket is a file that its waiter keeps open, so that nobody else can
//! open it for writing. For each ticket there are two kernel events, named by its nonce: the bell,
//! which wakes its waiter, and the farewell, which wakes the waiter behind. Handoff messages are
//! not sent: a waiter that wakes up lists the queue and sees its position. If an event is not
//! available (another user's, a sandbox), waiters notice changes only by looking.

use std::os::windows::io::AsHandle;
use std::time::Duration;

use lockbydir_protocol::{Handoff, Owner, Ticket, Wake, WakeSource};
use lockbydir_windows::Event;

use super::event::{OwnEvents, bell, farewell, is_alive};
use super::place::Place;
use super::tickets::{is_waiting, tickets};
use crate::directory::executor::{Directory, OpenHandles};
use crate::os::process::Watch;
use crate::os::syscalls::{create_and_keep_at, open_to_write_at, rmdir, unlinkat};
use crate::os::{Errno, Handle};

impl Directory {
    pub(super) fn has_waiters(&self, _kept: &mut OpenHandles) -> bool {
        // It is unknown whether waiters of another kernel are alive, and they cannot be woken.
        let here = self.here();
        self.queue().is_ok_and(|queue| {
            tickets(&queue).is_ok_and(|found| {
                found.iter().any(|ticket| {
                    ticket.origin.is_same_boot(&here.origin) && is_waiting(&queue, ticket, &here)
                })
            })
        })
    }

    /// Rings the bell of the first waiter in the queue that has one.
    pub(super) fn wake_first(&self, _kept: &mut OpenHandles) -> Result<(), Errno> {
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

    /// Removes a ticket. Its waiter and the waiter behind it wake up and see that it is gone.
    pub(super) fn expel(&self, ticket: &Ticket, _handoff: &Handoff) -> Result<(), Errno> {
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

impl Place<'_> {
    pub(super) fn make_ticket(&mut self, queue: &Handle, ticket: &Ticket) -> Result<(), Errno> {
        // The events are created before the ticket, so that whoever sees the ticket finds them.
        let event = |name: String| Event::named(&name).ok();
        let (bell, farewell) = (event(bell(ticket)), event(farewell(ticket)));
        let name = ticket.to_string();
        let file = create_and_keep_at(queue, name.as_ref())?;
        self.open.own = Some(OwnEvents { name, file, bell, farewell });
        Ok(())
    }

    /// Closes and removes the ticket, then wakes the waiter behind: in this order that waiter finds
    /// no ticket.
    pub(super) fn leave(&mut self, ticket: &Ticket, _handoff: &Handoff) -> Result<(), Errno> {
        self.open.ahead = None;
        let farewell = self.open.own.take().and_then(|own| own.farewell);
        let queue = self.queue.take().map_or_else(|| self.directory.queue(), Ok);
        let done = queue.and_then(|queue| unlinkat(&queue, ticket.to_string().as_ref()));
        if let Some(farewell) = farewell {
            farewell.set();
        }
        done
    }

    /// Does nothing for the bell, which can be rung from the beginning.
    pub(super) fn listen(&mut self) -> Result<(), Errno> {
        self.open.ahead = None;
        Ok(())
    }

    /// Returns true if our ticket was removed; this is reported once.
    pub(super) fn is_expelled(&mut self) -> bool {
        let queue = &self.queue;
        let is_gone = |own: &mut OwnEvents| {
            let Some(queue) = queue else { return true };
            let found = open_to_write_at(queue, own.name.as_ref());
            matches!(found, Ok(_) | Err(Errno::NOENT | Errno::GOING))
        };
        let is_expelled = self.open.own.take_if(is_gone).is_some();
        if is_expelled {
            self.queue = None;
        }
        is_expelled
    }

    /// Sleeps until an event occurs, or until `until`.
    pub(super) fn wait_for_event(&mut self, wake_source: &WakeSource, until: Duration) -> Wake {
        let mut watch = Watch::Unwatched;
        match wake_source {
            WakeSource::Ticket(ticket) => {
                if self.open.ahead.as_ref().is_none_or(|(open, _)| open != ticket) {
                    let opened = Event::open(&farewell(ticket));
                    self.open.ahead = opened.ok().map(|event| (ticket.clone(), event));
                }
                // This is checked after the event was opened: a waiter that left before has left no
                // ticket.
                if !self.directory.queue().is_ok_and(|queue| is_alive(&queue, ticket)) {
                    self.open.ahead = None;
                    return Wake::PeerGone;
                }
                watch = self.watch(Owner::One(ticket.process));
            }
            WakeSource::Bell(owner) => {
                watch = self.watch(*owner);
                if let Watch::Gone = watch {
                    return Wake::Ended;
                }
            }
            WakeSource::Nothing => {}
        }

        // Our own bell is rung by a process that releases the lock, and by one that expels us from
        // the queue.
        let bell = self.open.own.as_ref().and_then(|own| own.bell.as_ref());
        let waited_event = match wake_source {
            WakeSource::Ticket(_) => self.open.ahead.as_ref().map(|(_, event)| event),
            WakeSource::Bell(_) => bell,
            WakeSource::Nothing => None,
        };
        let sources =
            [waited_event.map(AsHandle::as_handle), watch.handle().map(|life| life.source())];
        let all: Vec<_> = sources.into_iter().flatten().collect();
        let Some(first_is_ready) = self.poll(&all, until) else {
            return Wake::Interrupted;
        };
        let is_ready = waited_event.is_some() && first_is_ready;
        match wake_source {
            WakeSource::Bell(_) if is_ready => {
                if let Some(bell) = bell {
                    bell.reset();
                }
                if self.is_expelled() { Wake::Expelled } else { Wake::Notified }
            }
            WakeSource::Ticket(_) if is_ready || watch.has_ended() => {
                self.open.ahead = None;
                Wake::PeerGone
            }
            _ if watch.has_ended() => Wake::Ended,
            _ if self.is_expelled() => Wake::Expelled,
            _ => Wake::Time,
        }
    }
}
