//! Threads and tasks of one process that want the same lock: they stand in line among themselves,
//! and one at a time stands in the line beside the lock directory. So however many they are, they
//! cost one ticket and no look at the file system.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
#[cfg(feature = "tokio")]
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::clock;
use crate::interrupt::Interrupt;

/// The lines of this process, by the path of the lock directory.
static CROWDS: Mutex<Option<Crowds>> = Mutex::new(None);
/// The process whose registry was left locked by a thread that a fork did not copy.
static WITHOUT: AtomicU32 = AtomicU32::new(0);

struct Crowds {
    pid: u32,
    lines: HashMap<PathBuf, VecDeque<Arc<Card>>>,
}

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
pub(crate) struct Seat {
    path: PathBuf,
    card: Arc<Card>,
}

impl Seat {
    /// At the end of the line of this lock directory, for the calling thread.
    pub(crate) fn take(path: &Path) -> Seat {
        Seat::join(path, Caller::Thread(thread::current()))
    }

    /// At the end of the line, for a task.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_for_task(path: &Path) -> Seat {
        Seat::join(path, Caller::Task(None))
    }

    fn join(path: &Path, caller: Caller) -> Seat {
        let card = Arc::new(Card { is_called: AtomicBool::new(false), caller: Mutex::new(caller) });
        match crowds() {
            Some(mut crowds) => {
                let line = crowds.as_mut().map(|crowds| crowds.lines.entry(path.to_owned()));
                let line = line.map(|line| line.or_default());
                if let Some(line) = line {
                    card.is_called.store(line.is_empty(), Ordering::Release);
                    line.push_back(card.clone());
                }
            }
            None => card.is_called.store(true, Ordering::Release),
        }
        Seat { path: path.to_owned(), card }
    }

    /// Is it our turn to stand in the line beside the lock directory?
    pub(crate) fn is_called(&self) -> bool {
        self.card.is_called.load(Ordering::Acquire)
    }

    /// Whom to wake when it is our turn.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut caller = self.card.caller.lock().unwrap_or_else(PoisonError::into_inner);
        *caller = Caller::Task(Some(waker.clone()));
    }

    /// How many of this process are before us.
    fn before(&self) -> usize {
        let crowds = crowds();
        let line = crowds.as_ref().and_then(|crowds| crowds.as_ref()?.lines.get(&self.path));
        line.and_then(|line| line.iter().position(|card| Arc::ptr_eq(card, &self.card)))
            .unwrap_or(0)
    }

    /// Waits for our turn until this time of the boot clock; `tell` is called now and then with
    /// the number of those before us.
    pub(crate) fn wait(
        &self,
        until: Option<Duration>,
        interrupt: Option<&Interrupt>,
        mut tell: impl FnMut(usize),
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
            tell(self.before());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(mut crowds) = crowds() else {
            return;
        };
        let Some(crowds) = crowds.as_mut() else {
            return;
        };
        let Some(line) = crowds.lines.get_mut(&self.path) else {
            return;
        };
        line.retain(|card| !Arc::ptr_eq(card, &self.card));
        match line.front() {
            Some(next) => next.call(),
            None => {
                crowds.lines.remove(&self.path);
            }
        }
    }
}

/// The registry; none in a forked child whose parent's other thread held it at the fork.
fn crowds() -> Option<MutexGuard<'static, Option<Crowds>>> {
    let pid = std::process::id();
    if WITHOUT.load(Ordering::Relaxed) == pid {
        return None;
    }
    let started = Instant::now();
    let mut crowds = loop {
        match CROWDS.try_lock() {
            Ok(crowds) => break crowds,
            Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if started.elapsed() > Duration::from_secs(5) => {
                WITHOUT.store(pid, Ordering::Relaxed);
                return None;
            }
            Err(TryLockError::WouldBlock) => thread::yield_now(),
        }
    };
    // A forked child has none of its parent's threads.
    if crowds.as_ref().is_none_or(|crowds| crowds.pid != pid) {
        *crowds = Some(Crowds { pid, lines: HashMap::new() });
    }
    Some(crowds)
}
