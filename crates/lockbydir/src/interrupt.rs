//! Interrupts, which end a wait at once from outside.

#[cfg(unix)]
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
#[cfg(unix)]
use std::time::Duration;

use crate::os::fork_local::ForkLocal;
#[cfg(unix)]
use crate::os::sleep_on;
use crate::os::{Alarm, Source};

/// A switch that ends waits: pass it to [`Lock::interrupt`](crate::Lock::interrupt), keep a clone,
/// and raise that from any thread.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let name = folder.path().join("jobs");
/// use lockbydir::{ErrorKind, Interrupt, Lock};
///
/// let held = Lock::new(&name).acquire()?;
/// let interrupt = Interrupt::new();
/// let lock = Lock::new(&name).interrupt(interrupt.clone());
/// let waiter = std::thread::spawn(move || lock.acquire().map(drop));
/// interrupt.raise();
/// assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
/// # Ok::<(), lockbydir::Error>(())
/// ```
///
/// The copy in a forked child is raised if this one was raised at the fork; afterwards the two are
/// independent.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Raised>);

#[derive(Default)]
struct Raised {
    flag: AtomicBool,
    /// It is also raised while this can be read.
    #[cfg(unix)]
    readable: Option<Box<dyn AsFd + Send + Sync>>,
    /// A forked child has its own value, since it shares the kernel object of an alarm with its
    /// parent and would wake the parent's waiters.
    sleepers: ForkLocal<Sleepers>,
}

/// The waiters that sleep until the interrupt is raised.
struct Sleepers {
    /// Wakers to call in addition, each in its own slot.
    wakers: Mutex<Vec<Slot>>,
    /// Wakes a sleeping waiter; without it a waiter sees the flag at its next look.
    event: Option<Alarm>,
}

impl std::fmt::Debug for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raised").field("flag", &self.flag).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Slot {
    of: u64,
    waker: Waker,
}

impl Interrupt {
    /// Creates an interrupt that is not raised.
    #[must_use]
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Creates an interrupt that is raised by [`raise`](Interrupt::raise), and also while this can be
    /// read. The latter wakes only a wait for a lock directory in which no other thread of this process
    /// takes part. For a program that reads its signals from a descriptor, as `lockbydir run` does.
    #[cfg(unix)]
    #[doc(hidden)]
    #[must_use]
    pub fn when_readable(source: impl AsFd + Send + Sync + 'static) -> Interrupt {
        Interrupt(Arc::new(Raised { readable: Some(Box::new(source)), ..Raised::default() }))
    }

    /// Raises the interrupt, which ends all waits that have it, now and later.
    pub fn raise(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        let Some(sleepers) = self.0.sleepers.get() else {
            return;
        };
        if let Some(event) = &sleepers.event {
            event.raise();
        }
        // The mutex is released first: a woken thread may call this code again at once.
        let wakers: Vec<_> = sleepers.wakers().iter().map(|slot| slot.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns true if the interrupt is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.flag.load(Ordering::Acquire) || self.is_readable()
    }

    #[cfg(unix)]
    fn is_readable(&self) -> bool {
        let readable = self.0.readable.as_ref();
        readable.is_some_and(|source| sleep_on(&[source.as_fd()], Duration::ZERO).is_some())
    }

    #[cfg(not(unix))]
    fn is_readable(&self) -> bool {
        false
    }

    /// Lowers the interrupt, so that it can be used again.
    pub fn lower(&self) {
        self.0.flag.store(false, Ordering::SeqCst);
        if let Some(event) = self.0.sleepers.get().and_then(|sleepers| sleepers.event.as_ref()) {
            event.lower();
        }
    }

    fn sleepers(&self) -> &Sleepers {
        let make = || Sleepers { wakers: Mutex::default(), event: Alarm::new() };
        self.0.sleepers.get_or_make(make)
    }

    /// Registers a slot for one waker.
    pub(crate) fn listen(&self) -> Listening<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Listening { interrupt: self, of: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Makes the interrupt unpark the calling thread when it is raised, as long as the returned
    /// value lives.
    pub(crate) fn unpark_me(&self) -> Listening<'_> {
        let listening = self.listen();
        listening.set(&Waker::from(Arc::new(Unpark(thread::current()))));
        listening
    }

    /// Returns what a waiter sleeps on: each can be read when the interrupt is raised.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let sources = self.event().map(Alarm::source).into_iter();
        #[cfg(unix)]
        let sources = sources.chain(self.0.readable.as_ref().map(|source| source.as_fd()));
        sources
    }

    fn event(&self) -> Option<&Alarm> {
        let event = self.sleepers().event.as_ref()?;
        // The interrupt may have been raised before the event existed.
        if self.0.flag.load(Ordering::SeqCst) {
            event.raise();
        }
        Some(event)
    }
}

impl Sleepers {
    fn wakers(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes a waker when the interrupt is raised, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Listening<'a> {
    interrupt: &'a Interrupt,
    of: u64,
}

impl Listening<'_> {
    /// Sets the waker, replacing an earlier one. If the interrupt is already raised, nothing wakes
    /// it: check that afterwards.
    pub(crate) fn set(&self, waker: &Waker) {
        let mut wakers = self.interrupt.sleepers().wakers();
        match wakers.iter_mut().find(|slot| slot.of == self.of) {
            Some(slot) => slot.waker.clone_from(waker),
            None => wakers.push(Slot { of: self.of, waker: waker.clone() }),
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let Some(sleepers) = self.interrupt.0.sleepers.get() else {
            return;
        };
        let mut wakers = sleepers.wakers();
        if let Some(at) = wakers.iter().position(|slot| slot.of == self.of) {
            wakers.swap_remove(at);
        }
    }
}
