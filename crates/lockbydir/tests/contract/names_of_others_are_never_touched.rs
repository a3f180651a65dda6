//! Each name is a lock of its own. Other things in a folder are tested for each engine separately.

use lockbydir::Lock;

use super::{World, jobs, secs};

pub(crate) fn two_names_are_two_locks<W: World>(world: &W) {
    // One name is the beginning of the other.
    let lock = jobs(world);
    let longer = Lock::new(world.folder() + "/jobs2").timeout(secs(60));
    let guard = longer.acquire().unwrap();

    lock.acquire().unwrap().release().unwrap();
    let broken = lock.acquire().unwrap();
    lock.break_by_force().unwrap();
    lockbydir::clean(world.folder()).unwrap();

    assert!(broken.renew().unwrap_err().is_lost());
    guard.renew().unwrap();
    assert_ne!(guard.path(), lock.path().unwrap());
    guard.release().unwrap();
}
