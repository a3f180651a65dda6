//! The only reader of clocks.

use std::time::{Duration, SystemTime};

use lockbydir_protocol::Now;
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Both clocks that the protocol wants.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { boot: boot(), wall }
}
