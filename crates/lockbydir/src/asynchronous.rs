//! Waiting in async code. Tasks queue with the other threads and tasks of their process. For the
//! task whose turn it is, a separate thread waits in the queue beside the lock directory, so that
//! no thread of the async runtime ever waits for the file system.

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::engine::{Engine, Wait};
use crate::error::Error;
use crate::guard::{self, Guard};
use crate::interrupt::Interrupt;
use crate::local_queue::LocalWaiter;
use crate::lock::Lock;
use crate::os::clock;
use crate::os::fork_local::ForkGeneration;
use crate::reentrant;
use crate::status::printable;
use crate::waiter::Canceller;
use crate::waiting::Patience;

/// What the future and its thread share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a try ends, and when the thread has left the queue.
    changed: Condvar,
    interrupt: Interrupt,
}

#[derive(Default)]
struct State {
    /// The future was dropped: there must be no further try.
    is_cancelled: bool,
    is_trying: bool,
    /// The thread has left the queue.
    has_ended: bool,
    result: Option<Result<Guard, Error>>,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the wait for a future that is dropped. Returns a lock that was acquired but not yet
    /// returned, when no try is in progress and the thread has left the queue, or is slow to.
    fn cancel(&self) -> Option<Result<Guard, Error>> {
        self.interrupt.raise();
        let mut state = self.lock();
        state.is_cancelled = true;
        let state = self.changed.wait_while(state, |state| state.is_trying);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let is_in_queue = |state: &mut State| !state.has_ended;
        let left = self.changed.wait_timeout_while(state, LEAVE_TIMEOUT, is_in_queue);
        left.unwrap_or_else(PoisonError::into_inner).0.result.take()
    }
}

impl Canceller for Shared {
    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    fn end_try(&self) {
        self.lock().is_trying = false;
        self.changed.notify_all();
    }

    fn begin_try(&self) -> bool {
        let mut state = self.lock();
        state.is_trying = !state.is_cancelled;
        state.is_trying
    }
}

/// Ends the thread's part with this result, also if the thread panics: nobody may wait for it then.
struct EndOnDrop<'a> {
    shared: &'a Shared,
    result: Option<Result<Guard, Error>>,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        (state.is_trying, state.has_ended) = (false, true);
        state.result = self.result.take();
        let waker = state.waker.take();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Cancels the wait if the future is dropped before it completes.
struct CancelOnDrop {
    shared: Arc<Shared>,
    made_in: ForkGeneration,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // A forked child has no waiting thread, and its copy of the mutex may stay locked forever.
        if self.made_in.is_current() {
            drop(self.shared.cancel());
        }
    }
}

impl Lock {
    /// Returns the lock with what is left of its patience in a wait that began at this time of the
    /// boot clock.
    pub(crate) fn remaining_since(&self, started: Duration) -> Lock {
        let waited = clock::boot().saturating_sub(started);
        let rest = self.settings.patience.duration().map(|all| all.saturating_sub(waited));
        self.clone().patience(rest)
    }

    /// Acquires the lock like [`acquire`](Lock::acquire), in async code on tokio (feature `tokio`).
    ///
    /// Dropping the future ends the wait: its ticket leaves the queue, and the lock is not taken
    /// afterwards. If a try is in progress at that moment, the drop waits for that one try; it
    /// waits up to 0.1 s for the ticket to be removed.
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
        self.acquire_by_task(false).await
    }

    /// Waits for the lock like [`acquire_shared`](Lock::acquire_shared), in async code on tokio
    /// (feature `tokio`), in the way of [`acquire_async`](Lock::acquire_async).
    ///
    /// # Errors
    /// As for [`acquire_shared`](Lock::acquire_shared).
    pub async fn acquire_shared_async(&self) -> Result<Guard, Error> {
        self.acquire_by_task(true).await
    }

    async fn acquire_by_task(&self, shared: bool) -> Result<Guard, Error> {
        let engine = self.engine_for(shared)?;
        if !self.settings.reentrant {
            return Ok(self.wait_as_task(engine, shared).await?.handed_over(&self.settings));
        }
        if let Some(guard) = reentrant::again(engine.path(), shared)? {
            return Ok(guard);
        }
        let guard = self.wait_as_task(engine, shared).await?.handed_over(&self.settings);
        guard.remember();
        Ok(guard)
    }

    async fn wait_as_task(&self, engine: Arc<dyn Engine>, shared: bool) -> Result<Guard, Error> {
        self.settings.checked_timeout()?;
        let started = clock::boot();
        let rest = || {
            let all = self.settings.patience.duration();
            all.map(|all| all.saturating_sub(clock::boot().saturating_sub(started)))
        };
        let made_in = ForkGeneration::current();
        let path = engine.path().to_owned();
        let check_process = || match made_in.is_current() {
            true => Ok(()),
            false => Err(forked(&path)),
        };
        let local_waiter = LocalWaiter::take_for_task(&path);
        let turn = poll_fn(|context| {
            check_process()?;
            local_waiter.set_waker(context.waker());
            if local_waiter.is_called() { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        match rest() {
            // Tokio's clock stops during suspend; the wait is then longer, never shorter.
            Some(rest) => {
                let Ok(turn) = tokio::time::timeout(rest, turn).await else {
                    drop(local_waiter);
                    return Err(self.given_up(&*engine, started));
                };
                turn?;
            }
            None => turn.await?,
        }

        let cancel_on_drop = CancelOnDrop { shared: Arc::default(), made_in };
        let state = cancel_on_drop.shared.clone();
        let lock = self.clone().patience(rest().map_or(Patience::FOREVER, Patience::from));
        let wait_in_queue = move || {
            let mut ended = EndOnDrop { shared: &state, result: None };
            if state.begin_try() {
                ended.result = Some(lock.wait_for_task(engine, shared, local_waiter, &state));
            }
        };
        thread::Builder::new()
            .name("lockbydir-waiter".into())
            .stack_size(STACK)
            .spawn(wait_in_queue)
            .map_err(|source| Error::io("wait for", &path, source))?;
        poll_fn(|context| {
            check_process()?;
            let mut state = cancel_on_drop.shared.lock();
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

    /// Waits in the calling thread for a task whose turn it is; dropping `local_waiter` passes the
    /// turn to the next one.
    fn wait_for_task(
        &self,
        engine: Arc<dyn Engine>,
        shared: bool,
        local_waiter: LocalWaiter,
        canceller: &Shared,
    ) -> Result<Guard, Error> {
        let settings = &self.settings;
        let request = settings.acquire_request(shared)?;
        let mut wait = Wait::since(clock::boot(), settings.patience, settings, Some(canceller));
        let (holding, how) = engine.acquire(request, &mut wait)?;
        drop(wait);
        drop(local_waiter);
        guard::hold(settings, engine, holding, how)
    }

    /// Returns the error of a wait that ended before its turn.
    fn given_up(&self, engine: &dyn Engine, started: Duration) -> Error {
        let wait = Wait::since(started, Patience::NONE, &self.settings, None);
        wait.given_up(engine.path(), &engine.glance())
    }
}

/// Returns the error for a forked child, which has a copy of its parent's wait but no thread that
/// continues it.
fn forked(path: &Path) -> Error {
    let path = printable(path);
    Error::usage(format!(
        "a forked child cannot go on with its parent's wait for {path}; start it anew"
    ))
}

/// How long a dropped future waits for its ticket to be removed.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(100);
/// Stack size of the waiting thread, in bytes. Enough for a waiter, which calls nothing deep except
/// the callbacks of the program.
const STACK: usize = 256 * 1024;
