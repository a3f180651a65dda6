//! The clock that processes of one machine share: what one of them notes, another can compare.

use std::time::Duration;

/// The time since this machine started; nobody sets that clock, and it runs in suspend.
#[cfg(target_os = "linux")]
pub(crate) fn clock() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The time since 1970.
#[cfg(not(target_os = "linux"))]
pub(crate) fn clock() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
