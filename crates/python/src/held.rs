//! A holding, for as long as it lasts.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use lockbydir::engine::ForkGeneration;
use lockbydir::{Error, Guard};
use pyo3::prelude::*;

use crate::errors::{self, own, told};
use crate::{facts, parameters};

/// Proof of holding a lock; a context manager that releases it at its end.
///
/// Whoever drops the last reference to it releases the lock, too, with a ``ResourceWarning``: keep
/// it, and release it.
#[pyclass(frozen, module = "lockbydir")]
pub(crate) struct Held {
    /// Shared by those who ask, so that a renewal that hangs stops none of them.
    custody: RwLock<Custody>,
    /// Somebody tried to release it, and knows that the system refused.
    was_refused: AtomicBool,
    /// Whose it is. In a forked child the guard may be locked for ever, so it is not touched.
    made_in: ForkGeneration,
    token: u64,
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

    /// Takes the guard out; only the first time there is one.
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
            key: guard.key().to_string(),
            path: guard.path().as_os_str().to_owned(),
            how: guard.how().clone(),
            made_in: ForkGeneration::current(),
            custody: RwLock::new(Custody::Ours(guard)),
            was_refused: AtomicBool::new(false),
        }
    }

    fn is_a_parents(&self) -> bool {
        !self.made_in.is_current()
    }

    /// Asks the guard, with the interpreter let go of: its renewal may be under way.
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

    /// Was it released or handed over? In a forked child, what a parent holds was not.
    pub(crate) fn has_ended(&self, py: Python<'_>) -> bool {
        !self.is_a_parents() && self.ask(py, true, |_| false)
    }

    /// Lets go of the lock: after a failure it may be tried again, and once it is released nothing is
    /// done. In a forked child nothing is, either.
    pub(crate) fn let_go(&self, py: Python<'_>) -> Result<(), Error> {
        match self.is_a_parents() {
            true => Ok(()),
            false => py.detach(|| self.release_guard()),
        }
    }

    /// What the system refuses may be tried again, so the guard stays.
    fn release_guard(&self) -> Result<(), Error> {
        let released = self.custody().guard().map_or(Ok(()), Guard::release_by_ref);
        match &released {
            Err(error) if !error.is_lost() => self.was_refused.store(true, Ordering::Relaxed),
            _ => drop(self.end(Custody::Released)),
        }
        released
    }

    /// Why it can be used no more.
    fn over(&self, py: Python<'_>) -> PyErr {
        let path = lockbydir::printable(&self.path);
        if self.is_a_parents() {
            let said = format!("a forked child does not hold its parent's lock {path}");
            return own(py, "LockError", &said, Some(&self.path), None);
        }
        let said = format!("{path} is not held any more: it was released");
        errors::lost(py, &said, Some(&self.path), None, Some("released"))
    }

    /// At the end of a `with`: what came after a release was not under the lock.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let was_released = || matches!(*self.custody(), Custody::Released);
        if !self.is_a_parents() && py.detach(was_released) {
            let said = format!(
                "lost the lock {}: it was released before the end of its `with`, so the rest of the block did not run under it",
                lockbydir::printable(&self.path)
            );
            return Err(errors::lost(py, &said, Some(&self.path), None, Some("released")));
        }
        self.let_go(py).map_err(|error| told(py, &error))
    }
}

#[pymethods]
impl Held {
    /// The fencing token: larger than that of every holding before.
    #[getter]
    fn token(&self) -> u64 {
        self.token
    }

    /// What renews and releases this holding from anywhere.
    #[getter]
    fn key(&self) -> &str {
        &self.key
    }

    /// The lock directory.
    #[getter]
    pub(crate) fn path(&self) -> &OsStr {
        &self.path
    }

    /// How the lock was got: ``free``, ``handed over``, ``after expiry`` or ``after death``. After the
    /// last two the predecessor's work may be half done; one successor is told. A bare lock that was
    /// removed for its age is ``after expiry``, from an unknown holder who may work on.
    #[getter]
    fn how(&self) -> &'static str {
        facts::how(&self.how).0
    }

    /// Who held the lock before; ``None`` where there was nobody. Its ``holder`` is ``None`` for a bare lock.
    #[getter]
    fn predecessor<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        facts::how(&self.how).1.map(|before| facts::predecessor(py, before)).transpose()
    }

    /// How long the lock is still held for certain, in seconds, on a clock that runs in suspend. Zero
    /// when it is over or lost.
    #[getter]
    fn remaining(&self, py: Python<'_>) -> f64 {
        self.ask(py, 0.0, |guard| guard.remaining().as_secs_f64())
    }

    /// Is the lock still held, as far as its deadline tells? Reads a clock only.
    #[getter]
    pub(crate) fn is_held(&self, py: Python<'_>) -> bool {
        self.ask(py, false, Guard::is_held)
    }

    /// Renews the lock: its timeout counts anew. Succeeds even late, if nobody took the lock.
    ///
    /// :raises LockLost: when the lock is somebody else's or gone.
    /// :raises OSError: when the renewal failed and may be tried again.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        let renewed = self.ask(py, None, |guard| Some(guard.renew()));
        renewed.ok_or_else(|| self.over(py))?.map_err(|error| told(py, &error))
    }

    /// Gives the lock a new timeout, in seconds or as a ``timedelta``, counted from now.
    ///
    /// :raises LockLost: as `renew`.
    fn set_timeout(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = parameters::duration(timeout, "timeout")?;
        let renewed = self.ask(py, None, |guard| Some(guard.set_timeout(timeout)));
        renewed.ok_or_else(|| self.over(py))?.map_err(|error| told(py, &error))
    }

    /// Waits until the lock is known to be lost or about to be over; false when neither happened
    /// within so many seconds.
    fn wait_lost(&self, py: Python<'_>, up_to: &Bound<'_, PyAny>) -> PyResult<bool> {
        let up_to = parameters::duration(up_to, "up_to")?;
        // In pieces, so that signals are seen and a release is not kept waiting.
        let piece = Duration::from_millis(20);
        let mut left = up_to;
        loop {
            let is_lost = self.ask(py, true, |guard| guard.wait_lost(left.min(piece)));
            if is_lost || left <= piece {
                return Ok(is_lost);
            }
            left -= piece;
            py.check_signals()?;
        }
    }

    /// Hands the holding over: it is not released with this object any more, and the key that is
    /// returned renews and releases it from anywhere.
    fn keep(&self, py: Python<'_>) -> PyResult<String> {
        let kept = match self.is_a_parents() {
            true => None,
            false => py.detach(|| self.end(Custody::Kept).map(|guard| guard.keep().to_string())),
        };
        kept.ok_or_else(|| self.over(py))
    }

    /// Releases the lock; only the first time does anything.
    ///
    /// :raises LockLost: when it was not ours any more.
    /// :raises OSError: when the system refuses; then it may be tried again.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.let_go(py).map_err(|error| told(py, &error))
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
            // What went wrong under the lock matters more; the loss is noted on it.
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
            // The thread that renews may need the interpreter to tell of a loss.
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
