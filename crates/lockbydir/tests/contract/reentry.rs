//! Reentrant locks.

use super::{World, jobs, same_jobs};

pub(crate) fn the_last_guard_of_a_thread_releases_the_lock<W: World>(world: &W) {
    let lock = jobs(world).reentrant(true);
    let (first, second) = (lock.acquire().unwrap(), lock.acquire().unwrap());
    let by_another = || {
        let other = lock.clone();
        std::thread::spawn(move || other.try_acquire().unwrap().is_some()).join().unwrap()
    };

    assert_eq!(first.key(), second.key());
    assert!(!by_another());
    first.release().unwrap();
    assert!(!by_another());
    assert!(same_jobs(world).is_locked().unwrap());
    second.release().unwrap();
    assert!(by_another());
}
