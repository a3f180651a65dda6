//! Threads and tasks of one process that want the same lock. They queue among themselves, and only
//! the first of them waits in the queue beside the lock directory. So any number of them costs one
//! ticket, and the others do not access the file system.

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

/// The local queues of this process, by the path of the lock directory.
static QUEUES: ForkLocal<Mutex<Queues>> = ForkLocal::new();

type Queues = HashMap<PathBuf, VecDeque<Arc<Member>>>;

/// A waiting thread or task.
struct Member {
    is_called: AtomicBool,
    caller: Mutex<Caller>,
}

enum Caller {
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(Option<Waker>),
}

impl Member {
    fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        match &*self.caller.lock().unwrap_or_else(PoisonError::into_inner) {
            Caller::Thread(thread) => thread.unpark(),
            #[cfg(feature = "tokio")]
            Caller::Task(waker) => waker.iter().for_each(Waker::wake_by_ref),
        }
    }
}

/// The result of waiting for a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Yes,
    Over,
    Interrupted,
}

/// A place in the local queue; dropping it passes the turn to the next waiter.
pub(crate) struct LocalWaiter {
    path: PathBuf,
    member: Arc<Member>,
}

impl LocalWaiter {
    /// Joins the end of the queue of this lock directory, for the calling thread.
    pub(crate) fn take(path: &Path) -> LocalWaiter {
        LocalWaiter::join(path, Caller::Thread(thread::current()))
    }

    /// Joins the end of the queue, for a task.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_for_task(path: &Path) -> LocalWaiter {
        LocalWaiter::join(path, Caller::Task(None))
    }

    fn join(path: &Path, caller: Caller) -> LocalWaiter {
        let member =
            Arc::new(Member { is_called: AtomicBool::new(false), caller: Mutex::new(caller) });
        let mut queues = queues();
        let queue = queues.entry(path.to_owned()).or_default();
        member.is_called.store(queue.is_empty(), Ordering::Release);
        queue.push_back(member.clone());
        LocalWaiter { path: path.to_owned(), member }
    }

    /// Returns true if it is this waiter's turn to wait in the queue beside the lock directory.
    pub(crate) fn is_called(&self) -> bool {
        self.member.is_called.load(Ordering::Acquire)
    }

    /// Sets which waker to wake at this waiter's turn.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut caller = self.member.caller.lock().unwrap_or_else(PoisonError::into_inner);
        *caller = Caller::Task(Some(waker.clone()));
    }

    /// Waits for the turn until this time of the boot clock; calls `report`, if there is one, at
    /// least every half second.
    pub(crate) fn wait(
        &self,
        until: Option<Duration>,
        interrupt: Option<&Interrupt>,
        mut report: Option<impl FnMut()>,
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
            let rest = until.map(|until| until.saturating_sub(clock::boot()));
            if rest == Some(Duration::ZERO) {
                return Called::Over;
            }
            if rest.is_none() && report.is_none() {
                // Whoever calls or interrupts this waiter unparks it.
                thread::park();
                continue;
            }
            // The clock that wakes the thread stops during suspend, so it never sleeps long.
            thread::park_timeout(rest.unwrap_or(Duration::MAX).min(Duration::from_millis(500)));
            if let Some(report) = &mut report {
                report();
            }
        }
    }
}

impl Drop for LocalWaiter {
    fn drop(&mut self) {
        let mut queues = queues();
        let Some(queue) = queues.get_mut(&self.path) else {
            return;
        };
        queue.retain(|member| !Arc::ptr_eq(member, &self.member));
        match queue.front() {
            Some(next) => next.call(),
            None => {
                queues.remove(&self.path);
            }
        }
    }
}

fn queues() -> MutexGuard<'static, Queues> {
    QUEUES.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}
