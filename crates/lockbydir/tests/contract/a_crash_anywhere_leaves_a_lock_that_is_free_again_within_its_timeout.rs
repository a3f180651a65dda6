//! The next waiter gets the lock, whatever was half done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use lockbydir::{How, Owner};

use super::{Process, World, jobs, patient, same_jobs, secs};

pub(crate) fn takeover_after_expiry_is_reported_to_one_successor<W: World>(world: &W) {
    let sleeper = jobs(world).timeout(W::SHORTEST).label("sleeper").acquire().unwrap();
    let had = AtomicUsize::new(0);

    let reported: usize = thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|number| {
                let lock = patient(&if number % 2 == 0 { jobs(world) } else { same_jobs(world) });
                let (sleeper, had) = (&sleeper, &had);
                scope.spawn(move || {
                    let guard = lock.acquire().unwrap();
                    assert!(!sleeper.is_held(), "taken before the holder's deadline");
                    had.fetch_add(1, Ordering::Relaxed);
                    match guard.how() {
                        How::AfterExpiry(before) => {
                            assert_eq!(before.token, Some(sleeper.token()));
                            let holder = before.holder.as_ref().unwrap();
                            assert_eq!(holder.label.as_deref(), Some("sleeper"));
                            assert_eq!(holder.pid, Some(std::process::id()));
                            assert!(!holder.host.is_empty());
                            1
                        }
                        _ => 0,
                    }
                })
            })
            .collect();
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum()
    });

    assert_eq!((reported, had.into_inner()), (1, 8));
    assert!(sleeper.renew().unwrap_err().is_lost());
}

pub(crate) fn a_kept_lock_that_nobody_renews_expires<W: World>(world: &W) {
    let lock = jobs(world).timeout(W::SHORTEST).owner(Owner::Nobody);
    let key = lock.acquire().unwrap().keep();

    let guard = patient(&same_jobs(world)).acquire().unwrap();

    assert!(matches!(guard.how(), How::AfterExpiry(before) if before.token == Some(key.token())));
    assert!(lock.renew(&key).unwrap_err().is_lost());
    assert!(lock.release(&key).unwrap_err().is_lost());
}

pub(crate) fn the_lock_of_a_dead_process_is_free_within_its_timeout<W: World>(world: &W) {
    let process = Process::start();
    let timeout = if W::SEES_DEATH { secs(3600) } else { W::SHORTEST };
    let lock = jobs(world).timeout(timeout).owner(Owner::Process(process.pid()));
    let key = lock.acquire().unwrap().keep();
    let begin = Instant::now();

    drop(process);
    let guard = patient(&same_jobs(world)).acquire().unwrap();

    assert!(begin.elapsed() < secs(30), "{:?}", begin.elapsed());
    match guard.how() {
        How::AfterDeath(before) if W::SEES_DEATH => assert_eq!(before.token, Some(key.token())),
        How::AfterExpiry(before) if !W::SEES_DEATH => assert_eq!(before.token, Some(key.token())),
        how => panic!("{how:?}"),
    }
}
