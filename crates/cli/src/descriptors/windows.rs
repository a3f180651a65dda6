//! Handles on Windows.

use std::os::windows::io::{AsHandle, AsRawHandle};

/// Had this program no standard output when it started?
pub(crate) fn is_stdout_closed() -> bool {
    std::io::stdout().as_raw_handle().is_null()
}

/// Does it take a short text at once? Here that cannot be asked.
pub(crate) fn is_writable(_: &impl AsHandle) -> bool {
    false
}
