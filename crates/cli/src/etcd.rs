//! Names that begin with `etcd://`: their engine, at the program's start and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// At the end, leases that nobody needs any more are given back, if that is soon done.
const SETTLING: Duration = Duration::from_secs(1);

static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Lets names be of etcd; what an address leaves unsaid is in the environment.
pub(crate) fn begin() {
    lockbydir_etcd::on_warning(|warning| {
        if IS_TOLD.load(Ordering::Relaxed) {
            crate::output::note(warning);
        }
    });
    lockbydir_etcd::register(lockbydir_etcd::Access::from_env());
}

/// Tells warnings, from now on: for those who hold a lock, not for those who look.
pub(crate) fn tell_warnings() {
    IS_TOLD.store(true, Ordering::Relaxed);
}

pub(crate) fn end() {
    lockbydir_etcd::settle(SETTLING);
}
