//! The library's errors as Python's: exceptions of our own where a lock is the reason, `OSError`
//! with its number and file where the system is, `ValueError` where the caller is.

use std::ffi::OsStr;
use std::path::Path;

use lockbydir::{Error, ErrorKind};
#[cfg(feature = "etcd")]
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::facts;

/// Not permitted: what the system would say of another user's directory.
const EPERM: i32 = 1;
const EIO: i32 = 5;
/// Not supported: no lock is safe on that file system.
const ENOTSUP: i32 = if cfg!(target_os = "macos") { 45 } else { 95 };

/// This error, as Python raises it.
pub(crate) fn told(py: Python<'_>, error: &Error) -> PyErr {
    let own = |class: &str| {
        let holder = error.holder().map(|holder| facts::holder(py, holder)).transpose();
        holder.map_or_else(
            |failed| failed,
            |holder| own(py, class, &error.to_string(), error.path().map(Path::as_os_str), holder),
        )
    };
    match error.kind() {
        ErrorKind::Usage => PyValueError::new_err(error.to_string()),
        ErrorKind::PatienceOver => own("PatienceOver"),
        ErrorKind::Lost => own("LockLost"),
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

/// One of the exceptions that Python code defines.
pub(crate) fn own(
    py: Python<'_>,
    class: &str,
    said: &str,
    path: Option<&OsStr>,
    holder: Option<Bound<'_, PyAny>>,
) -> PyErr {
    py.import("lockbydir._errors")
        .and_then(|errors| errors.getattr(class))
        .and_then(|class| class.call1((said, path, holder)))
        .map_or_else(|failed| failed, PyErr::from_value)
}

/// Warns as Python does, from any thread; said once by Python's own rules.
#[cfg(feature = "etcd")]
pub(crate) fn warn(warning: &str) {
    // An interpreter that is ending is not told any more.
    Python::try_attach(|py| {
        let warned = py.import("warnings").and_then(|warnings| {
            warnings.call_method1("warn", (warning, py.get_type::<PyRuntimeWarning>()))
        });
        // Where warnings are errors, there is nobody here to raise them to.
        let _ = warned;
    });
}
