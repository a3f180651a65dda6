//! The one clock of all histories: nanoseconds since boot, suspend included; for all processes of a
//! host, or of the guests of a lab that it shares its clock with.

use std::{io, sync::OnceLock};

use lockbydir_nfs_lab::clock::Face;
use rustix::time::{ClockId, clock_gettime};

/// The host's clock, if this is a guest.
static SHARED: OnceLock<Face> = OnceLock::new();

/// From now on [`now`] is the clock that the host shares with its guests.
///
/// What is read of it may be a little old. So read it *before* what it is compared with: before one
/// asks how long a hold lasts on, and after one has got it. Then holds are noted down too short
/// rather than too long.
///
/// # Errors
/// When this is no guest of a lab.
pub fn share() -> io::Result<()> {
    let face = Face::open()?;
    let _ = SHARED.set(face);
    Ok(())
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the same for all who tell histories.
#[must_use]
pub fn now() -> u64 {
    SHARED.get().map_or_else(own, Face::now)
}

/// Nanoseconds of this kernel's own `CLOCK_BOOTTIME`.
#[must_use]
pub fn own() -> u64 {
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
