//! Implements the `with` statement of a lock. It is native because Python handles signals at the
//! beginning of each Python function: a `KeyboardInterrupt` there, between the acquisition and the
//! block or before the release, would leave the lock held.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::{self, py_err};
use crate::held::Held;
use crate::lock::Lock;
use crate::parameters;

/// A lock that remembers what each thread holds by it: the base of the Python `Lock`.
#[pyclass(subclass, frozen, module = "lockbydir._native")]
pub(crate) struct With {
    lock: OnceLock<(Py<Lock>, lockbydir::Patience)>,
    /// A thread that holds it may acquire it again.
    is_reentrant: OnceLock<bool>,
    /// Locked only by a thread that has the interpreter and does not release it meanwhile, so that
    /// a fork by Python finds it unlocked.
    holdings: Mutex<Vec<Holding>>,
}

/// A lock that a thread has acquired and not yet released.
struct Holding {
    thread: Thread,
    way: Way,
    held: Py<Held>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By `acquire` or `try_acquire`; ended by `release`. One for each thread, if not reentrant.
    Call,
    /// By a `with` statement; ended by its end. After an expiry a thread may have several.
    With,
}

/// Identifies a thread, and shows whether it has ended.
#[derive(Clone)]
struct Thread(Weak<()>);

impl Thread {
    fn current() -> Thread {
        thread_local! {
            static ALIVE: Arc<()> = Arc::new(());
        }
        Thread(ALIVE.with(Arc::downgrade))
    }

    fn is(&self, other: &Thread) -> bool {
        self.0.ptr_eq(&other.0)
    }

    fn has_ended(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl With {
    fn holdings(&self) -> MutexGuard<'_, Vec<Holding>> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> PyResult<&(Py<Lock>, lockbydir::Patience)> {
        self.lock.get().ok_or_else(|| PyRuntimeError::new_err("Lock.__init__ was not called"))
    }

    fn wait(
        &self,
        py: Python<'_>,
        patience: Option<lockbydir::Patience>,
        way: Way,
    ) -> PyResult<Py<Held>> {
        let (lock, own) = self.lock()?;
        if let Some(held) = self.again(py, way)? {
            return Ok(held);
        }
        let patience = patience.unwrap_or(*own);
        if patience.duration().is_none() {
            self.check_for_deadlock(py)?;
        }
        let held = Py::new(py, lock.get().wait(py, patience)?)?;
        self.remember(py, &held, way);
        Ok(held)
    }

    /// Returns another part of the holding that this thread has, if the lock is reentrant and it has
    /// one.
    fn again(&self, py: Python<'_>, way: Way) -> PyResult<Option<Py<Held>>> {
        if self.is_reentrant.get() != Some(&true) {
            return Ok(None);
        }
        let again = self.own(py).iter().rev().find_map(|held| held.get().again(py));
        let Some(again) = again else { return Ok(None) };
        let held = Py::new(py, again)?;
        self.remember(py, &held, way);
        Ok(Some(held))
    }

    /// Returns what this thread has acquired by this object.
    fn own(&self, py: Python<'_>) -> Vec<Py<Held>> {
        let thread = Thread::current();
        let holdings = self.holdings();
        let own = holdings.iter().filter(|holding| holding.thread.is(&thread));
        own.map(|holding| holding.held.clone_ref(py)).collect()
    }

    /// Fails if this thread holds the lock itself, since it would then wait for itself for ever.
    fn check_for_deadlock(&self, py: Python<'_>) -> PyResult<()> {
        match self.own(py).iter().find(|held| held.get().is_held(py)) {
            Some(held) => Err(errors::deadlock(py, held.get().path(), "thread")),
            None => Ok(()),
        }
    }

    /// Drops holdings that this thread let expire and holdings of ended threads: each of them is
    /// over, since the lock was acquired anew. They are dropped after `holdings` is unlocked, since
    /// dropping one releases the interpreter.
    fn remember(&self, py: Python<'_>, held: &Py<Held>, way: Way) {
        let thread = Thread::current();
        let is_reentrant = self.is_reentrant.get() == Some(&true);
        let is_past = |holding: &mut Holding| {
            let is_replaced = way == Way::Call && holding.thread.is(&thread) && !is_reentrant;
            holding.way == Way::Call && (is_replaced || holding.thread.has_ended())
        };
        let mut holdings = self.holdings();
        let past: Vec<_> = holdings.extract_if(.., is_past).collect();
        holdings.push(Holding { thread, way, held: held.clone_ref(py) });
        drop(holdings);
        drop(past);
    }

    /// Takes out the last holding that this thread acquired in this way.
    fn take(&self, way: Way) -> Option<Holding> {
        let thread = Thread::current();
        let mut holdings = self.holdings();
        let is_own = |holding: &Holding| holding.way == way && holding.thread.is(&thread);
        let at = holdings.iter().rposition(is_own)?;
        Some(holdings.remove(at))
    }

    /// Returns the error of a `release` without a holding to release.
    fn not_held(&self, py: Python<'_>) -> PyErr {
        let thread = Thread::current();
        let (mut own, mut others) = (false, false);
        for holding in self.holdings().iter() {
            let is_own = holding.thread.is(&thread);
            own |= is_own && holding.way == Way::With;
            others |= !is_own;
        }
        let path = match self.lock() {
            Ok((lock, _)) => lock.get().path(py),
            Err(not_begun) => Err(not_begun),
        };
        let path = match path {
            Ok(path) => path,
            Err(error) => return error,
        };
        let advice = match (own, others) {
            (true, _) => {
                "; a `with` holds it, and releases it at its end: to release it sooner, use the `Held` that the `with` gives"
            }
            (false, true) => {
                "; another thread does, and releases it itself, or any thread by the `Held` that `acquire` returned"
            }
            (false, false) => "",
        };
        let said = format!(
            "cannot release {}: this Lock does not hold it in this thread{advice}",
            lockbydir::printable(&path)
        );
        errors::own(py, "NotHeld", &said, Some(&path), None)
    }
}

#[pymethods]
impl With {
    #[new]
    #[pyo3(signature = (*args, **options))]
    fn new(args: &Bound<'_, PyTuple>, options: Option<&Bound<'_, PyDict>>) -> With {
        let _ = (args, options); // For `__init__`.
        With { lock: OnceLock::new(), is_reentrant: OnceLock::new(), holdings: Mutex::default() }
    }

    /// Sets the lock and its patience; called once by `__init__`.
    fn _begin(&self, lock: Py<Lock>, patience: Option<f64>, reentrant: bool) -> PyResult<()> {
        let _ = self.is_reentrant.set(reentrant);
        self.lock
            .set((lock, parameters::patience(patience)?))
            .map_err(|_| PyRuntimeError::new_err("Lock.__init__ was called twice"))
    }

    /// Waits for the lock and remembers the holding. Uses the patience of the lock unless another
    /// is given.
    #[pyo3(signature = (*patience))]
    fn _acquire(&self, py: Python<'_>, patience: &Bound<'_, PyTuple>) -> PyResult<Py<Held>> {
        let patience = match patience.is_empty() {
            true => None,
            false => Some(parameters::patience(patience.get_item(0)?.extract()?)?),
        };
        self.wait(py, patience, Way::Call)
    }

    /// Tries once to acquire the lock, and remembers the holding.
    fn _try_acquire(&self, py: Python<'_>) -> PyResult<Option<Py<Held>>> {
        let (lock, _) = self.lock()?;
        if let Some(held) = self.again(py, Way::Call)? {
            return Ok(Some(held));
        }
        let Some(held) = lock.get().try_acquire(py)? else {
            return Ok(None);
        };
        let held = Py::new(py, held)?;
        self.remember(py, &held, Way::Call);
        Ok(Some(held))
    }

    /// Releases the last holding that this thread acquired, unless that was released otherwise. A
    /// holding whose release failed is still remembered.
    fn _release(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let Some(holding) = self.take(Way::Call) else {
                return Err(self.not_held(py));
            };
            if holding.held.get().has_ended(py) {
                continue;
            }
            let released = holding.held.get().let_go(py);
            if released.is_err() && !holding.held.get().has_ended(py) {
                self.holdings().push(holding);
            }
            return released.map_err(|error| py_err(py, &error));
        }
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<Held>> {
        self.wait(py, None, Way::With)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let holding = self.take(Way::With).or_else(|| {
            // A generator may leave the `with` in another thread than it entered it.
            let mut holdings = self.holdings();
            let at = holdings.iter().rposition(|holding| holding.way == Way::With)?;
            Some(holdings.remove(at))
        });
        match holding {
            Some(holding) => holding.held.get().__exit__(py, kind, error, traceback),
            None => Err(PyRuntimeError::new_err("this Lock was not entered by a `with`")),
        }
    }
}
