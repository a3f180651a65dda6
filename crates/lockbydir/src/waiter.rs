//! Waiting for a lock: the only loop that waits. Threads of one process stand in line among
//! themselves first; one at a time stands in the line beside the lock directory.

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{
    Acquire, Acquisition, Answer, Blocker, Came, Entry, Fault, Host, Machine, Operation, Queue,
    Step, Waited, Wake, Wish,
};

use crate::clock;
use crate::crowd::{Called, Seat};
use crate::dir::Directory;
use crate::error::{Error, ErrorKind};
use crate::interrupt::Interrupt;
use crate::line::Place;
use crate::process;
use crate::settings::Settings;
use crate::status::{Status, printable};

/// How long one waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// One try.
    pub const NONE: Patience = Patience(Some(Duration::ZERO));
    /// Until the lock is had.
    pub const FOREVER: Patience = Patience(None);

    /// The duration; none for ever.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.0
    }
}

impl From<Duration> for Patience {
    fn from(duration: Duration) -> Patience {
        Patience(Some(duration))
    }
}

/// What a waiter is told while it waits.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// The lock directory.
    pub path: &'a Path,
    /// What is in the way, and who waits.
    pub status: &'a Status,
    /// Our place among those who wait (`status.line`), from 1; none while we have no ticket.
    pub place: Option<usize>,
    /// How long it has waited.
    pub waited: Duration,
    /// How long it will.
    pub patience: Patience,
}

/// Waiting is told after this, and then this often.
const TOLD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(100));

/// One wait, from its beginning to its end.
pub(crate) struct Waiter<'a> {
    settings: &'a Settings,
    directory: &'a Directory,
    patience: Patience,
    started: Duration,
    tell_at: Duration,
}

/// Tries until the lock is had or patience is over.
pub(crate) fn acquire(
    settings: &Settings,
    directory: &Directory,
    wish: Wish,
    shortcut: Option<Entry>,
    patience: Patience,
) -> Result<(Entry, Came), Error> {
    let mut waiter = Waiter::new(settings, directory, patience);
    let seat = Seat::take(directory.path());
    match seat.wait(waiter.until(), settings.interrupt.as_ref(), |seat| waiter.tell(None, seat)) {
        Called::Yes => waiter.stand_in_line(wish, shortcut, None, &mut |sleep| sleep()),
        Called::Over => Err(waiter.given_up(None)),
        Called::Interrupted => Err(waiter.interrupted()),
    }
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        directory: &'a Directory,
        patience: Patience,
    ) -> Waiter<'a> {
        Waiter::since(clock::boot(), settings, directory, patience)
    }

    /// One that began then, on the boot clock.
    pub(crate) fn since(
        started: Duration,
        settings: &'a Settings,
        directory: &'a Directory,
        patience: Patience,
    ) -> Waiter<'a> {
        Waiter { settings, directory, patience, started, tell_at: TOLD.0 }
    }

    /// The end of patience on the boot clock.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.patience.duration().map(|all| self.started.saturating_add(all))
    }

    /// Waits in the line beside the lock directory. Each sleep is done within `around_sleep`;
    /// outside of it, tries may be under way.
    pub(crate) fn stand_in_line(
        &mut self,
        wish: Wish,
        shortcut: Option<Entry>,
        interrupt: Option<&Interrupt>,
        around_sleep: &mut dyn FnMut(&mut dyn FnMut() -> Wake) -> Wake,
    ) -> Result<(Entry, Came), Error> {
        let path = self.directory.path();
        let here = self.directory.here();
        let card = lockbydir_protocol::Ticket {
            order: 0,
            nonce: wish.nonce,
            stamp: Duration::ZERO,
            origin: here.origin,
            process: process::here().1,
            host: Host::new(&process::host()),
            label: wish.label.clone(),
        };
        let acquire = Acquire::new(wish, here, shortcut);
        let mut queue = Queue::new(acquire, card, here, self.until()).pace(self.settings.pace);
        let interrupts = self.settings.interrupt.iter().chain(interrupt).collect();
        let mut place = Place::new(self.directory, interrupts);
        let mut step = queue.start(clock::now());
        let waited = loop {
            let answer = match step {
                Step::Finished(waited) => break waited,
                Step::Perform(Operation::Sleep(ear, until)) => {
                    Answer::Woken(around_sleep(&mut || {
                        loop {
                            let wake = place.sleep(&ear, until.min(self.next_telling()));
                            self.tell(queue.ticket(), 0);
                            if wake != Wake::Time || clock::boot() >= until {
                                break wake;
                            }
                        }
                    }))
                }
                Step::Perform(operation) => place.perform(&operation),
            };
            step = queue.resume(clock::now(), answer);
        };
        match waited {
            Waited::Ended(Acquisition::Got(entry, came)) => Ok((entry, came)),
            Waited::Ended(Acquisition::Blocked(blocker)) | Waited::Over(blocker) => {
                Err(self.given_up(Some(blocker)))
            }
            Waited::Ended(Acquisition::Stranger(uid)) => Err(Error::stranger(path, uid)),
            Waited::Ended(Acquisition::Foreign(why)) => Err(Error::foreign(path, &why)),
            Waited::Ended(Acquisition::Failed(fault)) => Err(Error::fault("acquire", path, fault)),
            Waited::Interrupted => Err(self.interrupted()),
        }
    }

    /// When somebody wants to be told again, on the boot clock.
    fn next_telling(&self) -> Duration {
        match self.settings.on_wait {
            Some(_) => self.started.saturating_add(self.tell_at),
            None => Duration::MAX,
        }
    }

    /// Tells how the wait stands, if it is time. `seat` is our place among the threads of this
    /// process that wait for the same lock.
    fn tell(&mut self, ticket: Option<&lockbydir_protocol::Ticket>, seat: usize) {
        let waited = clock::boot().saturating_sub(self.started);
        let Some(told) = self.settings.on_wait.as_ref().filter(|_| waited >= self.tell_at) else {
            return;
        };
        self.tell_at = waited + TOLD.1;
        let (_, status) = self.settings.look(self.directory);
        let line = self.directory.line_now();
        let place = ticket
            .and_then(|own| line.iter().position(|ticket| ticket == own))
            .map(|before| before + seat + 1);
        let (path, patience) = (self.directory.path(), self.patience);
        told(&Waiting { path, status: &status, place, waited, patience });
    }

    /// Why patience ended: somebody holds the lock, or a call kept failing.
    pub(crate) fn given_up(&self, blocker: Option<Blocker>) -> Error {
        let path = self.directory.path();
        match blocker {
            Some(Blocker::Busy(fault)) if !matches!(fault, Fault::Missing | Fault::Taken) => {
                Error::fault("acquire", path, fault)
            }
            _ => {
                let (_, status) = self.settings.look(self.directory);
                let waited = clock::boot().saturating_sub(self.started);
                Error::patience_over(path, &status.blocked(), status.holder.clone(), waited)
            }
        }
    }

    fn interrupted(&self) -> Error {
        let path = self.directory.path();
        let message = format!("the wait for {} was interrupted", printable(path));
        Error::new(ErrorKind::Interrupted, message).at(path)
    }
}

/// One look, for people.
pub(crate) fn status(settings: &Settings, directory: &Directory) -> Result<Status, Error> {
    let (view, status) = settings.look(directory);
    match view.fault {
        Some(fault) => Err(Error::fault("look at", directory.path(), fault)),
        None => Ok(status),
    }
}
