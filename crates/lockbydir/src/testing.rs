//! Faults on demand, for tests of this project only: crash or stop before the n-th change of the
//! file system, and a file system without a rename that refuses to replace.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

static CHANGES: AtomicU64 = AtomicU64::new(0);
static CRASH_BEFORE: AtomicU64 = AtomicU64::new(0);
static STOP_BEFORE: AtomicU64 = AtomicU64::new(0);
static NO_REPLACE_MISSING: AtomicBool = AtomicBool::new(false);

/// Kills this process before its n-th change from now on, counted from 1.
pub fn crash_before(n: u64) {
    CRASH_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// Stops this process (until somebody continues it) before its n-th change from now on.
pub fn stop_before(n: u64) {
    STOP_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// How many changes this process has asked the file system for, so far.
pub fn operations() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Behaves as on a file system without a rename that refuses to replace.
pub fn force_no_replace_fallback(on: bool) {
    NO_REPLACE_MISSING.store(on, Ordering::Relaxed);
}

pub(crate) fn is_no_replace_missing() -> bool {
    NO_REPLACE_MISSING.load(Ordering::Relaxed)
}

/// A change of the file system is about to be asked for.
pub(crate) fn point() {
    let nth = CHANGES.fetch_add(1, Ordering::Relaxed) + 1;
    for (at, signal) in [(&CRASH_BEFORE, Signal::KILL), (&STOP_BEFORE, Signal::STOP)] {
        if nth == at.load(Ordering::Relaxed) {
            let _ = kill_process(getpid(), signal);
        }
    }
}
