//! Names that begin with `etcd://`: their engine, at the program's start and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// At the end, leases that nobody needs any more are given back, if that is soon done.
const SETTLING: Duration = Duration::from_secs(1);

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Lets names be of etcd; what an address leaves unsaid is in the environment.
pub(crate) fn begin() {
    lockbydir_etcd::on_warning(|warning| {
        if !IS_QUIET.load(Ordering::Relaxed) {
            eprintln!("lockbydir: {warning}");
        }
    });
    lockbydir_etcd::register(lockbydir_etcd::Access::from_env());
}

/// Keeps warnings back.
pub(crate) fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

pub(crate) fn end() {
    lockbydir_etcd::settle(SETTLING);
}
