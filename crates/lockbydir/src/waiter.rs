//! Waiting for a lock. The threads of a process queue among themselves first; one thread at a time
//! waits with the lock's engine.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::task::Waker;
use std::time::Duration;

use lockbydir_protocol::AcquireRequest;

use crate::engine::{Engine, Holding};
use crate::error::{Error, ErrorKind};
use crate::interrupt::{Interrupt, Listening};
use crate::local_queue::{Called, LocalWaiter};
use crate::os::clock;
use crate::settings::Settings;
use crate::status::{How, Status, printable};
use crate::waiting::{OnWait, Patience, Waiting};

/// Somebody who may cancel a wait, and must then know that no try is in progress and none follows.
pub(crate) trait Canceller {
    /// Returns what wakes the wait from its sleep.
    fn interrupt(&self) -> &Interrupt;
    /// The wait begins to sleep: no try is in progress.
    fn end_try(&self);
    /// The wait has slept. Returns false if it is cancelled: there must be no further try.
    fn begin_try(&self) -> bool;
}

/// One wait, from its beginning to its end, as an [engine](crate::engine) sees it: how long it may
/// last, what ends it, and who receives reports about it.
pub struct Wait<'a> {
    patience: Patience,
    started: Duration,
    /// When the next report is due, as the time waited; further reports follow at the interval
    /// below.
    report_at: Cell<Duration>,
    report_every: Duration,
    on_wait: Option<&'a OnWait>,
    interrupts: [Option<&'a Interrupt>; 2],
    listening: RefCell<[Option<Listening<'a>>; 2]>,
    canceller: Option<&'a dyn Canceller>,
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
    /// Creates a wait that began at `started`, on the boot clock.
    pub(crate) fn since(
        started: Duration,
        patience: Patience,
        settings: &'a Settings,
        canceller: Option<&'a dyn Canceller>,
    ) -> Wait<'a> {
        Wait {
            patience,
            started,
            report_at: Cell::new(settings.calls.0),
            report_every: settings.calls.1,
            on_wait: settings.on_wait.as_ref(),
            interrupts: [settings.interrupt.as_ref(), canceller.map(Canceller::interrupt)],
            listening: RefCell::default(),
            canceller,
        }
    }

    /// Returns the end of patience on the boot clock; `None` if the wait has no limit.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.patience.duration().map(|all| self.started.saturating_add(all))
    }

    /// Returns the interrupts that end the wait.
    pub(crate) fn interrupts(&self) -> impl Iterator<Item = &'a Interrupt> + use<'a> {
        self.interrupts.into_iter().flatten()
    }

    /// Returns true if a thread waits for itself, and not for a task.
    pub(crate) fn is_of_thread(&self) -> bool {
        self.canceller.is_none()
    }

    /// Returns true if the wait must end at once, with [`interrupted`](Wait::interrupted).
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupts().any(Interrupt::is_raised)
    }

    /// Wakes this waker when the wait is interrupted from now on, until the wait ends. The last
    /// waker counts, as in a future; check [`is_interrupted`](Wait::is_interrupted) after setting
    /// it.
    pub fn wake_on_interrupt(&self, waker: &Waker) {
        let mut listening = self.listening.borrow_mut();
        for (interrupt, listening) in self.interrupts.iter().zip(listening.iter_mut()) {
            if let Some(interrupt) = interrupt {
                listening.get_or_insert_with(|| interrupt.listen()).set(waker);
            }
        }
    }

    /// Sleeps by calling `sleep`, and returns what it returned; `None` if the wait was cancelled
    /// meanwhile, and must end with [`interrupted`](Wait::interrupted). Every sleep of a wait must go
    /// through here, and nothing else may. In async code, a caller that gives up a wait is blocked
    /// until the next pause begins. Outside a pause a try may be in progress; after `None` there must
    /// not be another try.
    pub fn pause<T>(&self, sleep: impl FnOnce() -> T) -> Option<T> {
        let Some(canceller) = self.canceller else {
            return Some(sleep());
        };
        canceller.end_try();
        let slept = sleep();
        canceller.begin_try().then_some(slept)
    }

    /// Returns when the next report about the wait is due, on the boot clock; [`Duration::MAX`] if
    /// nobody wants reports.
    #[must_use]
    pub fn next_report(&self) -> Duration {
        match self.on_wait {
            Some(_) => self.started.saturating_add(self.report_at.get()),
            None => Duration::MAX,
        }
    }

    /// Reports how the wait stands, if a report is due. Only then it calls `look`, which returns
    /// the lock's status and our place in its queue, from 1. Best called within a
    /// [pause](Wait::pause).
    pub fn report(&self, look: impl FnOnce() -> (Status, Option<usize>)) {
        let waited = self.waited();
        let Some(on_wait) = self.on_wait.filter(|_| waited >= self.report_at.get()) else {
            return;
        };
        self.report_at.set(waited + self.report_every);
        let (status, place) = look();
        let (path, patience) = (&status.path, self.patience);
        on_wait(&Waiting { path, status: &status, place, waited, patience });
    }

    fn waited(&self) -> Duration {
        clock::boot().saturating_sub(self.started)
    }

    /// Returns the error of a wait whose patience is over, with what blocked it.
    #[must_use]
    pub fn given_up(&self, path: &Path, status: &Status) -> Error {
        Error::patience_over(path, &status.blocked(), status.holder.clone(), self.waited())
    }

    /// Returns the error of a wait that was interrupted.
    #[must_use]
    pub fn interrupted(&self, path: &Path) -> Error {
        let message = format!("the wait for {} was interrupted", printable(path));
        Error::new(ErrorKind::Interrupted, message).at(path)
    }
}

/// Waits among the threads of this process, then with the engine, until the lock is acquired or
/// patience, which counts from `started` on the boot clock, is over.
pub(crate) fn acquire(
    settings: &Settings,
    engine: &dyn Engine,
    request: AcquireRequest,
    started: Duration,
    patience: Patience,
) -> Result<(Box<dyn Holding>, How), Error> {
    let mut wait = Wait::since(started, patience, settings, None);
    let path = engine.path();
    let local_waiter = LocalWaiter::take(path);
    let report = wait.on_wait.map(|_| || wait.report(|| (engine.glance(), None)));
    match local_waiter.wait(wait.until(), settings.interrupt.as_ref(), report) {
        Called::Yes => engine.acquire(request, &mut wait),
        Called::Over => Err(wait.given_up(path, &engine.glance())),
        Called::Interrupted => Err(wait.interrupted(path)),
    }
}
