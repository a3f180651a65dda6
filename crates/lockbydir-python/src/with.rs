//! What a `with` statement does to a lock. It is native because Python looks for signals at the
//! beginning of each function of its own: a `KeyboardInterrupt` there, between the acquisition and
//! the block or before the release, would leave the lock held.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::given;
use crate::held::Held;
use crate::lock::Lock;

/// A lock that remembers what it holds: the base of Python's `Lock`.
#[pyclass(subclass, frozen, module = "lockbydir._native")]
pub(crate) struct With {
    lock: OnceLock<(Py<Lock>, lockbydir::Patience)>,
    /// Locked only by who has the interpreter and does not let go of it: so a fork by Python finds
    /// it free.
    holds: Mutex<Holds>,
}

#[derive(Default)]
struct Holds {
    /// What was acquired last.
    last: Option<Py<Held>>,
    /// What each thread's `with` statements have acquired. After a lapse there may be several.
    with: Vec<(ThreadId, Py<Held>)>,
}

impl With {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, py: Python<'_>, patience: Option<lockbydir::Patience>) -> PyResult<Py<Held>> {
        let Some((lock, own)) = self.lock.get() else {
            return Err(PyRuntimeError::new_err("Lock.__init__ was not called"));
        };
        let held = lock.get().wait(py, patience.unwrap_or(*own))?;
        Py::new(py, held)
    }

    /// The one before may be the last reference to what lapsed; its end lets go of the interpreter.
    fn remember(&self, py: Python<'_>, held: &Py<Held>) {
        let before = self.holds().last.replace(held.clone_ref(py));
        drop(before);
    }
}

#[pymethods]
impl With {
    #[new]
    #[pyo3(signature = (*args, **options))]
    fn new(args: &Bound<'_, PyTuple>, options: Option<&Bound<'_, PyDict>>) -> With {
        let _ = (args, options); // For `__init__`.
        With { lock: OnceLock::new(), holds: Mutex::default() }
    }

    /// Which lock this is.
    fn _begin(&self, lock: Py<Lock>, patience: Option<f64>) -> PyResult<()> {
        self.lock
            .set((lock, given::patience(patience)?))
            .map_err(|_| PyRuntimeError::new_err("Lock.__init__ was called twice"))
    }

    /// Waits and remembers; with the lock's own patience unless another one is given.
    #[pyo3(signature = (*patience))]
    fn _acquire(&self, py: Python<'_>, patience: &Bound<'_, PyTuple>) -> PyResult<Py<Held>> {
        let patience = match patience.is_empty() {
            true => None,
            false => Some(given::patience(patience.get_item(0)?.extract()?)?),
        };
        let held = self.wait(py, patience)?;
        self.remember(py, &held);
        Ok(held)
    }

    /// Remembers what was acquired otherwise.
    fn _remember(&self, py: Python<'_>, held: Py<Held>) {
        self.remember(py, &held);
    }

    /// What was acquired last; forgets it.
    fn _forget(&self) -> Option<Py<Held>> {
        self.holds().last.take()
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<Held>> {
        let held = self.wait(py, None)?;
        self.holds().with.push((thread::current().id(), held.clone_ref(py)));
        self.remember(py, &held);
        Ok(held)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let thread = thread::current().id();
        let (held, last) = {
            let mut holds = self.holds();
            // A generator may leave in another thread than it entered.
            let own = holds.with.iter().rposition(|(entered, _)| *entered == thread);
            let at = own.or(holds.with.len().checked_sub(1));
            let held = at.map(|at| holds.with.remove(at).1);
            let is_last = |last: &mut Py<Held>| held.as_ref().is_some_and(|held| held.is(&*last));
            let last = holds.last.take_if(is_last);
            (held, last)
        };
        drop(last);
        match held {
            Some(held) => held.get().__exit__(py, kind, error, traceback),
            None => Err(PyRuntimeError::new_err("this Lock was not entered by a `with`")),
        }
    }
}
