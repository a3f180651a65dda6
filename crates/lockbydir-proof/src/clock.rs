//! The one clock of all histories: nanoseconds since boot, suspend included.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`, the same for all processes of a host.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Waits for a moment of [`now`] without sleeping, letting others run meanwhile.
pub fn spin_until(moment: u64) {
    while now() < moment {
        std::thread::yield_now();
    }
}
