//! The boot clock, which nobody can set.

use std::time::Duration;

use rustix::time::clock_gettime;

use super::BOOT_CLOCK;

/// Returns the time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(BOOT_CLOCK);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
