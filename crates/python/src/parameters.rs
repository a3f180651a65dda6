//! Parameters from Python. An error names the parameter and what it may be.

use std::time::Duration;

use lockbydir::Patience;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

/// Converts a number of seconds to a duration.
pub(crate) fn seconds(seconds: f64, name: &str) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("{name} is a number of seconds from 0 on, not {seconds}"))
    })
}

/// Converts a number of seconds or a `timedelta` to a duration.
pub(crate) fn duration(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    seconds(number(value, name)?, name)
}

/// Converts a number of seconds or a `timedelta` to a number of seconds.
#[pyfunction(name = "seconds")]
pub(crate) fn number(value: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if is_number && !value.is_instance_of::<PyBool>() {
        // An int may be larger than any float.
        return Ok(value.extract().unwrap_or(f64::INFINITY));
    }
    let timedelta = value.py().import("datetime")?.getattr("timedelta")?;
    if value.is_instance(&timedelta)? {
        return value.call_method0("total_seconds")?.extract();
    }
    Err(wrong(value, name, "a number of seconds or a timedelta"))
}

/// Converts a patience in seconds; `None` and infinity mean for ever.
pub(crate) fn patience(seconds_or_none: Option<f64>) -> PyResult<Patience> {
    match seconds_or_none {
        None => Ok(Patience::FOREVER),
        Some(endless) if endless == f64::INFINITY => Ok(Patience::FOREVER),
        Some(number) => Ok(Patience::from(seconds(number, "patience")?)),
    }
}

/// Reads a key as text.
pub(crate) fn key(value: &Bound<'_, PyAny>) -> PyResult<String> {
    match value.is_instance_of::<PyString>() {
        true => Ok(value.extract().unwrap_or_else(|_| String::from("\u{fffd}"))),
        false => Err(wrong(value, "key", "a str, as Held.key")),
    }
}

/// Reads a bool.
pub(crate) fn yes_or_no(value: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    value.extract().map_err(|_| wrong(value, name, "a bool"))
}

fn wrong(value: &Bound<'_, PyAny>, name: &str, what: &str) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| String::new(), |kind| kind.to_string());
    let shown = value.repr().map_or_else(|_| String::new(), |shown| shown.to_string());
    PyTypeError::new_err(format!("{name} is {what}, not {kind}: {shown}"))
}
