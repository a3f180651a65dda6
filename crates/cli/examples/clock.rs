//! A clock that all processes of one machine share, so that their times can be compared.

use std::time::Duration;

/// Returns the time since this machine started; nobody can set that clock, and it runs during
/// suspend.
#[cfg(target_os = "linux")]
pub(crate) fn clock() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns the time since 1970.
#[cfg(not(target_os = "linux"))]
pub(crate) fn clock() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
