//! The only reader of clocks.

use std::time::{Duration, SystemTime};

use lockbydir_protocol::{Now, Stamp};

use crate::os;
use crate::os::{process, simulated};

/// Time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn boot() -> Duration {
    match simulated::world() {
        Some(world) => world.now().boot,
        None => os::since_boot(),
    }
}

/// The same of the system itself, also within a test's world: for those who meet others outside of it.
pub(crate) fn real_boot() -> Duration {
    os::since_boot()
}

/// Both clocks that the protocol wants.
pub(crate) fn now() -> Now {
    if let Some(world) = simulated::world() {
        return world.now();
    }
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { boot: boot(), wall }
}

/// When this kernel was booted, by the wall clock; none inside a time namespace, whose boot clock
/// counts from another moment.
pub(crate) fn booted() -> Option<Stamp> {
    os::counts_from_boot(process::here().0.time).then(boot_moment)
}

/// When the boot clock was zero, by the wall clock.
pub(crate) fn boot_moment() -> Stamp {
    let now = now();
    let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(0);
    Stamp(nanos(now.wall) - nanos(now.boot))
}
