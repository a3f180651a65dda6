//! Values that hold for one process under one boot. A process may be checkpointed and restored under
//! another boot, with all its memory: what it found out about the kernel is then no longer true.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockbydir_protocol::Stamp;

use crate::os::clock;
use crate::os::fork_local::ForkLocal;

/// How much the boot moment (wall clock less boot clock) may vary within one boot. It is constant
/// during a boot unless somebody sets the wall clock; then the value is made again, needlessly. It
/// differs under another boot, and in the time namespace that a restored process gets. The check
/// reads two clocks and makes no system call.
const SAME_BOOT: Duration = Duration::from_millis(10);

/// A value that is made once by each process under each boot.
pub(crate) struct BootLocal<T>(ForkLocal<Mutex<Option<Made<T>>>>);

/// A value, and the boot moment at which it was made.
struct Made<T> {
    value: T,
    booted: Stamp,
}

impl<T: Copy> BootLocal<T> {
    pub(crate) const fn new() -> BootLocal<T> {
        BootLocal(ForkLocal::new())
    }

    /// Returns the value, if this process has made it under this boot.
    pub(crate) fn get(&self) -> Option<T> {
        let booted = clock::boot_moment();
        let is_valid = |made: &&Made<T>| made.booted.0.abs_diff(booted.0) < SAME_BOOT.as_nanos();
        self.made().as_ref().filter(is_valid).map(|made| made.value)
    }

    pub(crate) fn set(&self, value: T) {
        *self.made() = Some(Made { value, booted: clock::boot_moment() });
    }

    fn made(&self) -> MutexGuard<'_, Option<Made<T>>> {
        self.0.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}
