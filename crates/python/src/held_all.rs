//! Several holdings, acquired in one call.

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockbydir::engine::ForkGeneration;
use lockbydir::{Error, Guard, Guards};
use pyo3::prelude::*;

use crate::errors::{self, py_err};
use crate::held::wait_in_pieces;
use crate::lock::{Lock, wait_for_all};
use crate::parameters;

/// Proof of holding several locks; a context manager that releases them at its end.
///
/// Dropping the last reference also releases the locks, with a ``ResourceWarning``: keep the object,
/// and release it.
#[pyclass(frozen, module = "lockbydir")]
pub(crate) struct HeldAll {
    /// Locked only without the interpreter; taken out at the end.
    guards: Mutex<Option<Guards>>,
    /// The process that made it: in a forked child the guards are not touched.
    made_in: ForkGeneration,
    tokens: Vec<u64>,
    paths: Vec<OsString>,
}

/// Acquires all of these locks or none; with this patience, if one is given, in place of theirs.
#[pyfunction]
#[pyo3(signature = (locks, *patience))]
pub(crate) fn acquire_all(
    py: Python<'_>,
    locks: Vec<Py<Lock>>,
    patience: &Bound<'_, pyo3::types::PyTuple>,
) -> PyResult<HeldAll> {
    let patience = match patience.is_empty() {
        true => None,
        false => Some(parameters::patience(patience.get_item(0)?.extract()?)?),
    };
    let guards = wait_for_all(py, &locks, patience)?;
    Ok(HeldAll {
        tokens: guards.as_given().into_iter().map(Guard::token).collect(),
        paths: guards.as_given().iter().map(|guard| guard.path().as_os_str().into()).collect(),
        made_in: ForkGeneration::current(),
        guards: Mutex::new(Some(guards)),
    })
}

impl HeldAll {
    fn guards(&self) -> MutexGuard<'_, Option<Guards>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the guards with the interpreter released, since a renewal may be in progress.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        otherwise: T,
        ask: impl FnOnce(&Guards) -> T + Send,
    ) -> T {
        match self.made_in.is_current() {
            true => py.detach(|| self.guards().as_ref().map_or(otherwise, ask)),
            false => otherwise,
        }
    }

    fn let_go(&self, py: Python<'_>) -> Result<(), Error> {
        if !self.made_in.is_current() {
            return Ok(());
        }
        py.detach(|| {
            let guards = self.guards().take();
            guards.map_or(Ok(()), Guards::release)
        })
    }
}

#[pymethods]
impl HeldAll {
    /// The fencing tokens, in the order in which the locks were given.
    #[getter]
    fn tokens(&self) -> Vec<u64> {
        self.tokens.clone()
    }

    /// The lock directories, in the order in which the locks were given.
    #[getter]
    fn paths(&self) -> Vec<OsString> {
        self.paths.clone()
    }

    /// How long all locks are still held for certain, in seconds. Zero when one has expired or is lost.
    #[getter]
    fn remaining(&self, py: Python<'_>) -> f64 {
        self.ask(py, 0.0, |guards| guards.remaining().as_secs_f64())
    }

    /// Whether all locks are still held, judged by their deadlines.
    #[getter]
    fn is_held(&self, py: Python<'_>) -> bool {
        self.ask(py, false, Guards::is_held)
    }

    /// Renews all locks: their timeouts start anew.
    ///
    /// :raises LockLost: when one of them is another's or gone, or they were released.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        match self.ask(py, None, |guards| Some(guards.renew())) {
            Some(renewed) => renewed.map_err(|error| py_err(py, &error)),
            None => Err(errors::lost(
                py,
                "the locks are not held any more",
                None,
                None,
                Some("released"),
            )),
        }
    }

    /// Waits until one of the locks is known to be lost or is about to expire; returns false if none
    /// is within ``up_to`` seconds.
    fn wait_lost(&self, py: Python<'_>, up_to: &Bound<'_, PyAny>) -> PyResult<bool> {
        let up_to = parameters::duration(up_to, "up_to")?;
        wait_in_pieces(py, up_to, |piece| self.ask(py, true, |guards| guards.wait_lost(piece)))
    }

    /// Releases all locks, in the reverse of the order in which they were acquired; only the first
    /// call does anything.
    ///
    /// :raises LockLost: when one of them was already lost.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.let_go(py).map_err(|error| py_err(py, &error))
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (kind, error, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (kind, traceback);
        match self.release(py) {
            Err(why) if error.is_none() => Err(why),
            // The error of the block matters more.
            _ => Ok(false),
        }
    }

    fn __reduce_ex__(&self, protocol: i32) -> PyResult<()> {
        let _ = protocol;
        Err(pyo3::exceptions::PyTypeError::new_err("a HeldAll cannot be copied or pickled"))
    }
}

impl Drop for HeldAll {
    fn drop(&mut self) {
        let guards = self.guards.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(guards) = guards {
            let is_ours = self.made_in.is_current();
            Python::try_attach(|py| {
                // The interpreter is released, since the thread that renews may need it to report a loss.
                py.detach(|| drop(guards));
                if let Some(path) = self.paths.first().filter(|_| is_ours) {
                    errors::warn_of_unreleased(py, path);
                }
            });
        }
    }
}
