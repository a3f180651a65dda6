//! The only reader of clocks.

use std::time::{Duration, SystemTime};

use lockbydir_protocol::{Now, Stamp};
use rustix::time::{ClockId, clock_gettime};

use crate::{process, testing};

/// Time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn boot() -> Duration {
    if let Some(world) = testing::world() {
        return world.now().boot;
    }
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Both clocks that the protocol wants.
pub(crate) fn now() -> Now {
    if let Some(world) = testing::world() {
        return world.now();
    }
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { boot: boot(), wall }
}

/// When this kernel was booted, by the wall clock; none inside a time namespace, whose boot clock
/// counts from another moment.
pub(crate) fn booted() -> Option<Stamp> {
    /// The number of the first time namespace, the same on every kernel.
    const FIRST: u32 = 0xEFFF_FFFA;
    let now = now();
    let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(0);
    (process::here().0.time == FIRST).then(|| Stamp(nanos(now.wall) - nanos(now.boot)))
}
