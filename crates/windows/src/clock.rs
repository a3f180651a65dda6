//! The clock that no program can set.

use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

/// Returns the time since boot, including sleep and hibernation. It advances in steps of up to 16 ms, the
/// same for all processes.
#[must_use]
pub fn since_boot() -> Duration {
    // SAFETY: the call has no preconditions.
    Duration::from_millis(unsafe { GetTickCount64() })
}
