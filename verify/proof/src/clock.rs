//! The single clock of all histories: nanoseconds since boot, suspend included. All processes of a host
//! share it, and so do the guests of a lab whose host shares its clock with them.

use std::{io, sync::OnceLock};

use lockbydir_nfs_lab::clock::Face;
use rustix::time::{ClockId, clock_gettime};

/// The host's clock, if this is a guest.
static SHARED: OnceLock<Face> = OnceLock::new();

/// Makes [`now`] return the clock that the host shares with its guests.
///
/// A reading of it may be a little old. So read it *before* the value that it is compared with: before
/// asking how long a hold still lasts, and after acquiring it. Then holds are recorded too short rather
/// than too long.
///
/// # Errors
/// If this is not a guest of a lab.
pub fn share() -> io::Result<()> {
    let face = Face::open()?;
    let _ = SHARED.set(face);
    Ok(())
}

/// Returns the nanoseconds of `CLOCK_BOOTTIME`, the same for all processes that write histories.
#[must_use]
pub fn now() -> u64 {
    SHARED.get().map_or_else(own, Face::now)
}

/// Returns the nanoseconds of this kernel's own `CLOCK_BOOTTIME`.
#[must_use]
pub fn own() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Waits until [`now`] reaches `moment` without sleeping; lets other threads run meanwhile.
pub fn spin_until(moment: u64) {
    while now() < moment {
        std::thread::yield_now();
    }
}
