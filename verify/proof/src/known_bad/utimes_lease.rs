//! A lease that its holder renews by `utimes`: the file's date is the time of the last renewal.
//!
//! A renewal names the file by its path, and so renews the lease of any holder that is there by then: a
//! holder that was stopped beyond its deadline wakes, renews, and believes that it still holds.

use std::io;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::{Rival, StatUnlink};

/// A lock file whose age is counted from the last renewal.
#[derive(Clone, Debug)]
pub struct UtimesLease(pub StatUnlink);

impl Rival for UtimesLease {
    fn try_acquire(&self) -> io::Result<bool> {
        self.0.try_acquire()
    }

    fn renew(&self) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        utimensat(CWD, &self.0.file, &times, AtFlags::empty())?;
        Ok(true)
    }

    fn release(&self) -> io::Result<()> {
        self.0.release()
    }
}
