//! A holder is valid while its boot clock is before its deadline and no loss was reported to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use lockbydir::How;
use lockbydir_protocol::margin;

use super::{World, jobs, ms, patient, same_jobs, secs};

pub(crate) fn a_held_lock_excludes_and_a_released_one_is_free<W: World>(world: &W) {
    let (lock, other) = (jobs(world), same_jobs(world));
    let begin = Instant::now();

    let guard = lock.acquire().unwrap();

    assert_eq!(*guard.how(), How::Free);
    assert!(guard.timeout() >= secs(10), "{:?}", guard.timeout());
    assert!(guard.is_held() && guard.remaining() <= guard.timeout());
    // The deadline is kept in milliseconds.
    let all = guard.remaining() + begin.elapsed() + margin(guard.timeout()) + ms(1);
    assert!(all >= guard.timeout(), "{all:?}");
    for one in [&lock, &other] {
        assert!(one.try_acquire().unwrap().is_none());
        let error = one.acquire().unwrap_err();
        assert!(error.is_patience_over(), "{error}");
        assert_eq!(error.holder().unwrap().pid, Some(std::process::id()));
        assert!(one.is_locked().unwrap());
    }
    guard.release().unwrap();
    assert!(!lock.is_locked().unwrap());
    drop(other.try_acquire().unwrap().expect("it is free"));
}

pub(crate) fn a_dropped_guard_releases<W: World>(world: &W) {
    drop(jobs(world).acquire().unwrap());

    drop(same_jobs(world).try_acquire().unwrap().expect("it is free"));
}

pub(crate) fn threads_of_two_processes_exclude_each_other<W: World>(world: &W) {
    let inside = AtomicUsize::new(0);
    let turns = AtomicUsize::new(0);

    thread::scope(|scope| {
        for number in 0..8 {
            let lock = patient(&if number % 2 == 0 { jobs(world) } else { same_jobs(world) });
            let (inside, turns) = (&inside, &turns);
            scope.spawn(move || {
                for _ in 0..8 {
                    let guard = lock.acquire().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    turns.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().unwrap();
                }
            });
        }
    });

    assert_eq!(turns.into_inner(), 64);
}

pub(crate) fn a_lock_expires_after_its_timeout_and_not_before<W: World>(world: &W) {
    let begin = Instant::now();
    let sleeper = jobs(world).timeout(W::SHORTEST).acquire().unwrap();
    let granted = sleeper.timeout();
    assert!(granted >= W::SHORTEST);

    let guard = patient(&same_jobs(world)).acquire().unwrap();

    assert!(!sleeper.is_held(), "taken before its holder's deadline");
    assert!(begin.elapsed() + margin(granted) >= granted, "after {:?}", begin.elapsed());
    assert!(begin.elapsed() < granted + secs(20), "after {:?}", begin.elapsed());
    assert!(matches!(guard.how(), How::AfterExpiry(_)), "{:?}", guard.how());
    guard.release().unwrap();
    assert!(sleeper.release().unwrap_err().is_lost());
}
