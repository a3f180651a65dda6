//! A lock that is held for at least some time, also if it is released sooner.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use lockbydir::{How, Lock, Patience, State, acquire_all};

use super::{World, calm, goes_well, jobs, ms, patient, same_jobs, secs, see, see_in_queue};

pub(crate) fn a_release_before_the_time_leaves_it_held<W: World>(world: &W) {
    for is_dropped in [false, true] {
        let lock = jobs(world).at_least(calm::<W>() * 2).label("before");
        let begun = Instant::now();
        let guard = lock.acquire().unwrap();
        let token = guard.token();

        if is_dropped {
            drop(guard)
        } else {
            guard.release().unwrap()
        }

        assert!(begun.elapsed() < calm::<W>(), "it waited");
        let status = lock.status().unwrap();
        assert_eq!((status.state, status.token), (State::Held, Some(token)));
        let holder = status.holder.unwrap();
        assert_eq!((holder.pid, holder.label.as_deref()), (None, Some("before")));
        assert!(same_jobs(world).try_acquire().unwrap().is_none());
        let next = patient(&same_jobs(world)).acquire().unwrap();
        assert!(begun.elapsed() >= calm::<W>() * 2, "{:?}", begun.elapsed());
        assert!(next.token() > token && matches!(next.how(), How::AfterExpiry(_)));
        next.release().unwrap();
    }
}

pub(crate) fn a_release_after_the_time_frees_it<W: World>(world: &W) {
    let lock = jobs(world).at_least(ms(100));
    let guard = lock.acquire().unwrap();
    thread::sleep(ms(110)); // the least time passes
    guard.release().unwrap();
    assert!(!lock.is_locked().unwrap());
}

pub(crate) fn a_least_time_may_be_longer_than_the_timeout<W: World>(world: &W) {
    let all = W::SHORTEST * 4;
    goes_well(|_| {
        let lock = jobs(world).timeout(W::SHORTEST).renew_automatically(true).at_least(all);
        let begun = Instant::now();
        let guard = lock.acquire().unwrap();
        thread::sleep(W::SHORTEST * 2); // renewals keep it
        let is_kept = guard.is_held();
        guard.release().unwrap();
        let next = patient(&same_jobs(world)).acquire().unwrap();
        let took = begun.elapsed();
        next.release().unwrap();
        if is_kept && took >= all { Ok(()) } else { Err((is_kept, took)) }
    });
}

pub(crate) fn a_waiter_gets_it_at_that_time<W: World>(world: &W) {
    let lock = jobs(world).timeout(secs(3600)).at_least(calm::<W>());
    let guard = lock.acquire().unwrap();
    let begun = Instant::now();
    let waiting = patient(&same_jobs(world));
    let waiter = thread::spawn(move || waiting.acquire());
    see_in_queue(&lock, 1);

    guard.release().unwrap();

    // It does not sleep until the end of the holder's timeout of an hour.
    let next = waiter.join().unwrap().unwrap();
    assert!(begun.elapsed() + ms(500) >= calm::<W>(), "{:?}", begun.elapsed());
    next.release().unwrap();
}

pub(crate) fn what_is_lost_or_ended_by_its_key_is_not_left_held<W: World>(world: &W) {
    let lock = jobs(world).timeout(secs(60)).at_least(secs(60));
    let lost = lock.acquire().unwrap();
    lock.break_by_force().unwrap();
    let other = same_jobs(world).timeout(secs(60)).acquire().unwrap();
    assert!(lost.release().unwrap_err().is_lost());
    other.renew().unwrap();
    other.release().unwrap();

    let guard = lock.acquire().unwrap();
    let key = guard.keep();
    same_jobs(world).release(&key).unwrap();
    see("that it is free", || !lock.is_locked().unwrap());
}

pub(crate) fn what_its_caller_never_got_is_free_at_once<W: World>(world: &W) {
    // The second of two cannot be acquired.
    let first = jobs(world).at_least(secs(60));
    let second = Lock::new(world.folder() + "/second").patience(Patience::NONE);
    let held = second.acquire().unwrap();
    acquire_all([&first, &second]).unwrap_err();
    assert!(!first.is_locked().unwrap());
    held.release().unwrap();
    // With both it counts for each that asked for it.
    acquire_all([&first, &second]).unwrap().release().unwrap();
    assert!(first.is_locked().unwrap() && !second.is_locked().unwrap());
    first.break_by_force().unwrap();

    // Two slots become free at the same moment.
    for _ in 0..10 {
        let slots = jobs(world).slots(2);
        let guards = [(); 2].map(|()| slots.acquire().unwrap());
        let waiting = patient(&same_jobs(world)).at_least(secs(60)).slots(2);
        let waiter = thread::spawn(move || waiting.acquire());
        see("the first waiter in both queues", || {
            slots.slots().iter().all(|slot| slot.status().unwrap().queue.len() == 1)
        });
        let both = Barrier::new(2);
        thread::scope(|scope| {
            for guard in guards {
                let both = &both;
                scope.spawn(move || {
                    both.wait();
                    guard.release().unwrap();
                });
            }
        });
        let guard = waiter.join().unwrap().unwrap();
        let other = &slots.slots()[if guard.slot() == Some(1) { 1 } else { 0 }];
        assert!(!other.is_locked().unwrap());
        let own = guard.path().with_extension("");
        Lock::new(own).release(&guard.keep()).unwrap();
    }
}
