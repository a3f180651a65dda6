//! Waiting for a lock. Threads of one process queue among themselves first; one at a time
//! waits where the lock's engine says.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::task::Waker;
use std::time::Duration;

use lockbydir_protocol::{AcquireRequest, Wake};

use crate::engine::{Engine, Holding};
use crate::error::{Error, ErrorKind};
use crate::interrupt::{Interrupt, Listening};
use crate::local_queue::{Called, LocalWaiter};
use crate::os::clock;
use crate::settings::{OnWait, Settings};
use crate::status::{How, Status, printable};

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
    /// The lock directory, or the URL of a lock that another engine keeps.
    pub path: &'a Path,
    /// What is in the way, and who waits.
    pub status: &'a Status,
    /// Our place among those who wait (`status.queue`), from 1; none while we have no ticket.
    pub place: Option<usize>,
    /// How long it has waited.
    pub waited: Duration,
    /// How long it will.
    pub patience: Patience,
}

/// A sleep, done within something.
type Around<'a> = dyn FnMut(&mut dyn FnMut() -> Wake) -> Wake + 'a;

/// One wait, from its beginning to its end, as an [engine](crate::engine) is told of it: how long
/// it may last, what ends it, and who wants to hear of it.
pub struct Wait<'a> {
    patience: Patience,
    started: Duration,
    /// After so long it is told next; then this often.
    tell_at: Cell<Duration>,
    tell_every: Duration,
    on_wait: Option<&'a OnWait>,
    interrupts: [Option<&'a Interrupt>; 2],
    listening: RefCell<[Option<Listening<'a>>; 2]>,
    around_pause: RefCell<&'a mut Around<'a>>,
}

impl std::fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait")
            .field("patience", &self.patience)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl<'a> Wait<'a> {
    /// One that began at `started`, on the boot clock.
    pub(crate) fn since(
        started: Duration,
        patience: Patience,
        settings: &'a Settings,
        interrupt: Option<&'a Interrupt>,
        around_pause: &'a mut Around<'a>,
    ) -> Wait<'a> {
        Wait {
            patience,
            started,
            tell_at: Cell::new(settings.calls.0),
            tell_every: settings.calls.1,
            on_wait: settings.on_wait.as_ref(),
            interrupts: [settings.interrupt.as_ref(), interrupt],
            listening: RefCell::default(),
            around_pause: RefCell::new(around_pause),
        }
    }

    /// The end of patience on the boot clock; none: it waits for ever.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.patience.duration().map(|all| self.started.saturating_add(all))
    }

    /// What ends it.
    pub(crate) fn interrupts(&self) -> impl Iterator<Item = &'a Interrupt> + use<'a> {
        self.interrupts.into_iter().flatten()
    }

    /// Shall it end at once, with [`interrupted`](Wait::interrupted)?
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupts().any(Interrupt::is_raised)
    }

    /// Wakes this waker when the wait is interrupted from now on, until it ends. The last waker
    /// counts, as in a future; ask [`is_interrupted`](Wait::is_interrupted) after giving it.
    pub fn wake_on_interrupt(&self, waker: &Waker) {
        let mut listening = self.listening.borrow_mut();
        for (interrupt, listening) in self.interrupts.iter().zip(listening.iter_mut()) {
            if let Some(interrupt) = interrupt {
                listening.get_or_insert_with(|| interrupt.listen()).set(waker);
            }
        }
    }

    /// Sleeps by calling `pause` once, and tells what ended the sleep. Every sleep goes through
    /// here, and nothing but sleeping: whoever gives up a wait in async code is kept until the
    /// next pause begins, then has [`Wake::Interrupted`] told at its end. Outside of a pause a
    /// try may be under way; after such an answer there must not be another one.
    ///
    /// # Panics
    /// Within a pause.
    pub fn pause(&self, pause: &mut dyn FnMut() -> Wake) -> Wake {
        (self.around_pause.borrow_mut())(pause)
    }

    /// When somebody wants to be told again how the wait stands, on the boot clock;
    /// [`Duration::MAX`] where nobody does.
    #[must_use]
    pub fn next_telling(&self) -> Duration {
        match self.on_wait {
            Some(_) => self.started.saturating_add(self.tell_at.get()),
            None => Duration::MAX,
        }
    }

    /// Tells how the wait stands, if it is time: calls `look` only then, for the lock's status
    /// and our place in its queue, from 1. Best called within a [pause](Wait::pause).
    pub fn tell(&self, look: impl FnOnce() -> (Status, Option<usize>)) {
        let waited = self.waited();
        let Some(told) = self.on_wait.filter(|_| waited >= self.tell_at.get()) else {
            return;
        };
        self.tell_at.set(waited + self.tell_every);
        let (status, place) = look();
        let (path, patience) = (&status.path, self.patience);
        told(&Waiting { path, status: &status, place, waited, patience });
    }

    fn waited(&self) -> Duration {
        clock::boot().saturating_sub(self.started)
    }

    /// The error of a wait whose patience is over, with what blocked it.
    #[must_use]
    pub fn given_up(&self, path: &Path, status: &Status) -> Error {
        Error::patience_over(path, &status.blocked(), status.holder.clone(), self.waited())
    }

    /// The error of a wait that was interrupted.
    #[must_use]
    pub fn interrupted(&self, path: &Path) -> Error {
        let message = format!("the wait for {} was interrupted", printable(path));
        Error::new(ErrorKind::Interrupted, message).at(path)
    }
}

/// Waits among the threads of this process, then with the engine, until the lock is had or
/// patience is over.
pub(crate) fn acquire(
    settings: &Settings,
    engine: &dyn Engine,
    wish: AcquireRequest,
    patience: Patience,
) -> Result<(Box<dyn Holding>, How), Error> {
    let mut plain = |pause: &mut dyn FnMut() -> Wake| pause();
    let mut wait = Wait::since(clock::boot(), patience, settings, None, &mut plain);
    let path = engine.path();
    let seat = LocalWaiter::take(path);
    let tell = || wait.tell(|| (engine.glance(), None));
    match seat.wait(wait.until(), settings.interrupt.as_ref(), tell) {
        Called::Yes => engine.acquire(wish, &mut wait),
        Called::Over => Err(wait.given_up(path, &engine.glance())),
        Called::Interrupted => Err(wait.interrupted(path)),
    }
}
