//! Converts errors of the library to Python exceptions: our own exceptions where the lock is the
//! cause, `OSError` with its number and file name where the system is, `ValueError` where the
//! caller is.

use std::ffi::{CString, OsStr};
use std::path::Path;

use lockbydir::{Error, ErrorKind, LostReason};
#[cfg(feature = "etcd")]
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::exceptions::{PyOSError, PyResourceWarning, PyValueError};
use pyo3::prelude::*;

use crate::facts;

/// Not permitted: what the system returns for the directory of another user.
const EPERM: i32 = 1;
const EIO: i32 = 5;
/// Not supported: no lock is safe on that file system.
const ENOTSUP: i32 = if cfg!(target_os = "macos") { 45 } else { 95 };

/// Converts an error to the exception that Python raises.
pub(crate) fn py_err(py: Python<'_>, error: &Error) -> PyErr {
    let holder = match error.holder().map(|holder| facts::holder(py, holder)).transpose() {
        Ok(holder) => holder,
        Err(failed) => return failed,
    };
    let (said, path) = (error.to_string(), error.path().map(Path::as_os_str));
    let own = |class| own(py, class, &said, path, holder.clone());
    match error.kind() {
        ErrorKind::Usage => PyValueError::new_err(said),
        ErrorKind::PatienceOver => own("PatienceOver"),
        ErrorKind::Deadlock => own("WouldDeadlock"),
        ErrorKind::Lost => {
            let reason = error.lost_reason().and_then(|reason| match reason {
                LostReason::Gone => Some("gone"),
                LostReason::Taken => Some("taken"),
                LostReason::RenewalFailed => Some("renewal failed"),
                LostReason::Expired => Some("expired"),
                _ => None,
            });
            lost(py, &said, path, holder, reason)
        }
        ErrorKind::Foreign => own("ForeignLock"),
        ErrorKind::Unavailable => own("LockUnavailable"),
        ErrorKind::Interrupted => own("LockError"),
        ErrorKind::OtherUser => system(error, EPERM),
        ErrorKind::Unfit => system(error, ENOTSUP),
        _ => system(error, EIO),
    }
}

fn system(error: &Error, otherwise: i32) -> PyErr {
    let path = error.path().map(|path| path.as_os_str().to_owned());
    PyOSError::new_err((error.raw_os_error().unwrap_or(otherwise), error.to_string(), path))
}

/// Creates one of the exceptions that are defined in Python.
pub(crate) fn own(
    py: Python<'_>,
    class: &str,
    said: &str,
    path: Option<&OsStr>,
    holder: Option<Bound<'_, PyAny>>,
) -> PyErr {
    make(py, class, said, path, holder).map_or_else(|failed| failed, PyErr::from_value)
}

/// Creates a `LockLost` with a reason that programs can read.
pub(crate) fn lost(
    py: Python<'_>,
    said: &str,
    path: Option<&OsStr>,
    holder: Option<Bound<'_, PyAny>>,
    reason: Option<&str>,
) -> PyErr {
    let error = make(py, "LockLost", said, path, holder)
        .and_then(|error| error.setattr("reason", reason).map(|()| error));
    error.map_or_else(|failed| failed, PyErr::from_value)
}

/// Creates the error for a waiter, a thread or a task, that would wait for itself for ever.
pub(crate) fn deadlock(py: Python<'_>, path: &OsStr, waiter: &str) -> PyErr {
    let said = format!(
        "cannot acquire {}: this {waiter} holds it by the same Lock, which would wait for ever for itself; release it first, or give a patience",
        lockbydir::printable(path)
    );
    own(py, "WouldDeadlock", &said, Some(path), None)
}

/// Creates an exception without calling its `__init__`. That is Python code, and a finalizing
/// interpreter ends each daemon thread that enters Python code: by unwinding, which aborts the
/// process when it reaches functions of Rust.
fn make<'py>(
    py: Python<'py>,
    class: &str,
    said: &str,
    path: Option<&OsStr>,
    holder: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("lockbydir._errors")?.getattr(class)?;
    let error = class.call_method1("__new__", (&class,))?;
    error.setattr("args", (said,))?;
    error.setattr("path", path)?;
    error.setattr("holder", holder)?;
    Ok(error)
}

/// Warns of a holding that was collected before it was released.
pub(crate) fn warn_of_unreleased(py: Python<'_>, path: &OsStr) {
    // An error may be in progress, whose traceback held the last reference.
    let pending = PyErr::take(py);
    let said = format!(
        "the lock {} was released because nothing refers to its Held any more; keep the Held and release it, or use a `with`",
        lockbydir::printable(path)
    );
    let said = CString::new(said).unwrap_or_default();
    if let Err(raised) = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &said, 1) {
        raised.write_unraisable(py, None);
    }
    if let Some(error) = pending {
        error.restore(py);
    }
}

/// Issues a Python warning from any thread; the filters of Python decide how often it is shown.
#[cfg(feature = "etcd")]
pub(crate) fn warn(warning: &str) {
    // A finalizing interpreter gets no more warnings.
    Python::try_attach(|py| {
        let warned = py.import("warnings").and_then(|warnings| {
            warnings.call_method1("warn", (warning, py.get_type::<PyRuntimeWarning>()))
        });
        // If warnings are errors, there is no caller to raise them in.
        let _ = warned;
    });
}
