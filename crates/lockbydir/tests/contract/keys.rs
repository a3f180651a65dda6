//! Holdings that are renewed and released by their keys.

use lockbydir::{ErrorKind, Key, Owner};

use super::{Process, World, calm, jobs, same_jobs, secs};

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

pub(crate) fn a_guard_notices_a_release_by_its_key_when_it_renews<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();

    same_jobs(world).release(&guard.key()).unwrap();

    drop(same_jobs(world).try_acquire().unwrap().expect("it is free"));
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(guard.release().unwrap_err().is_lost());
}

pub(crate) fn a_key_does_not_shorten_the_holding_of_another_process<W: World>(world: &W) {
    let holder = Process::start();
    let key = jobs(world).timeout(secs(60)).owner(Owner::Process(holder.pid())).acquire();
    let key = key.unwrap().keep();
    let other = same_jobs(world);
    let before = other.status().unwrap().timeout.unwrap();

    let error = other.clone().timeout(calm::<W>()).renew(&key).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert!(error.to_string().contains("cannot shorten"), "{error}");
    assert_eq!(other.status().unwrap().timeout, Some(before));
    other.clone().timeout(before).renew(&key).unwrap();
    other.clone().timeout(before + secs(7)).renew(&key).unwrap();
    assert!(other.status().unwrap().timeout >= Some(before + secs(7)));
    other.release(&key).unwrap();
}

pub(crate) fn a_guard_notices_a_renewal_by_its_key<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();

    same_jobs(world).timeout(calm::<W>()).renew(&guard.key()).unwrap();

    assert!(guard.timeout() < secs(60), "{:?}", guard.timeout());
    assert!(guard.remaining() < secs(60) && guard.is_held());
    guard.release().unwrap();
}
