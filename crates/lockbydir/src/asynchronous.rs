//! Waiting in async code: tasks stand in line among the threads and tasks of their process; the
//! one whose turn it is stands in the line beside the lock directory by a thread of its own, so
//! no runtime's thread ever waits for the file system.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use lockbydir_protocol::Wake;

use crate::clock;
use crate::crowd::Seat;
use crate::error::Error;
use crate::guard::Guard;
use crate::interrupt::Interrupt;
use crate::lock::Lock;
use crate::waiter::Patience;

/// What the future and its thread share. The thread has it locked except while it sleeps, so
/// whoever has it locked knows that no try is under way.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    ended: Condvar,
    interrupt: Interrupt,
}

#[derive(Default)]
struct State {
    /// The future is gone: there must be no further try.
    is_cancelled: bool,
    /// The thread has left the line.
    has_ended: bool,
    result: Option<Result<Guard, Error>>,
    waker: Option<Waker>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cancels the wait when the future goes before its end.
struct Standing(Arc<Gate>);

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.interrupt.raise();
        let mut state = self.0.lock();
        state.is_cancelled = true;
        // Had, but not handed over: released at once.
        let result = state.result.take();
        let left = self.0.ended.wait_timeout_while(state, LEAVING, |state| !state.has_ended);
        drop(left);
        drop(result);
    }
}

impl Lock {
    /// As [`acquire`](Lock::acquire), for async code on tokio (feature `tokio`).
    ///
    /// Dropping the future ends the wait: its ticket leaves the line, and the lock is not taken
    /// afterwards. If a try is under way just then, the drop waits for that one try; for the
    /// ticket to be gone it waits 0.1 s at most.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = folder.path().join("jobs");
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let guard = lockbydir::Lock::new(&name).acquire_async().await?;
    /// assert!(guard.is_held());
    /// guard.release()?;
    /// # Ok::<(), lockbydir::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As for [`acquire`](Lock::acquire).
    pub async fn acquire_async(&self) -> Result<Guard, Error> {
        let directory = self.settings.directory()?;
        self.settings.checked_timeout()?;
        let started = clock::boot();
        let rest = || {
            let all = self.settings.patience.duration();
            all.map(|all| all.saturating_sub(clock::boot().saturating_sub(started)))
        };
        let seat = Seat::take_for_task(directory.path());
        let turn = poll_fn(|context| {
            seat.set_waker(context.waker());
            if seat.is_called() { Poll::Ready(()) } else { Poll::Pending }
        });
        match rest() {
            // Tokio's clock stops in suspend; the wait is then longer, never shorter.
            Some(rest) => {
                if tokio::time::timeout(rest, turn).await.is_err() {
                    drop(seat);
                    return self.after_waiting(started, Patience::NONE);
                }
            }
            None => turn.await,
        }

        let standing = Standing(Arc::default());
        let gate = standing.0.clone();
        let lock = self.clone().patience(rest().map_or(Patience::FOREVER, Patience::from));
        let stand = move || {
            let mut open = Some(gate.lock());
            let is_cancelled = open.as_ref().is_some_and(|state| state.is_cancelled);
            let result = (!is_cancelled).then(|| {
                lock.stand_for_task(seat, &gate.interrupt, &mut |sleep| {
                    open = None;
                    let wake = sleep();
                    let state = open.insert(gate.lock());
                    if state.is_cancelled { Wake::Interrupted } else { wake }
                })
            });
            let mut state = open.unwrap_or_else(|| gate.lock());
            state.result = result;
            state.has_ended = true;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            drop(state);
            gate.ended.notify_all();
        };
        thread::Builder::new()
            .name("lockbydir-waiter".into())
            .stack_size(STACK)
            .spawn(stand)
            .map_err(|source| Error::io("wait for", directory.path(), source))?;
        poll_fn(|context| {
            let mut state = standing.0.lock();
            match state.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The error of a wait that ended before its turn came.
    fn after_waiting(&self, started: Duration, patience: Patience) -> Result<Guard, Error> {
        let directory = self.settings.directory()?;
        Err(crate::waiter::Waiter::since(started, &self.settings, &directory, patience)
            .given_up(None))
    }
}

/// How long a dropped future waits until its ticket is gone.
const LEAVING: Duration = Duration::from_millis(100);
/// Enough for a waiter, which calls nothing deep but what it was given to tell.
const STACK: usize = 256 * 1024;
