//! The faults that a test asks for, the number of calls, and the world of a thread of a test. Only
//! with the feature `simulated`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::os;
use crate::os::simulated::{Kind, World};

/// The number of calls of each kind, in the order of [`Kind::ALL`].
static CALLS: [AtomicU64; Kind::ALL.len()] = [const { AtomicU64::new(0) }; Kind::ALL.len()];
static CHANGES: AtomicU64 = AtomicU64::new(0);
static CRASH_BEFORE: AtomicU64 = AtomicU64::new(0);
static STOP_BEFORE: AtomicU64 = AtomicU64::new(0);
static NO_REPLACE_MISSING: AtomicBool = AtomicBool::new(false);
static EVERY_MOUNT_KNOWN: AtomicBool = AtomicBool::new(false);
/// The number of threads that run in a test's world; if it is 0, no thread looks for its world.
static WORLDS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Makes this process kill itself before its n-th change from now on, counted from 1.
pub fn crash_before(n: u64) {
    CRASH_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// Makes this process stop itself (until somebody continues it) before its n-th change from now on.
pub fn stop_before(n: u64) {
    STOP_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// Returns how many changes this process has requested from the file system so far.
pub fn operations() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Returns how many calls of each kind this process has made so far, in the order of
/// [`Kind::ALL`].
pub fn calls() -> [u64; Kind::ALL.len()] {
    std::array::from_fn(|kind| CALLS[kind].load(Ordering::Relaxed))
}

/// Counts a call that is about to be made.
pub(crate) fn count(kind: Kind) {
    let calls = Kind::ALL.iter().zip(&CALLS).find(|(known, _)| **known == kind);
    calls.expect("`Kind::ALL` has each kind").1.fetch_add(1, Ordering::Relaxed);
}

/// Makes the library behave as on a file system without a rename that refuses to replace.
pub fn force_no_replace_fallback(on: bool) {
    NO_REPLACE_MISSING.store(on, Ordering::Relaxed);
}

pub(crate) fn is_no_replace_missing() -> bool {
    NO_REPLACE_MISSING.load(Ordering::Relaxed)
}

/// Treats every mount as known to be good, so that tests can lock where the mount check would
/// refuse.
pub fn take_mounts_as_known(on: bool) {
    EVERY_MOUNT_KNOWN.store(on, Ordering::Relaxed);
}

pub(crate) fn is_every_mount_known() -> bool {
    EVERY_MOUNT_KNOWN.load(Ordering::Relaxed)
}

/// Runs `work` in a test's world; afterwards this thread uses the real system again.
pub fn within<T>(world: Rc<dyn World>, work: impl FnOnce() -> T) -> T {
    struct End(Option<Rc<dyn World>>);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = WORLD.try_with(|known| known.replace(self.0.take()));
            WORLDS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    WORLDS.fetch_add(1, Ordering::Relaxed);
    let _end = End(WORLD.replace(Some(world)));
    work()
}

/// Returns the test's world of this thread, if it has one.
pub(crate) fn world() -> Option<Rc<dyn World>> {
    if WORLDS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    WORLD.try_with(|world| world.borrow().clone()).ok().flatten()
}

/// Counts a change of the file system that is about to be made, and crashes or stops there if a test
/// has asked for that.
pub(crate) fn before_change() {
    let nth = CHANGES.fetch_add(1, Ordering::Relaxed) + 1;
    for (at, happen) in [(&CRASH_BEFORE, os::crash as fn()), (&STOP_BEFORE, os::stop)] {
        if nth == at.load(Ordering::Relaxed) {
            happen();
        }
    }
}
