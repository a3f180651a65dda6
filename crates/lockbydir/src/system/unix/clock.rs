//! The clock that nobody sets.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Does it count from the kernel's boot? In a time namespace of its own it does not.
pub(crate) fn counts_from_boot(time_space: u32) -> bool {
    /// The number of the first time namespace, the same on every kernel.
    const FIRST: u32 = 0xEFFF_FFFA;
    time_space == FIRST
}
