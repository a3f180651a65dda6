//! The queue: the directory `NAME.lockdir.queue` beside the lock directory, with one file per
//! ticket. This file has the parts that are the same on all systems: its path, its tickets,
//! entering it, and a limit on wake-ups. How a waiter notices the others differs: `pipes.rs` for
//! Unix, `events.rs` for Windows. Both have the same functions: `has_waiters`, `wake_first`,
//! `expel`, `close_queue`, and for a [`Place`] `make_ticket`, `leave`, `listen`,
//! `is_expelled`, `wait_for_event`. Decides nothing.

#[cfg(windows)]
mod event;
#[cfg(windows)]
mod events;
#[cfg(unix)]
mod pipe;
#[cfg(unix)]
mod pipes;
mod place;
mod tickets;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Answer, Operation, Ticket, Wake, WakeSource};

#[cfg(windows)]
use self::event::{Open, is_ours};
#[cfg(unix)]
use self::pipe::{Open, is_ours};
pub(crate) use self::place::Place;
use self::tickets::{is_waiting, tickets};
use crate::directory::executor::{Directory, OpenHandles};
use crate::os::clock;
use crate::os::syscalls::{about, mkdir, open_to_list, rmdir, sleep_on, unlinkat};
use crate::os::{Errno, Handle, Source, fault};

/// The ending of the queue's name, after the name of the lock directory.
pub(crate) const SUFFIX: &str = ".queue";
/// The limit on wake-ups: in each interval of this length, a waiter wakes up at most this often;
/// then it ignores wake-ups for the rest of the interval.
const WAKE_LIMIT: (Duration, u32) = (Duration::from_millis(100), 32);
/// How often a waiter tries again when others remove the queue while it enters.
const MAX_ROUNDS: u8 = 8;

impl Directory {
    pub(crate) fn queue_path(&self) -> PathBuf {
        let mut path = OsString::from(self.path());
        path.push(SUFFIX);
        PathBuf::from(path)
    }

    /// Opens the queue, if it is one that we may trust.
    fn queue(&self) -> Result<Handle, Errno> {
        let queue = open_to_list(&self.queue_path())?;
        match self.other_user(&about(&queue)?) {
            Some(_) => Err(Errno::PERM),
            None => Ok(queue),
        }
    }

    /// Removes the tickets of waiters that are gone.
    ///
    /// # Errors
    /// [`Errno::NOTEMPTY`] while a waiter is alive.
    fn clear(&self, queue: &Handle) -> Result<(), Errno> {
        let here = self.here();
        let (living, gone): (Vec<_>, Vec<_>) =
            tickets(queue)?.into_iter().partition(|ticket| is_waiting(queue, ticket, &here));
        for ticket in gone {
            let _ = unlinkat(queue, ticket.to_string().as_ref());
        }
        if living.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// Returns the tickets in the queue now, in arrival order.
    pub(crate) fn queue_now(&self) -> Vec<Ticket> {
        let mut queue = self.queue().and_then(|queue| tickets(&queue)).unwrap_or_default();
        queue.sort();
        queue
    }

    /// Performs the operations that need no place in the queue.
    pub(crate) fn perform_on_queue(&self, operation: &Operation, kept: &mut OpenHandles) -> Answer {
        let done = match operation {
            Operation::HasWaiters => return Answer::Somebody(self.has_waiters(kept)),
            Operation::WakeFirst => self.wake_first(kept),
            Operation::Expel(ticket, handoff) => self.expel(ticket, handoff),
            Operation::CloseQueue => self.close_queue(),
            _ => Err(Errno::INVAL),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }
}

impl Place<'_> {
    pub(crate) fn perform(&mut self, operation: &Operation) -> Answer {
        let done = match operation {
            Operation::Enter(ticket) => self.enter(ticket),
            Operation::ListQueue => return self.list(),
            Operation::AskLiveness(owner) => return Answer::Liveness(self.life(*owner)),
            Operation::Leave(ticket, handoff) => self.leave(ticket, handoff),
            Operation::Listen => self.listen(),
            Operation::Sleep(..) => return Answer::Woken(Wake::Time),
            other => return self.directory.perform(other, &mut self.kept),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    fn enter(&mut self, ticket: &Ticket) -> Result<(), Errno> {
        self.open = Open::default();
        let path = self.directory.queue_path();
        for _ in 0..MAX_ROUNDS {
            let queue = match self.take_queue() {
                Err(Errno::NOENT) => {
                    self.make_queue(&path)?;
                    self.directory.queue()
                }
                queue => queue,
            };
            let made = queue.and_then(|queue| {
                let done = self.make_ticket(&queue, ticket);
                self.queue = Some(queue);
                done
            });
            match made {
                Ok(()) => return Ok(()),
                // The queue was removed while we entered: make it anew.
                Err(Errno::NOENT) => self.queue = None,
                Err(errno) => {
                    if let Some(queue) = self.queue.take() {
                        let _ = unlinkat(&queue, ticket.to_string().as_ref());
                    }
                    // The queue that was made for us may be empty; if it is not, the kernel refuses
                    // this.
                    let _ = rmdir(&path);
                    return Err(errno);
                }
            }
        }
        Err(Errno::NOENT)
    }

    fn make_queue(&self, path: &Path) -> Result<(), Errno> {
        match mkdir(path, self.directory.mode()) {
            Ok(()) => {
                let queue = self.directory.open_made(path, is_ours)?;
                self.directory.widen_open(&queue, self.directory.mode())
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupts.iter().any(|interrupt| interrupt.is_raised())
    }

    /// Counts a wake-up. Returns the end of the current interval if there were too many in it:
    /// another user who may write to a pipe in this queue could otherwise keep us awake forever.
    fn throttled_until(&mut self) -> Option<Duration> {
        let now = clock::boot();
        if now >= self.wakes.0 {
            self.wakes = (now + WAKE_LIMIT.0, 0);
        }
        self.wakes.1 += 1;
        (self.wakes.1 > WAKE_LIMIT.1).then_some(self.wakes.0)
    }

    /// Sleeps until an event occurs, or until `until`.
    pub(crate) fn sleep(&mut self, wake_source: &WakeSource, until: Duration) -> Wake {
        if self.is_interrupted() {
            return Wake::Interrupted;
        }
        if let Some(end) = self.throttled_until() {
            return self.poll(&[], end.min(until)).map_or(Wake::Interrupted, |_| Wake::Time);
        }
        if self.is_expelled() {
            return Wake::Expelled;
        }
        self.wait_for_event(wake_source, until)
    }

    /// Sleeps until `until` on these sources and on the interrupts. Returns `None` if the wait was
    /// interrupted; otherwise whether the first source is ready.
    fn poll(&self, on: &[Source<'_>], until: Duration) -> Option<bool> {
        let interrupts = self.interrupts.iter().flat_map(|interrupt| interrupt.sources());
        let all: Vec<_> = on.iter().copied().chain(interrupts).collect();
        let ready = sleep_on(&all, until);
        (!self.is_interrupted()).then_some(ready == Some(0) && !on.is_empty())
    }
}
