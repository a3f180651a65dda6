//! Several locks in one call: all or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use lockbydir::{ErrorKind, Interrupt, Lock, Patience, acquire_all};

use super::{World, calm, ms, patient, secs, see, see_in_queue};

fn named(folder: String, name: &str) -> Lock {
    Lock::new(folder + "/" + name).patience(Patience::NONE)
}

/// Returns three locks, as this process names them.
fn three<W: World>(world: &W) -> [Lock; 3] {
    ["a", "b", "c"].map(|name| named(world.folder(), name))
}

pub(crate) fn all_are_held_and_all_are_released<W: World>(world: &W) {
    let [a, b, c] = three(world);

    let guards = acquire_all([&c, &a, &b]).unwrap();

    assert!(guards.is_held() && guards.lost().is_none());
    assert!(guards.remaining() > secs(1) && guards.timeout() >= secs(10));
    let paths: Vec<_> = guards.as_given().iter().map(|guard| guard.path().to_owned()).collect();
    assert_eq!(paths, [&c, &a, &b].map(|lock| lock.path().unwrap()));
    for lock in [&a, &b, &c] {
        assert!(lock.try_acquire().unwrap().is_none());
    }
    guards.renew().unwrap();
    guards.release().unwrap();
    drop(acquire_all([a, b, c]).unwrap());
}

pub(crate) fn none_is_held_if_one_is_taken<W: World>(world: &W) {
    let locks = three(world);
    for taken in 0..3 {
        let guard = locks[taken].acquire().unwrap();
        let waiting = locks.clone().map(|lock| lock.patience(ms(50)));

        let error = acquire_all(&waiting).unwrap_err();

        assert!(error.is_patience_over(), "{error}");
        assert_eq!(error.path(), Some(&*locks[taken].path().unwrap()));
        for (nth, lock) in locks.iter().enumerate() {
            assert_eq!(lock.is_locked().unwrap(), nth == taken, "{nth} of {taken}");
        }
        guard.release().unwrap();
    }
}

pub(crate) fn one_patience_counts_for_all<W: World>(world: &W) {
    let [a, b, c] = three(world);
    let (first, last) = (a.acquire().unwrap(), c.acquire().unwrap());
    let waiting = [&a, &b, &c].map(|lock| lock.clone().patience(secs(4)));
    let begun = Instant::now();
    let waiter = thread::spawn(move || acquire_all(waiting));
    see_in_queue(&a, 1);
    thread::sleep(secs(2)); // what the first lock takes of the patience
    first.release().unwrap();

    let error = waiter.join().unwrap().unwrap_err();

    assert!(error.is_patience_over(), "{error}");
    let took = begun.elapsed();
    assert!(took >= secs(4) && took < secs(6), "{took:?}");
    last.release().unwrap();
}

pub(crate) fn an_interrupt_releases_what_is_held<W: World>(world: &W) {
    let [a, b, c] = three(world);
    let guard = c.acquire().unwrap();
    let interrupt = Interrupt::new();
    let waiting = [&a, &b, &c].map(|lock| patient(lock).interrupt(interrupt.clone()));
    let waiter = thread::spawn(move || acquire_all(waiting));
    see_in_queue(&c, 1);
    assert!(a.is_locked().unwrap() && b.is_locked().unwrap());

    interrupt.raise();

    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(!a.is_locked().unwrap() && !b.is_locked().unwrap());
    guard.release().unwrap();
}

pub(crate) fn opposite_orders_do_not_block_each_other<W: World>(world: &W) {
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|nth| {
            let folder = if nth < 2 { world.folder() } else { world.folder_of_another_process() };
            let mut locks = ["a", "b"].map(|name| patient(&named(folder.clone(), name)));
            if nth % 2 == 1 {
                locks.reverse();
            }
            let inside = inside.clone();
            thread::spawn(move || {
                for _ in 0..10 {
                    let guards = acquire_all(&locks).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guards.release().unwrap();
                }
            })
        })
        .collect();

    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(crate) fn a_loss_of_one_is_a_loss_of_all<W: World>(world: &W) {
    let [a, b, c] = three(world).map(|lock| lock.timeout(calm::<W>()).renew_automatically(true));
    let (sender, losses) = mpsc::channel();
    // It is the first lock's, and the last one is lost.
    let a = a.on_lost(move |error| drop(sender.send(error.path().map(ToOwned::to_owned))));
    let guards = acquire_all([&a, &b, &c]).unwrap();

    c.break_by_force().unwrap();

    assert!(guards.wait_lost(secs(60)));
    see("the loss", || guards.lost().is_some());
    assert!(!guards.is_held());
    assert_eq!(losses.recv_timeout(secs(60)).unwrap(), Some(c.path().unwrap()));
    assert!(a.is_locked().unwrap(), "the work may still rely on it");
    assert!(guards.release().unwrap_err().is_lost());
    assert!(!a.is_locked().unwrap() && !b.is_locked().unwrap());
}

pub(crate) fn what_is_held_is_kept_while_others_are_waited_for<W: World>(world: &W) {
    let [a, b, _] = three(world);
    let guard = b.acquire().unwrap();
    let waiting = [&a, &b].map(|lock| patient(lock).timeout(W::SHORTEST));
    let waiter = thread::spawn(move || acquire_all(waiting));
    see_in_queue(&b, 1);
    let token = a.status().unwrap().token;
    thread::sleep(W::SHORTEST * 3); // the timeout of the first lock passes
    assert_eq!(a.status().unwrap().token, token);
    assert!(a.is_locked().unwrap(), "nobody renews it");
    guard.release().unwrap();

    let guards = waiter.join().unwrap().unwrap();

    // From now on the first is not renewed either.
    see("the deadline", || !guards.as_given()[0].is_held());
    let end = Instant::now() + W::SHORTEST * 3;
    while Instant::now() < end {
        assert!(!guards.as_given()[0].is_held());
    }
    drop(guards);
}

pub(crate) fn the_same_lock_twice_is_refused<W: World>(world: &W) {
    let [a, b, _] = three(world);

    let error = acquire_all([&a, &b, &a]).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("name it once"), "{error}");
    assert!(!a.is_locked().unwrap() && !b.is_locked().unwrap());
    assert_eq!(acquire_all::<Lock>([]).unwrap_err().kind(), ErrorKind::Usage);
}
