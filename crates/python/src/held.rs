//! A holding, while it lasts.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use lockbydir::engine::ForkGeneration;
use lockbydir::{Error, Guard};
use pyo3::prelude::*;

use crate::errors::{self, own, py_err};
use crate::{facts, parameters};

/// Proof of holding a lock; a context manager that releases the lock at its end.
///
/// Dropping the last reference also releases the lock, with a ``ResourceWarning``: keep the object,
/// and release it.
#[pyclass(frozen, module = "lockbydir")]
pub(crate) struct Held {
    /// A read-write lock, so that a renewal that hangs does not block other calls.
    custody: RwLock<Custody>,
    /// A release was tried and the system refused, so the caller knows that it is not released.
    was_refused: AtomicBool,
    /// The process that made it. In a forked child a mutex of the guard may stay locked for ever,
    /// so the guard is not touched.
    made_in: ForkGeneration,
    token: u64,
    slot: Option<u32>,
    key: String,
    path: OsString,
    how: lockbydir::How,
}

enum Custody {
    Ours(Guard),
    Released,
    /// Handed over by its key.
    Kept,
}

impl Custody {
    fn guard(&self) -> Option<&Guard> {
        match self {
            Custody::Ours(guard) => Some(guard),
            Custody::Released | Custody::Kept => None,
        }
    }

    /// Takes the guard out; returns it only the first time.
    fn end(&mut self, end: Custody) -> Option<Guard> {
        match std::mem::replace(self, Custody::Released) {
            Custody::Ours(guard) => {
                *self = end;
                Some(guard)
            }
            over => {
                *self = over;
                None
            }
        }
    }
}

impl Held {
    pub(crate) fn new(guard: Guard) -> Held {
        Held {
            token: guard.token(),
            slot: guard.slot(),
            key: guard.key().to_string(),
            path: guard.path().as_os_str().to_owned(),
            how: guard.how().clone(),
            made_in: ForkGeneration::current(),
            custody: RwLock::new(Custody::Ours(guard)),
            was_refused: AtomicBool::new(false),
        }
    }

    /// Returns another holder's part of the same holding, while it is held.
    pub(crate) fn again(&self, py: Python<'_>) -> Option<Held> {
        self.ask(py, None, Guard::again).map(Held::new)
    }

    fn is_a_parents(&self) -> bool {
        !self.made_in.is_current()
    }

    /// Calls the guard with the interpreter released, since its renewal may be in progress.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        otherwise: T,
        ask: impl FnOnce(&Guard) -> T + Send,
    ) -> T {
        if self.is_a_parents() {
            return otherwise;
        }
        py.detach(|| self.custody().guard().map_or(otherwise, ask))
    }

    fn custody(&self) -> RwLockReadGuard<'_, Custody> {
        self.custody.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: Custody) -> Option<Guard> {
        self.custody.write().unwrap_or_else(PoisonError::into_inner).end(end)
    }

    /// Whether it was released or handed over. In a forked child, a parent's holding was not.
    pub(crate) fn has_ended(&self, py: Python<'_>) -> bool {
        !self.is_a_parents() && self.ask(py, true, |_| false)
    }

    /// Releases the lock. After a failure it may be tried again; after a release, or in a forked
    /// child, it does nothing.
    pub(crate) fn let_go(&self, py: Python<'_>) -> Result<(), Error> {
        match self.is_a_parents() {
            true => Ok(()),
            false => py.detach(|| self.release_guard()),
        }
    }

    /// Releases the guard; if the system refuses, the guard stays, so that it may be tried again.
    fn release_guard(&self) -> Result<(), Error> {
        let released = self.custody().guard().map_or(Ok(()), Guard::release_by_ref);
        match &released {
            Err(error) if !error.is_lost() => self.was_refused.store(true, Ordering::Relaxed),
            _ => drop(self.end(Custody::Released)),
        }
        released
    }

    /// Returns the error for a holding that cannot be used any more.
    fn over(&self, py: Python<'_>) -> PyErr {
        let path = lockbydir::printable(&self.path);
        if self.is_a_parents() {
            let said = format!("a forked child does not hold its parent's lock {path}");
            return own(py, "LockError", &said, Some(&self.path), None);
        }
        let said = format!("{path} is not held any more: it was released");
        errors::lost(py, &said, Some(&self.path), None, Some("released"))
    }

    /// Releases the lock at the end of a `with`. If it was released before, the rest of the block
    /// was not under the lock, which is an error.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let was_released = || matches!(*self.custody(), Custody::Released);
        if !self.is_a_parents() && py.detach(was_released) {
            let said = format!(
                "lost the lock {}: it was released before the end of its `with`, so the rest of the block did not run under it",
                lockbydir::printable(&self.path)
            );
            return Err(errors::lost(py, &said, Some(&self.path), None, Some("released")));
        }
        self.let_go(py).map_err(|error| py_err(py, &error))
    }
}

/// Waits in pieces for a loss, so that signals are handled and a release is not delayed.
pub(crate) fn wait_in_pieces(
    py: Python<'_>,
    up_to: Duration,
    mut is_lost_within: impl FnMut(Duration) -> bool,
) -> PyResult<bool> {
    let piece = Duration::from_millis(20);
    let mut left = up_to;
    loop {
        let is_lost = is_lost_within(left.min(piece));
        if is_lost || left <= piece {
            return Ok(is_lost);
        }
        left -= piece;
        py.check_signals()?;
    }
}

#[pymethods]
impl Held {
    /// Returns another part of the same holding, while it is held.
    fn _again(&self, py: Python<'_>) -> Option<Held> {
        self.again(py)
    }

    /// The fencing token: larger than that of every holding before.
    #[getter]
    fn token(&self) -> u64 {
        self.token
    }

    /// The number of the slot, from 1 on; ``None`` unless it is one of a `Semaphore`.
    #[getter]
    fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// The key, which renews and releases this holding from anywhere.
    #[getter]
    fn key(&self) -> &str {
        &self.key
    }

    /// The lock directory.
    #[getter]
    pub(crate) fn path(&self) -> &OsStr {
        &self.path
    }

    /// How the lock was acquired: ``free``, ``handed over``, ``after expiry`` or ``after death``.
    /// After the last two the work of the predecessor may be half done; only one successor sees
    /// this. A bare lock that was removed for its age is ``after expiry``, from an unknown holder
    /// whose work may go on.
    #[getter]
    fn how(&self) -> &'static str {
        facts::how(&self.how).0
    }

    /// The previous holder; ``None`` if there was none. Its ``holder`` is ``None`` for a bare lock.
    #[getter]
    fn predecessor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        facts::how(&self.how).1.map(|before| facts::predecessor(py, before)).transpose()
    }

    /// How long the lock is still held for certain, in seconds, on a clock that runs during
    /// suspend. Zero when it has expired or is lost.
    #[getter]
    fn remaining(&self, py: Python<'_>) -> f64 {
        self.ask(py, 0.0, |guard| guard.remaining().as_secs_f64())
    }

    /// Whether the lock is still held, judged by its deadline. Only reads a clock.
    #[getter]
    pub(crate) fn is_held(&self, py: Python<'_>) -> bool {
        self.ask(py, false, Guard::is_held)
    }

    /// Renews the lock: its timeout starts anew. Succeeds even after the expiry, if nobody took the
    /// lock.
    ///
    /// :raises LockLost: when the lock is another's or gone.
    /// :raises OSError: when the renewal failed and may be tried again.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        let renewed = self.ask(py, None, |guard| Some(guard.renew()));
        renewed.ok_or_else(|| self.over(py))?.map_err(|error| py_err(py, &error))
    }

    /// Gives the lock a new timeout, in seconds or as a ``timedelta``, counted from now.
    ///
    /// :raises LockLost: as `renew`.
    fn set_timeout(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = parameters::duration(timeout, "timeout")?;
        let renewed = self.ask(py, None, |guard| Some(guard.set_timeout(timeout)));
        renewed.ok_or_else(|| self.over(py))?.map_err(|error| py_err(py, &error))
    }

    /// Waits until the lock is known to be lost or is about to expire; returns false if neither
    /// happened within ``up_to`` seconds.
    fn wait_lost(&self, py: Python<'_>, up_to: &Bound<'_, PyAny>) -> PyResult<bool> {
        let up_to = parameters::duration(up_to, "up_to")?;
        wait_in_pieces(py, up_to, |piece| self.ask(py, true, |guard| guard.wait_lost(piece)))
    }

    /// Hands the holding over: this object does not release it any more, and the returned key
    /// renews and releases it from anywhere.
    fn keep(&self, py: Python<'_>) -> PyResult<String> {
        let kept = match self.is_a_parents() {
            true => None,
            false => py.detach(|| self.end(Custody::Kept).map(|guard| guard.keep().to_string())),
        };
        kept.ok_or_else(|| self.over(py))
    }

    /// Releases the lock; only the first call does anything.
    ///
    /// :raises LockLost: when the lock was already lost.
    /// :raises OSError: when the system refuses; then it may be tried again.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.let_go(py).map_err(|error| py_err(py, &error))
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (kind, error, traceback))]
    pub(crate) fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (kind, traceback);
        match self.leave(py) {
            Ok(()) => Ok(false),
            Err(why) if error.is_none() => Err(why),
            // The error of the block matters more; the loss is noted on it.
            Err(why) => {
                if error.hasattr("add_note")? {
                    error.call_method1("add_note", (why.value(py).str()?,))?;
                }
                Ok(false)
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let path = lockbydir::printable(&self.path);
        match self.ask(py, Duration::ZERO, Guard::remaining) {
            Duration::ZERO => format!("<lockbydir.Held {path} token {}, over>", self.token),
            left => format!(
                "<lockbydir.Held {path} token {}, lasts {:.1} s more>",
                self.token,
                left.as_secs_f64()
            ),
        }
    }

    fn __reduce_ex__(&self, protocol: i32) -> PyResult<()> {
        let _ = protocol;
        Err(pyo3::exceptions::PyTypeError::new_err(
            "a Held cannot be copied or pickled: one process holds a lock once; hand over its `keep()`",
        ))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let custody = self.custody.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = custody.end(Custody::Released) {
            let is_forgotten = !self.is_a_parents() && !*self.was_refused.get_mut();
            let path = &self.path;
            // The interpreter is released, since the thread that renews may need it to report a
            // loss.
            let let_go = |guard| {
                Python::try_attach(|py| {
                    py.detach(|| drop(guard));
                    if is_forgotten {
                        errors::warn_of_unreleased(py, path);
                    }
                })
            };
            let_go(guard);
        }
    }
}
