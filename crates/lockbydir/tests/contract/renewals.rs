//! Renewing a lock, also with another timeout or owner.

use std::time::Instant;

use lockbydir::{ErrorKind, How, State};

use super::{Process, World, calm, jobs, ms, patient, same_jobs, secs, see};

pub(crate) fn renewals_keep_the_lock<W: World>(world: &W) {
    let other = same_jobs(world);
    let guard = jobs(world).timeout(calm::<W>()).acquire().unwrap();
    let end = Instant::now() + guard.timeout() * 2;

    while Instant::now() < end {
        guard.renew().unwrap();
        assert!(other.try_acquire().unwrap().is_none());
        std::thread::sleep(ms(20));
    }

    assert!(guard.is_held());
}

pub(crate) fn the_renewer_keeps_the_lock_for_many_timeouts<W: World>(world: &W) {
    let lock = jobs(world).timeout(calm::<W>()).renew_automatically(true);
    let guard = lock.acquire().unwrap();
    let watcher = same_jobs(world).patience(guard.timeout() * 3);

    assert!(watcher.acquire().unwrap_err().is_patience_over());

    assert!(guard.is_held() && guard.lost().is_none());
    guard.release().unwrap();
}

pub(crate) fn a_longer_timeout_counts_from_now<W: World>(world: &W) {
    let guard = jobs(world).timeout(calm::<W>()).acquire().unwrap();

    guard.set_timeout(secs(77)).unwrap();

    assert!(guard.timeout() >= secs(77));
    assert!(guard.remaining() > secs(60), "{:?}", guard.remaining());
    let status = same_jobs(world).status().unwrap();
    assert!(status.timeout >= Some(secs(77)) && status.remaining > Some(secs(60)), "{status:?}");
    let never = guard.set_timeout(ms(1)).unwrap_err();
    assert_eq!(never.kind(), ErrorKind::Usage, "{never}");
}

pub(crate) fn a_shorter_timeout_counts_from_now<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();

    guard.set_timeout(W::SHORTEST).unwrap();

    assert!(guard.remaining() <= guard.timeout() && guard.timeout() < secs(60));
    let next = patient(&same_jobs(world)).acquire().unwrap();
    assert!(!guard.is_held(), "taken before its holder's deadline");
    assert!(matches!(next.how(), How::AfterExpiry(_)), "{:?}", next.how());
}

pub(crate) fn a_late_renewal_succeeds_if_nobody_took_the_lock<W: World>(world: &W) {
    let (lock, other) = (jobs(world).timeout(W::SHORTEST), same_jobs(world));
    let guard = lock.acquire().unwrap();
    see("it expires", || other.status().unwrap().state == State::Expired);
    assert!(!guard.is_held());

    guard.set_timeout(secs(60)).unwrap();

    assert!(guard.is_held() && guard.lost().is_none());
    assert!(other.try_acquire().unwrap().is_none());
    guard.release().unwrap();
}

pub(crate) fn a_second_process_is_added<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();
    let process = Process::start();

    guard.name_child(process.pid()).unwrap();

    let holder = same_jobs(world).status().unwrap().holder.unwrap();
    assert_eq!((holder.pid, holder.child), (Some(std::process::id()), Some(process.pid())));
    guard.release().unwrap();
}
