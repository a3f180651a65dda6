//! Converts the observable facts of a lock to Python data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockbydir::{Holder, How, Predecessor, Status, Ticket};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// Returns the arguments of the Python class `Status`.
pub(crate) fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyDict>> {
    let queue: Vec<_> = status.queue.iter().map(|one| ticket(py, one)).collect::<PyResult<_>>()?;
    let facts = PyDict::new(py);
    facts.set_item("name", status.name.as_os_str())?;
    facts.set_item("path", status.path.as_os_str())?;
    facts.set_item("state", status.state.to_string())?;
    facts.set_item("is_locked", status.is_locked())?;
    facts.set_item("token", status.token)?;
    facts.set_item("timeout", seconds(status.timeout))?;
    facts.set_item("age", seconds(status.age))?;
    facts.set_item("remaining", seconds(status.remaining))?;
    facts.set_item("holder", status.holder.as_ref().map(|one| holder(py, one)).transpose()?)?;
    facts.set_item("queue", PyList::new(py, queue)?.to_tuple())?;
    facts.set_item("note", &status.note)?;
    Ok(facts)
}

/// Creates a Python `Holder`.
pub(crate) fn holder<'py>(py: Python<'py>, holder: &Holder) -> PyResult<Bound<'py, PyAny>> {
    let facts = PyDict::new(py);
    facts.set_item("host", &holder.host)?;
    facts.set_item("pid", holder.pid)?;
    facts.set_item("child", holder.child)?;
    facts.set_item("command", &holder.command)?;
    facts.set_item("label", &holder.label)?;
    facts.set_item("since", since_epoch(holder.since))?;
    make(py, "Holder", &facts)
}

/// Creates a Python `Predecessor`.
pub(crate) fn predecessor<'py>(
    py: Python<'py>,
    before: &Predecessor,
) -> PyResult<Bound<'py, PyAny>> {
    let facts = PyDict::new(py);
    facts.set_item("holder", before.holder.as_ref().map(|one| holder(py, one)).transpose()?)?;
    facts.set_item("token", before.token)?;
    facts.set_item("age", seconds(before.age))?;
    make(py, "Predecessor", &facts)
}

fn ticket<'py>(py: Python<'py>, ticket: &Ticket) -> PyResult<Bound<'py, PyAny>> {
    let facts = PyDict::new(py);
    facts.set_item("pid", ticket.pid)?;
    facts.set_item("host", &ticket.host)?;
    facts.set_item("command", &ticket.command)?;
    facts.set_item("label", &ticket.label)?;
    facts.set_item("waiting", ticket.waiting.as_secs_f64())?;
    make(py, "Ticket", &facts)
}

/// Creates an object without calling its `__init__`, for the same reason as exceptions, of which
/// holders are parts.
fn make<'py>(
    py: Python<'py>,
    class: &str,
    facts: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("lockbydir._facts")?.getattr(class)?;
    let made = class.call_method1("__new__", (&class,))?;
    made.getattr("__dict__")?.cast::<PyDict>()?.update(facts.as_mapping())?;
    Ok(made)
}

/// Returns how a lock was acquired, as text, and from whom.
pub(crate) fn how(how: &How) -> (&'static str, Option<&Predecessor>) {
    match how {
        How::HandedOver(before) => ("handed over", Some(before)),
        How::AfterExpiry(before) => ("after expiry", Some(before)),
        How::AfterDeath(before) => ("after death", Some(before)),
        _ => ("free", None),
    }
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
