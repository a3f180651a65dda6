//! The clock that nobody sets.

use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

/// Time since boot, sleep and hibernation included; it goes on in steps of up to 16 ms, the same for
/// all processes.
#[must_use]
pub fn since_boot() -> Duration {
    // SAFETY: it has no conditions.
    Duration::from_millis(unsafe { GetTickCount64() })
}
