//! Handles on Windows.

use std::os::windows::io::{AsHandle, AsRawHandle};

/// Whether this program had no standard output when it started.
pub(crate) fn is_stdout_closed() -> bool {
    std::io::stdout().as_raw_handle().is_null()
}

/// Whether it takes a short text without blocking. Windows cannot be asked, so the answer is no.
pub(crate) fn is_writable(_: &impl AsHandle) -> bool {
    false
}
