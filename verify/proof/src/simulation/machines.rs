//! The simulated machines: when they were booted, and their common time.

use std::time::Duration;

/// The simulated time at which a simulation begins.
pub(super) const BEGIN: Duration = Duration::from_secs(10_000_000);
/// Returns the simulated time at which the boot clock of a machine was zero.
pub(super) fn booted(host: u64) -> Duration {
    BEGIN - Duration::from_secs(5_000 * (host + 1))
}

/// Returns the boot number of a machine.
pub(super) fn boot(host: u64) -> u64 {
    0xB007 + host
}
