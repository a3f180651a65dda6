//! A semaphore: a lock that up to N may hold at once, each in a slot of its own.
//!
//! Each slot `NAME.1` ... `NAME.N` is a whole lock, and on these alone rests that no slot has two
//! holders. The lock NAME only orders the waiters: they queue for it, and its holder is the first in
//! the queue. It waits for every slot at once, with a thread in the queue of each, until it has one;
//! then it releases NAME to the next.
//!
//! A slot that becomes free at any moment is found: whoever becomes the first looks at every slot
//! after it has got NAME, and then queues for each of them as for any lock, which loses no wake-up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::engine::is_url;
use crate::error::Error;
use crate::guard::Guard;
use crate::interrupt::Interrupt;
use crate::lock::Lock;
use crate::os::clock;
use crate::settings::{Owner, Settings};
use crate::status::{State, Status};
use crate::waiter::Wait;
use crate::waiting::Patience;

/// The largest number of slots of a [`Semaphore`]. An acquisition looks at one slot after the other, at
/// some 10 to 20 µs each on a local file system: with a thousand that is up to 20 ms.
pub const MAX_SLOTS: u32 = 1000;

/// How many slots the first waiter queues for, each with a thread and about three open files. With
/// more slots it looks at the others ten times a second.
const MOST_QUEUES: usize = 64;
/// The pause between two such looks.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest sleep: the clock that wakes a thread stops during suspend.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Stack size of a waiting thread, in bytes: as for the waiter of a task.
const STACK: usize = 256 * 1024;

/// A lock that up to `slots` may hold at once: for licences, GPUs, ports, or to limit the load.
///
/// Each holder has a slot, with a number from 1 on that nobody else has at the same time:
/// [`Guard::slot`]. A slot is a lock of its own, `NAME.1` to `NAME.N`, with its own timeout, token
/// and queue; [`list`](crate::list) shows them. Waiters queue in arrival order for the lock NAME,
/// which the first of them holds while it waits for any slot; its label says so.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use lockbydir::Semaphore;
///
/// let gpus = Semaphore::new(folder.path().join("gpu"), 2);
/// let (first, second) = (gpus.acquire()?, gpus.acquire()?);
/// assert_eq!((first.slot(), second.slot()), (Some(1), Some(2)));
/// assert!(gpus.try_acquire()?.is_none());
/// # Ok::<(), lockbydir::Error>(())
/// ```
///
/// Each caller chooses the number of slots; one that says 2 uses the first two of those that another
/// has who says 4. After a decrease the holders of higher slots keep them until they release them.
#[derive(Clone)]
pub struct Semaphore {
    /// The lock as the options describe it.
    lock: Lock,
    count: u32,
    /// The lock of the first in the queue.
    turn: Lock,
    /// Empty if the count is out of range.
    slots: Vec<Lock>,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("lock", &self.lock).field("slots", &self.count).finish()
    }
}

impl Lock {
    /// Returns a semaphore with this name and these options, which each slot has: timeout, patience,
    /// label and all others. The number of slots, from 1 to [`MAX_SLOTS`](crate::MAX_SLOTS), is
    /// checked when an operation needs it.
    #[must_use]
    pub fn slots(self, slots: u32) -> Semaphore {
        let all = 1..=if slots <= MAX_SLOTS { slots } else { 0 };
        let settings = &self.settings;
        let of_slot = |number| Settings {
            name: numbered(&settings.name, number),
            absolute: settings.absolute.as_ref().map(|path| numbered(path, number)),
            on_wait: None,
            interrupt: None,
            reentrant: false,
            // It counts for the slot that the caller gets, not for others that are tried.
            at_least: Duration::ZERO,
            ..settings.clone()
        };
        // Its life depends on this process, and it is renewed while this waits, whatever a slot does.
        let turn = Settings {
            timeout: Duration::from_secs(10),
            has_timeout: false,
            renews: Some(true),
            label: format!("waits for one of {slots} slots"),
            fenced: false,
            linger: Duration::ZERO,
            owner: Owner::ThisProcess,
            on_lost: None,
            at_least: Duration::ZERO,
            names_child: false,
            begins_renewals_later: false,
            reentrant: false,
            ..settings.clone()
        };
        Semaphore {
            count: slots,
            turn: Lock::of(turn),
            slots: all.map(|number| Lock::of(of_slot(number))).collect(),
            lock: self,
        }
    }
}

/// Returns the name of a slot.
fn numbered(name: &Path, number: u32) -> PathBuf {
    let suffix = format!(".{number}");
    let lossless = name.to_str().filter(|_| is_url(name));
    let Some(url) = lossless else {
        let mut path = name.as_os_str().to_owned();
        path.push(suffix);
        return path.into();
    };
    // Before the query, which follows the path.
    let hosts = url.find("://").map_or(0, |at| at + "://".len());
    let path = url[hosts..].find('/').map_or(url.len(), |at| hosts + at);
    let end = url[path..].find(['?', '#']).map_or(url.len(), |at| path + at);
    let (before, query) = url.split_at(end);
    format!("{before}{suffix}{query}").into()
}

impl Semaphore {
    /// Returns the semaphore of this name with so many slots, and the default options of a
    /// [`Lock`]. For others use [`Lock::slots`].
    #[must_use]
    pub fn new(name: impl AsRef<Path>, slots: u32) -> Semaphore {
        Lock::new(name).slots(slots)
    }

    /// Returns the lock of each slot, in order: for their status.
    #[must_use]
    pub fn slots(&self) -> &[Lock] {
        &self.slots
    }

    /// Waits for a slot while patience lasts, then holds it until the guard is released or dropped. Of
    /// several free slots the one with the lowest number is taken.
    ///
    /// # Errors
    /// [`Error::is_patience_over`] if all slots stayed taken;
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the number of slots is out of range; others as
    /// for [`Lock::acquire`].
    pub fn acquire(&self) -> Result<Guard, Error> {
        let (started, patience) = (clock::boot(), self.lock.settings.patience);
        if let Some(guard) = self.try_now(patience)? {
            return Ok(guard.handed_over(&self.lock.settings));
        }
        if patience == Patience::NONE {
            return Err(self.given_up(started, false));
        }
        let turn = self.turn.acquire_since(started).map_err(|error| self.late(started, error))?;
        let guard = self.acquire_first(turn, started, None)?;
        Ok(guard.handed_over(&self.lock.settings))
    }

    /// Tries once to get a slot, without waiting; returns `None` if all are taken, or if somebody
    /// waits for one.
    ///
    /// # Errors
    /// As for [`acquire`](Semaphore::acquire), except that taken slots are no error.
    pub fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        let guard = self.try_now(Patience::NONE)?;
        Ok(guard.map(|guard| guard.handed_over(&self.lock.settings)))
    }

    /// Waits for a slot like [`acquire`](Semaphore::acquire), in async code on tokio (feature
    /// `tokio`). If the future is dropped, its wait ends; a slot that it got at that moment is
    /// released again.
    ///
    /// # Errors
    /// As for [`acquire`](Semaphore::acquire).
    #[cfg(feature = "tokio")]
    pub async fn acquire_async(&self) -> Result<Guard, Error> {
        let (started, patience) = (clock::boot(), self.lock.settings.patience);
        let semaphore = self.clone();
        if let Some(guard) = on_thread(move |_| semaphore.try_now(patience)).await? {
            return Ok(guard.handed_over(&self.lock.settings));
        }
        let turn = self.turn.remaining_since(started).acquire_async().await;
        let turn = turn.map_err(|error| self.late(started, error))?;
        let semaphore = self.clone();
        let guard =
            on_thread(move |interrupt| semaphore.acquire_first(turn, started, Some(interrupt)));
        Ok(guard.await?.handed_over(&self.lock.settings))
    }

    /// Takes a free slot, unless somebody waits. Waiters of a queue may be dead, which only another
    /// waiter finds out: to one try only the first of them counts, which is certainly there.
    fn try_now(&self, patience: Patience) -> Result<Option<Guard>, Error> {
        if self.slots.is_empty() {
            return Err(Error::usage(format!(
                "a semaphore has from 1 to {MAX_SLOTS} slots, not {}",
                self.count
            )));
        }
        self.lock.settings.check_at_least(false)?;
        let status = self.turn.status()?;
        let has_queue = patience != Patience::NONE && !status.queue.is_empty();
        match has_queue || matches!(status.state, State::Held | State::Bare) {
            true => Ok(None),
            false => self.try_slots(&self.slots),
        }
    }

    fn try_slots(&self, slots: &[Lock]) -> Result<Option<Guard>, Error> {
        for (number, slot) in (1..).zip(&self.slots).skip(self.slots.len() - slots.len()) {
            if let Some(guard) = slot.try_acquire()? {
                return Ok(Some(guard.in_slot(number)));
            }
        }
        Ok(None)
    }

    /// Waits for any slot, as the first in the queue.
    fn acquire_first(
        &self,
        turn: Guard,
        started: Duration,
        cancelled: Option<&Interrupt>,
    ) -> Result<Guard, Error> {
        if let Some(guard) = self.try_slots(&self.slots)? {
            return Ok(guard);
        }
        let (queued, others) = self.slots.split_at(self.slots.len().min(MOST_QUEUES));
        let found = Found { first: thread::current(), results: Mutex::default() };
        let stop = Interrupt::new();
        let result = thread::scope(|scope| {
            for (number, slot) in (1..).zip(queued) {
                let slot = slot.clone().patience(Patience::FOREVER).interrupt(stop.clone());
                let found = &found;
                let wait = move || found.add(number, slot.acquire());
                let thread = thread::Builder::new().name("lockbydir-slot".into()).stack_size(STACK);
                if let Err(source) = thread.spawn_scoped(scope, wait) {
                    stop.raise();
                    return Err(Error::io("wait for", turn.path(), source));
                }
            }
            let result = self.wait_for(&found, others, started, cancelled);
            stop.raise();
            result
        });
        // Other slots that were free at the same moment are released again.
        drop(found);
        result
    }

    /// Waits until a thread has got a slot, one of `others` is free, or the wait must end.
    fn wait_for(
        &self,
        found: &Found,
        others: &[Lock],
        started: Duration,
        cancelled: Option<&Interrupt>,
    ) -> Result<Guard, Error> {
        let settings = &self.lock.settings;
        let wait = Wait::since(started, settings.patience, settings, None);
        let _listening = settings.interrupt.as_ref().map(Interrupt::unpark_me);
        let _cancelled = cancelled.map(Interrupt::unpark_me);
        loop {
            if let Some(result) = found.take() {
                return result;
            }
            if wait.is_interrupted() || cancelled.is_some_and(Interrupt::is_raised) {
                return Err(wait.interrupted(&self.lock.path()?));
            }
            if let Some(guard) = self.try_slots(others)? {
                return Ok(guard);
            }
            let now = clock::boot();
            let rest = wait.until().map_or(LONGEST_SLEEP, |until| until.saturating_sub(now));
            if rest.is_zero() {
                return Err(self.given_up(started, true));
            }
            wait.report(|| (self.glance(), Some(1)));
            let pause = if others.is_empty() { LONGEST_SLEEP } else { PAUSE };
            let report = wait.next_report().saturating_sub(now).max(Duration::from_millis(1));
            thread::park_timeout(rest.min(pause).min(report));
        }
    }

    /// Returns what a waiter sees of the semaphore.
    fn glance(&self) -> Status {
        let path = self.lock.path().unwrap_or_default();
        let mut status = Status::new(self.lock.name(), &path);
        status.note = Some(self.taken());
        status
    }

    fn taken(&self) -> String {
        match self.count {
            1 => "the only slot is taken".into(),
            count => format!("all {count} slots are taken"),
        }
    }

    /// Returns the error of a wait whose patience is over.
    fn given_up(&self, started: Duration, is_first: bool) -> Error {
        let path = self.lock.path().unwrap_or_default();
        let others = if is_first { "" } else { ", or others wait for one" };
        let holder = self.slots.first().and_then(|slot| slot.status().ok()?.holder);
        let waited = clock::boot().saturating_sub(started);
        Error::patience_over(&path, &(self.taken() + others), holder, waited)
    }

    /// Returns the error of a wait that ended in the queue.
    fn late(&self, started: Duration, error: Error) -> Error {
        if error.is_patience_over() { self.given_up(started, false) } else { error }
    }
}

/// What the threads of the first waiter have got.
struct Found {
    first: thread::Thread,
    results: Mutex<Vec<(u32, Result<Guard, Error>)>>,
}

impl Found {
    fn add(&self, number: u32, result: Result<Guard, Error>) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        self.first.unpark();
    }

    /// Takes out the slot with the lowest number, or else an error.
    fn take(&self) -> Option<Result<Guard, Error>> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(number, result)| (result.is_err(), *number));
        let (number, result) = (!results.is_empty()).then(|| results.remove(0))?;
        Some(result.map(|guard| guard.in_slot(number)))
    }
}

/// Performs the work on a thread, and interrupts it if the future is dropped.
#[cfg(feature = "tokio")]
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    struct RaiseOnDrop(Interrupt);
    impl Drop for RaiseOnDrop {
        fn drop(&mut self) {
            self.0.raise();
        }
    }
    let cancelled = RaiseOnDrop(Interrupt::new());
    let interrupt = cancelled.0.clone();
    match tokio::task::spawn_blocking(move || work(&interrupt)).await {
        Ok(result) => result,
        Err(cause) => Err(Error::io("wait for", Path::new("a slot"), std::io::Error::other(cause))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_before_the_query_of_a_url() {
        for (name, slot) in [
            ("jobs", "jobs.3"),
            ("/a.b/c", "/a.b/c.3"),
            ("etcd://h:1,g:2/a/b", "etcd://h:1,g:2/a/b.3"),
            ("etcd://u:p@h/jobs?ca=/x/y.pem", "etcd://u:p@h/jobs.3?ca=/x/y.pem"),
        ] {
            assert_eq!(numbered(Path::new(name), 3), Path::new(slot));
        }
    }
}
