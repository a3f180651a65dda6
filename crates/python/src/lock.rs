//! A lock with its options, and waiting for it.

use std::cell::Cell;
use std::ffi::OsString;
use std::mem::forget;
use std::path::PathBuf;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Instant;

use lockbydir::engine::ForkGeneration;
use lockbydir::{Broken, Error, ErrorKind, Guard, Guards, Key, Owner, Patience, acquire_all};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::py_err;
use crate::facts;
use crate::held::Held;
use crate::parameters::{self, seconds};
use crate::signals::Signals;

/// Interrupts waits from another thread.
#[pyclass(frozen, module = "lockbydir._native")]
pub(crate) struct Interrupt(lockbydir::Interrupt);

#[pymethods]
impl Interrupt {
    #[new]
    fn new() -> Interrupt {
        Interrupt(lockbydir::Interrupt::new())
    }

    fn set(&self) {
        self.0.raise();
    }
}

/// A lock by its name.
#[pyclass(frozen, module = "lockbydir._native")]
pub(crate) struct Lock {
    lock: lockbydir::Lock,
    /// The same lock with an interrupt that is raised, so it never pauses.
    at_once: lockbydir::Lock,
    /// The number of its slots, if it is a semaphore.
    slots: Option<u32>,
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (
        name, *, timeout, patience, label, fenced, linger, mode, group, renews, on_lost, owner, poll_interval, at_least, slots
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python gives them by name")]
    fn new(
        name: PathBuf,
        timeout: Option<f64>,
        patience: Option<f64>,
        label: String,
        fenced: bool,
        linger: f64,
        mode: u32,
        group: Option<u32>,
        renews: Option<bool>,
        on_lost: Option<Py<PyAny>>,
        owner: Option<u32>,
        poll_interval: Option<f64>,
        at_least: f64,
        slots: Option<u32>,
    ) -> PyResult<Lock> {
        let mut lock = lockbydir::Lock::new(name)
            .patience(parameters::patience(patience)?)
            .label(label)
            .fenced(fenced)
            .linger(seconds(linger, "linger")?)
            .at_least(seconds(at_least, "at_least")?)
            .mode(mode);
        if let Some(timeout) = timeout {
            lock = lock.timeout(seconds(timeout, "timeout")?);
        }
        if let Some(renews) = renews {
            lock = lock.renew_automatically(renews);
        }
        if let Some(group) = group {
            lock = lock.group(group);
        }
        if let Some(poll_interval) = poll_interval {
            lock = lock.poll_interval(seconds(poll_interval, "the time between two looks")?);
        }
        lock = lock.owner(match owner {
            None => Owner::ThisProcess,
            Some(0) => Owner::Nobody,
            Some(pid) => Owner::Process(pid),
        });
        if let Some(on_lost) = on_lost {
            lock = lock.on_lost(move |error| call_back(&on_lost, error));
        }
        lock.path().map_err(|error| Python::attach(|py| py_err(py, &error)))?;
        let raised = lockbydir::Interrupt::new();
        raised.raise();
        let at_once = lock.clone().interrupt(raised);
        Ok(Lock { lock, at_once, slots })
    }

    #[getter]
    pub(crate) fn path(&self, py: Python<'_>) -> PyResult<OsString> {
        self.lock.path().map(PathBuf::into_os_string).map_err(|error| py_err(py, &error))
    }

    /// Waits in the calling thread; if that is the main thread, another thread waits for it.
    fn acquire(&self, py: Python<'_>, patience: Option<f64>) -> PyResult<Held> {
        self.wait(py, parameters::patience(patience)?)
    }

    /// Like `acquire`, until the interrupt is set.
    fn acquire_unless(
        &self,
        py: Python<'_>,
        patience: Option<f64>,
        interrupt: &Interrupt,
    ) -> PyResult<Held> {
        let lock = self.lock.clone().patience(parameters::patience(patience)?);
        let lock = lock.interrupt(interrupt.0.clone());
        py.detach(|| acquire(&lock, self.slots)).map(Held::new).map_err(|error| py_err(py, &error))
    }

    pub(crate) fn try_acquire(&self, py: Python<'_>) -> PyResult<Option<Held>> {
        let got = py.detach(|| match self.slots {
            None => self.lock.try_acquire(),
            Some(slots) => self.lock.clone().slots(slots).try_acquire(),
        });
        got.map(|got| got.map(Held::new)).map_err(|error| py_err(py, &error))
    }

    fn is_locked(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.lock.is_locked()).map_err(|error| py_err(py, &error))
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = py.detach(|| self.lock.status()).map_err(|error| py_err(py, &error))?;
        facts::status(py, &status)
    }

    /// Returns true if a holding was ended; false if there was none, or its holder lives.
    fn break_lock(&self, py: Python<'_>, by_force: &Bound<'_, PyAny>) -> PyResult<bool> {
        let by_force = parameters::yes_or_no(by_force, "force")?;
        let broken = py.detach(|| match by_force {
            true => self.lock.break_by_force(),
            false => self.lock.break_stale(),
        });
        broken
            .map(|broken| matches!(broken, Broken::Removed(_)))
            .map_err(|error| py_err(py, &error))
    }

    fn renew(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.by_key(py, key, lockbydir::Lock::renew)
    }

    fn release(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.by_key(py, key, lockbydir::Lock::release)
    }
}

impl Lock {
    fn by_key(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        verb: fn(&lockbydir::Lock, &Key) -> Result<(), Error>,
    ) -> PyResult<()> {
        let key = parameters::key(key)?;
        let done = py.detach(|| verb(&self.lock, &key.parse()?));
        done.map_err(|error| py_err(py, &error))
    }

    /// Tries once, and does not pause where others wait for a lock that is free, as `try_acquire` does.
    fn try_at_once(&self, py: Python<'_>) -> PyResult<Option<Held>> {
        match py.detach(|| self.at_once.try_acquire()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            got => got.map(|got| got.map(Held::new)).map_err(|error| py_err(py, &error)),
        }
    }

    /// Waits in the calling thread. Only the main thread receives signals: it makes one attempt,
    /// and then another thread waits in its place. For a URL even one attempt may take long, so the
    /// other thread waits from the start.
    pub(crate) fn wait(&self, py: Python<'_>, patience: Patience) -> PyResult<Held> {
        let begun = Instant::now();
        let is_far = lockbydir::engine::is_url(self.lock.name());
        let is_main = is_main(py)?;
        if is_main
            && !is_far
            && self.slots.is_none()
            && let Some(held) = self.try_at_once(py)?
        {
            return Ok(held);
        }
        loop {
            let rest = match patience.duration() {
                None => Patience::FOREVER,
                Some(all) => Patience::from(all.saturating_sub(begun.elapsed())),
            };
            let lock = self.lock.clone().patience(rest);
            let slots = self.slots;
            let signals = if is_main { Signals::catch(py)? } else { None };
            let got = match signals {
                None => Some(py.detach(|| acquire(&lock, slots))),
                Some(signals) => {
                    let wait = move |interrupt| acquire(&lock.interrupt(interrupt), slots);
                    wait_as_main(py, wait, &signals, Guard::end_at_once)?
                }
            };
            if let Some(got) = got {
                return got.map(Held::new).map_err(|error| py_err(py, &error));
            }
        }
    }
}

/// Waits for the lock, or for one of its slots.
fn acquire(lock: &lockbydir::Lock, slots: Option<u32>) -> Result<Guard, Error> {
    match slots {
        None => lock.acquire(),
        Some(slots) => lock.clone().slots(slots).acquire(),
    }
}

/// Waits for all locks, with one patience if one is given.
pub(crate) fn wait_for_all(
    py: Python<'_>,
    locks: &[Py<Lock>],
    patience: Option<Patience>,
) -> PyResult<Guards> {
    let is_main = is_main(py)?;
    loop {
        let locks: Vec<_> = locks.iter().map(|lock| lock.get().lock.clone()).collect();
        let locks = locks.into_iter().map(move |lock| match patience {
            Some(patience) => lock.patience(patience),
            None => lock,
        });
        let signals = if is_main { Signals::catch(py)? } else { None };
        let got = match signals {
            None => Some(py.detach(|| acquire_all(locks))),
            Some(signals) => {
                let wait = move |interrupt: lockbydir::Interrupt| {
                    acquire_all(locks.map(move |lock| lock.interrupt(interrupt.clone())))
                };
                wait_as_main(py, wait, &signals, Guards::end_at_once)?
            }
        };
        if let Some(got) = got {
            return got.map_err(|error| py_err(py, &error));
        }
    }
}

/// Waits on another thread, while this one handles signals. Returns `None` in a child that the
/// handler of a signal has forked: there is no other thread in it.
fn wait_as_main<T: Send + 'static>(
    py: Python<'_>,
    wait: impl FnOnce(lockbydir::Interrupt) -> Result<T, Error> + Send + 'static,
    signals: &Signals<'_>,
    end_at_once: fn(&T),
) -> PyResult<Option<Result<T, Error>>> {
    let interrupt = lockbydir::Interrupt::new();
    let own = interrupt.clone();
    let (sender, receiver) = channel();
    let wake_main = signals.wake_main();
    let waiter = thread::Builder::new().name("lockbydir-wait".into()).spawn(move || {
        // Dropped last: the main thread wakes up when the result is there.
        let _wake_main = wake_main;
        let sender = sender;
        let _ = sender.send(wait(own));
    })?;
    let got = loop {
        match receiver.try_recv() {
            Ok(got) => break Ok(Some(got)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                break Err(PyRuntimeError::new_err("the thread that waited is gone"));
            }
        }
        let handled = signals.sleep();
        if !signals.is_of_this_process() {
            // What the other thread may have locked stays locked here, so it is not even dropped.
            forget((waiter, receiver, interrupt));
            return handled.map(|()| None);
        }
        if let Err(raised) = handled {
            interrupt.raise();
            // A lock acquired at the last moment is released again.
            py.detach(move || {
                let _ = receiver.recv().map(|got| got.map(|guard| end_at_once(&guard)));
            });
            break Err(raised);
        }
    };
    let _ = py.detach(|| waiter.join());
    got
}

/// Returns true on the thread that receives signals, the main one. Cached for each thread, and
/// determined anew after a fork, which makes the forking thread the main one.
fn is_main(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        static KNOWN: Cell<Option<(ForkGeneration, bool)>> = const { Cell::new(None) };
    }
    match KNOWN.get() {
        Some((found_in, is_main)) if found_in.is_current() => Ok(is_main),
        _ => {
            let threading = py.import("threading")?;
            let main = threading.call_method0("main_thread")?.getattr("ident")?;
            let is_main = main.eq(threading.call_method0("get_ident")?)?;
            KNOWN.set(Some((ForkGeneration::current(), is_main)));
            Ok(is_main)
        }
    }
}

/// Calls the `on_lost` of Python with a loss, unless the interpreter is finalizing. A finalizing
/// interpreter ends each thread that returns to Python code; neither a thread of the library nor
/// the process would survive that, so a thread of Python makes the call.
fn call_back(on_lost: &Py<PyAny>, error: &Error) {
    debug_assert_eq!(error.kind(), ErrorKind::Lost);
    Python::try_attach(|py| {
        let error = py_err(py, error).into_value(py);
        let begun = py
            .import("_thread")
            .and_then(|thread| thread.call_method1("start_new_thread", (on_lost, (error,))));
        if let Err(raised) = begun {
            raised.write_unraisable(py, Some(on_lost.bind(py)));
        }
    });
}
