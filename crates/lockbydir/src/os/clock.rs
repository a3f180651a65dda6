//! The clocks. Nothing else in this library reads a clock.

use std::time::{Duration, SystemTime};

use lockbydir_protocol::{Now, Stamp};

use crate::os;
use crate::os::simulated;

/// Returns the time since boot, on the clock that runs while the machine is suspended.
pub(crate) fn boot() -> Duration {
    match simulated::world() {
        Some(world) => world.now().boot,
        None => os::since_boot(),
    }
}

/// Returns the system's own time since boot, even within a test's world: for meetings with peers
/// outside that world.
pub(crate) fn real_boot() -> Duration {
    os::since_boot()
}

/// Returns both clocks that the protocol needs.
pub(crate) fn now() -> Now {
    if let Some(world) = simulated::world() {
        return world.now();
    }
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { boot: boot(), wall }
}

/// Returns when the boot clock was zero, by the wall clock.
pub(crate) fn boot_moment() -> Stamp {
    let now = now();
    let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(0);
    Stamp(nanos(now.wall) - nanos(now.boot))
}
