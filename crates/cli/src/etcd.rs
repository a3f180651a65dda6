//! The engine for names that begin with `etcd://`, at the program's start and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Limits how long the program waits at its end until leases that nobody needs any more are revoked.
const SETTLING: Duration = Duration::from_secs(1);

static PRINTS_WARNINGS: AtomicBool = AtomicBool::new(false);

/// Registers the engine; the environment has what an address leaves out.
pub(crate) fn begin() {
    lockbydir_etcd::on_warning(|warning| {
        if PRINTS_WARNINGS.load(Ordering::Relaxed) {
            crate::output::note(warning);
        }
    });
    lockbydir_etcd::register(lockbydir_etcd::Access::from_env());
}

/// Prints warnings from now on: for verbs that acquire a lock, not for those that only look.
pub(crate) fn print_warnings() {
    PRINTS_WARNINGS.store(true, Ordering::Relaxed);
}

pub(crate) fn end() {
    lockbydir_etcd::settle(SETTLING);
}
