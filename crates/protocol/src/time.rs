//! Times: of the clocks of a process, and of the file system's clock, which stamps files.

use core::time::Duration;

/// The time, read just before a machine is asked for its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// The boot clock: it runs while the computer is suspended, and is never set.
    pub boot: Duration,
    /// The wall clock, since 1970. It never decides whether a holder is alive; tokens start from it.
    pub wall: Duration,
}

/// A directory's change time in nanoseconds since 1970: it shows whether the directory was changed
/// between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(pub i128);

/// Returns how much younger than its stamp a file may be. A stamp of whole seconds is of a file system
/// that rounds down, to two seconds at worst (FAT).
#[must_use]
pub fn timestamp_granularity(stamp: Stamp) -> Duration {
    const SECOND: i128 = 1_000_000_000;
    if stamp.0 % SECOND == 0 { Duration::from_secs(2) } else { Duration::ZERO }
}

/// Returns true if `stamp` is more than `age` before `clock`.
pub(crate) fn is_older(stamp: Stamp, clock: Stamp, age: Duration) -> bool {
    let age = i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
    clock.0.saturating_sub(stamp.0) > age
}

/// Returns the age of a file with this stamp by this clock.
pub(crate) fn age(stamp: Stamp, clock: Stamp) -> Duration {
    Duration::from_nanos(u64::try_from(clock.0.saturating_sub(stamp.0).max(0)).unwrap_or(u64::MAX))
}
