//! The queue: the directory `NAME.lockdir.queue` beside D, with one file a ticket. What is the same on
//! each system is here: where it is, who is in it, entering it, and that nobody is woken for ever. How
//! one who stands in it hears of the others is not: `pipes.rs` for Unix, `events.rs` for Windows. Each
//! has the same functions: `knock`, `ring`, `expel`, `close_queue`, `is_alive`, and of a [`Place`]
//! `make_ticket`, `leave`, `listen`, `is_expelled`, `hear`. Decides nothing.

#[cfg(unix)]
mod pipes;
#[cfg(unix)]
use pipes as system_queue;
#[cfg(windows)]
mod events;
#[cfg(windows)]
use events as system_queue;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lockbydir_protocol::{Answer, LocalContext, Operation, Ticket, Wake, WakeSource};

use self::system_queue::{Open, is_ours, is_ticket};
use crate::directory::executor::{Directory, OpenHandles};
use crate::interrupt::Interrupt;
use crate::os::clock;
use crate::os::syscalls::{about, list_of, mkdir, open_to_list, rmdir, sleep_on, unlinkat};
use crate::os::{Errno, Handle, Source, fault};

/// What the queue is called: D's name and this.
pub(crate) const SUFFIX: &str = ".queue";
/// More tickets than this are not read.
const MOST_TICKETS: usize = 10_000;
/// A ticket of another kernel that is older goes with the queue, when nobody else is in it. Who still
/// waits there takes a new one.
const STALE_TICKET: Duration = Duration::from_secs(3600);
/// In so long, one is woken so often; then one hears nothing for the rest of it.
const WAKES: (Duration, u32) = (Duration::from_millis(100), 32);
/// How often the queue may be removed while we come to it.
const ROUNDS: u8 = 8;

impl Directory {
    pub(crate) fn queue_path(&self) -> PathBuf {
        let mut path = OsString::from(self.path());
        path.push(SUFFIX);
        PathBuf::from(path)
    }

    /// The queue, if it is one that we may trust.
    fn queue(&self) -> Result<Handle, Errno> {
        let queue = open_to_list(&self.queue_path())?;
        match self.stranger(&about(&queue)?) {
            Some(_) => Err(Errno::PERM),
            None => Ok(queue),
        }
    }

    /// Removes the tickets of those who are gone.
    ///
    /// # Errors
    /// [`Errno::NOTEMPTY`] while somebody waits.
    fn clear(&self, queue: &Handle) -> Result<(), Errno> {
        let here = self.here();
        let (living, gone): (Vec<_>, Vec<_>) =
            tickets(queue)?.into_iter().partition(|ticket| is_alive(queue, ticket, &here));
        for ticket in gone {
            let _ = unlinkat(queue, ticket.to_string().as_ref());
        }
        if living.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// Those in the queue now, in their order.
    pub(crate) fn queue_now(&self) -> Vec<Ticket> {
        let mut queue = self.queue().and_then(|queue| tickets(&queue)).unwrap_or_default();
        queue.sort();
        queue
    }

    /// Performs what needs no place of one's own.
    pub(crate) fn perform_on_queue(&self, operation: &Operation, kept: &mut OpenHandles) -> Answer {
        let done = match operation {
            Operation::HasWaiters => return Answer::Somebody(self.knock(kept)),
            Operation::ListQueue => {
                return match self.queue().and_then(|queue| tickets(&queue)) {
                    Ok(queue) => Answer::Queue(queue),
                    Err(Errno::NOENT) => Answer::Queue(Vec::new()),
                    Err(errno) => Answer::Failed(fault(errno)),
                };
            }
            Operation::WakeFirst => self.ring(kept),
            Operation::Expel(ticket, word) => self.expel(ticket, word),
            Operation::CloseQueue => self.close_queue(),
            _ => Err(Errno::INVAL),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }
}

/// The tickets in a queue, in no order.
fn tickets(queue: &Handle) -> Result<Vec<Ticket>, Errno> {
    let mut found = Vec::new();
    for entry in list_of(queue)?.take(MOST_TICKETS) {
        let entry = entry?;
        if is_ticket(entry.kind()) {
            found.extend(entry.text().and_then(Ticket::parse));
        }
    }
    Ok(found)
}

/// Does the one of this ticket still wait? Of another kernel's tickets only the age tells.
fn is_alive(queue: &Handle, ticket: &Ticket, here: &LocalContext) -> bool {
    if ticket.origin.is_same_boot(&here.origin) {
        return system_queue::is_alive(queue, ticket);
    }
    let age = clock::now().wall.saturating_sub(Duration::from_micros(ticket.order));
    age < STALE_TICKET && !(here.is_local && here.is_before_boot(ticket))
}

/// One waiter's own place in the queue: what it keeps open.
pub(crate) struct Place<'a> {
    directory: &'a Directory,
    interrupts: Vec<&'a Interrupt>,
    /// The queue as we entered it.
    queue: Option<Handle>,
    open: Open,
    kept: OpenHandles,
    /// Until when wakes are counted, and how many there were.
    wakes: (Duration, u32),
}

impl<'a> Place<'a> {
    pub(crate) fn new(directory: &'a Directory, interrupts: Vec<&'a Interrupt>) -> Place<'a> {
        Place {
            directory,
            interrupts,
            queue: None,
            open: Open::default(),
            kept: OpenHandles::default(),
            wakes: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn perform(&mut self, operation: &Operation) -> Answer {
        let done = match operation {
            Operation::Enter(ticket) => self.enter(ticket),
            Operation::Leave(ticket, word) => self.leave(ticket, word),
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
        for _ in 0..ROUNDS {
            match mkdir(&path, self.directory.mode()) {
                Ok(()) => {
                    let queue = self.directory.open_made(&path, is_ours)?;
                    self.directory.widen_open(&queue, self.directory.mode())?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let made = self.directory.queue().and_then(|queue| {
                self.make_ticket(&queue, ticket)?;
                Ok(queue)
            });
            match made {
                // Removed while we came: make it anew.
                Err(Errno::NOENT) => {}
                Ok(queue) => {
                    self.queue = Some(queue);
                    return Ok(());
                }
                Err(errno) => {
                    if let Ok(queue) = self.directory.queue() {
                        let _ = unlinkat(&queue, ticket.to_string().as_ref());
                    }
                    // Nobody may be in the queue that was made for us; else the kernel refuses.
                    let _ = rmdir(&path);
                    return Err(errno);
                }
            }
        }
        Err(Errno::NOENT)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupts.iter().any(|interrupt| interrupt.is_raised())
    }

    /// The rest of this moment, where somebody has woken us too often in it: whoever may write to
    /// a pipe in this queue could keep us awake for ever.
    fn throttled_until(&mut self) -> Option<Duration> {
        let now = clock::boot();
        if now >= self.wakes.0 {
            self.wakes = (now + WAKES.0, 0);
        }
        self.wakes.1 += 1;
        (self.wakes.1 > WAKES.1).then_some(self.wakes.0)
    }

    /// Sleeps until something is heard, or `until`.
    pub(crate) fn sleep(&mut self, ear: &WakeSource, until: Duration) -> Wake {
        if self.is_interrupted() {
            return Wake::Interrupted;
        }
        if let Some(end) = self.throttled_until() {
            return self.poll(&[], end.min(until)).map_or(Wake::Interrupted, |_| Wake::Time);
        }
        if self.is_expelled() {
            return Wake::Expelled;
        }
        self.hear(ear, until)
    }

    /// Sleeps on these until then, and on what may interrupt it, which gives none. Has the first
    /// something to tell?
    fn poll(&self, on: &[Source<'_>], until: Duration) -> Option<bool> {
        let interrupts = self.interrupts.iter().filter_map(|interrupt| interrupt.event());
        let all: Vec<_> =
            on.iter().copied().chain(interrupts.map(|alarm| alarm.source())).collect();
        let told = sleep_on(&all, until);
        (!self.is_interrupted()).then_some(told == Some(0) && !on.is_empty())
    }
}
