//! Holdings that are renewed and released by their keys.

use lockbydir::{Key, Owner};

use super::{World, jobs, same_jobs, secs};

pub(crate) fn a_kept_lock_is_renewed_and_released_by_its_key_alone<W: World>(world: &W) {
    let other = same_jobs(world);

    let kept = jobs(world).owner(Owner::Nobody).acquire().unwrap().keep();
    let key: Key = kept.to_string().parse().unwrap();

    assert_eq!(key, kept);
    assert!(other.try_acquire().unwrap().is_none());
    let holder = other.status().unwrap().holder.unwrap();
    assert_eq!(holder.pid, None);
    let before = other.status().unwrap().timeout;
    other.renew(&key).unwrap();
    assert_eq!(other.status().unwrap().timeout, before, "it keeps the timeout it has");
    other.clone().timeout(secs(77)).renew(&key).unwrap();
    assert!(other.status().unwrap().timeout >= Some(secs(77)));
    other.release(&key).unwrap();
    assert!(!other.is_locked().unwrap());
    assert!(other.release(&key).unwrap_err().is_lost());
    assert!(other.renew(&key).unwrap_err().is_lost());
}

pub(crate) fn a_guard_knows_nothing_of_a_release_by_its_key_until_it_renews<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();

    same_jobs(world).release(&guard.key()).unwrap();

    drop(same_jobs(world).try_acquire().unwrap().expect("it is free"));
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(guard.release().unwrap_err().is_lost());
}
