//! Ending a wait from outside, at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use crate::system::Alarm;

/// Ends waits: give it to [`Lock::interrupt`](crate::Lock::interrupt), keep a clone, and raise
/// that from any thread.
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
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<Raised>);

#[derive(Debug)]
struct Raised {
    flag: AtomicBool,
    /// Threads that wait for their turn within this process.
    parked: Mutex<Vec<Thread>>,
    /// Wakes a sleeping waiter; without it the flag is seen at the waiter's next look.
    event: Option<Alarm>,
}

impl Default for Interrupt {
    fn default() -> Interrupt {
        let (flag, parked) = (AtomicBool::new(false), Mutex::default());
        Interrupt(Arc::new(Raised { flag, parked, event: Alarm::new() }))
    }
}

impl Interrupt {
    /// One that is not raised.
    #[must_use]
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Ends all waits that have it, now and later.
    pub fn raise(&self) {
        self.0.flag.store(true, Ordering::Release);
        if let Some(event) = &self.0.event {
            event.raise();
        }
        self.parked().iter().for_each(Thread::unpark);
    }

    /// Was it raised?
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.flag.load(Ordering::Acquire)
    }

    /// Makes it as new again.
    pub fn lower(&self) {
        self.0.flag.store(false, Ordering::Release);
        if let Some(event) = &self.0.event {
            event.lower();
        }
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unparks the calling thread when it is raised, as long as the answer lives.
    pub(crate) fn unpark_me(&self) -> Parked<'_> {
        self.parked().push(thread::current());
        Parked(self)
    }

    pub(crate) fn event(&self) -> Option<&Alarm> {
        self.0.event.as_ref()
    }
}

/// A thread that is unparked by an interrupt.
pub(crate) struct Parked<'a>(&'a Interrupt);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let own = thread::current().id();
        let mut parked = self.0.parked();
        if let Some(at) = parked.iter().position(|thread| thread.id() == own) {
            parked.swap_remove(at);
        }
    }
}
