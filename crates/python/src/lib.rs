//! The native part of the Python package `lockbydir`: the library's lock and guard. It releases the
//! interpreter wherever they touch a file system or wait. The public interface is in
//! `python/lockbydir`.

mod errors;
mod facts;
mod held;
mod held_all;
mod lock;
mod parameters;
mod signals;
mod with;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::py_err;

/// Returns true if the name is a URL and not a path.
#[pyfunction]
fn is_url(name: PathBuf) -> bool {
    lockbydir::engine::is_url(name)
}

/// Returns a number that identifies this process: unlike a PID, it differs from those of all
/// ancestors.
#[pyfunction]
fn fork_generation() -> u64 {
    lockbydir::engine::ForkGeneration::current().number()
}

/// Returns a name in a form that may be shown: a URL without user, password and query.
#[pyfunction]
fn shown(name: PathBuf) -> String {
    lockbydir::engine::shown(name)
}

/// Returns the status of the locks in this folder.
#[pyfunction]
fn list_locks<'py>(py: Python<'py>, folder: PathBuf) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let all = py.detach(|| lockbydir::list(folder)).map_err(|error| py_err(py, &error))?;
    all.iter().map(|status| facts::status(py, status)).collect()
}

/// Removes what crashed holders and waiters left in this folder, and returns the removed paths.
#[pyfunction]
fn clean(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<OsString>> {
    let removed = py.detach(|| lockbydir::clean(folder)).map_err(|error| py_err(py, &error))?;
    Ok(removed.into_iter().map(PathBuf::into_os_string).collect())
}

/// Releases, at the end of the program, what engines keep for later use.
#[pyfunction]
fn settle(py: Python<'_>) {
    #[cfg(feature = "etcd")]
    py.detach(|| lockbydir_etcd::settle(std::time::Duration::from_secs(1)));
    let _ = py;
}

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    #[cfg(feature = "etcd")]
    {
        lockbydir_etcd::on_warning(errors::warn);
        lockbydir_etcd::register(lockbydir_etcd::Access::from_env());
    }
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<lock::Lock>()?;
    module.add_class::<lock::Interrupt>()?;
    module.add_class::<held::Held>()?;
    module.add_class::<held_all::HeldAll>()?;
    module.add_class::<with::With>()?;
    module.add_function(wrap_pyfunction!(held_all::acquire_all, module)?)?;
    module.add_function(wrap_pyfunction!(parameters::number, module)?)?;
    module.add_function(wrap_pyfunction!(is_url, module)?)?;
    module.add_function(wrap_pyfunction!(fork_generation, module)?)?;
    module.add_function(wrap_pyfunction!(shown, module)?)?;
    module.add_function(wrap_pyfunction!(list_locks, module)?)?;
    module.add_function(wrap_pyfunction!(settle, module)?)?;
    module.add_function(wrap_pyfunction!(clean, module)?)
}
