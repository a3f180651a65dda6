//! Threads and tasks of one process that want the same lock: they queue among themselves,
//! and one at a time stands in the queue beside the lock directory. So however many they are, they
//! cost one ticket and no look at the file system.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::os::clock;
use crate::os::fork_local::ForkLocal;

/// The lines of this process, by the path of the lock directory.
static CROWDS: ForkLocal<Mutex<Lines>> = ForkLocal::new();

type Lines = HashMap<PathBuf, VecDeque<Arc<Card>>>;

/// One who waits.
struct Card {
    is_called: AtomicBool,
    caller: Mutex<Caller>,
}

enum Caller {
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(Option<Waker>),
}

impl Card {
    fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        match &*self.caller.lock().unwrap_or_else(PoisonError::into_inner) {
            Caller::Thread(thread) => thread.unpark(),
            #[cfg(feature = "tokio")]
            Caller::Task(waker) => waker.iter().for_each(Waker::wake_by_ref),
        }
    }
}

/// What a wait for one's turn came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Yes,
    Over,
    Interrupted,
}

/// A place among the threads and tasks of this process; the next one is called when it goes.
pub(crate) struct LocalWaiter {
    path: PathBuf,
    own_ticket: Arc<Card>,
}

impl LocalWaiter {
    /// At the end of the queue of this lock directory, for the calling thread.
    pub(crate) fn take(path: &Path) -> LocalWaiter {
        LocalWaiter::join(path, Caller::Thread(thread::current()))
    }

    /// At the end of the queue, for a task.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_for_task(path: &Path) -> LocalWaiter {
        LocalWaiter::join(path, Caller::Task(None))
    }

    fn join(path: &Path, caller: Caller) -> LocalWaiter {
        let own_ticket =
            Arc::new(Card { is_called: AtomicBool::new(false), caller: Mutex::new(caller) });
        let mut lines = lines();
        let queue = lines.entry(path.to_owned()).or_default();
        own_ticket.is_called.store(queue.is_empty(), Ordering::Release);
        queue.push_back(own_ticket.clone());
        LocalWaiter { path: path.to_owned(), own_ticket }
    }

    /// Is it our turn to stand in the queue beside the lock directory?
    pub(crate) fn is_called(&self) -> bool {
        self.own_ticket.is_called.load(Ordering::Acquire)
    }

    /// Whom to wake when it is our turn.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut caller = self.own_ticket.caller.lock().unwrap_or_else(PoisonError::into_inner);
        *caller = Caller::Task(Some(waker.clone()));
    }

    /// Waits for our turn until this time of the boot clock; `tell` is called now and then.
    pub(crate) fn wait(
        &self,
        until: Option<Duration>,
        interrupt: Option<&Interrupt>,
        mut tell: impl FnMut(),
    ) -> Called {
        if self.is_called() {
            return Called::Yes;
        }
        let _listening = interrupt.map(Interrupt::unpark_me);
        loop {
            if self.is_called() {
                return Called::Yes;
            }
            if interrupt.is_some_and(Interrupt::is_raised) {
                return Called::Interrupted;
            }
            // The clock that wakes us stops in suspend: never sleep long.
            let rest = match until {
                Some(until) => until.saturating_sub(clock::boot()),
                None => Duration::MAX,
            };
            if rest.is_zero() {
                return Called::Over;
            }
            thread::park_timeout(rest.min(Duration::from_millis(500)));
            tell();
        }
    }
}

impl Drop for LocalWaiter {
    fn drop(&mut self) {
        let mut lines = lines();
        let Some(queue) = lines.get_mut(&self.path) else {
            return;
        };
        queue.retain(|own_ticket| !Arc::ptr_eq(own_ticket, &self.own_ticket));
        match queue.front() {
            Some(next) => next.call(),
            None => {
                lines.remove(&self.path);
            }
        }
    }
}

fn lines() -> MutexGuard<'static, Lines> {
    CROWDS.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}
