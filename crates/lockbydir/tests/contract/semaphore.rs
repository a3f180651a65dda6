//! Semaphores: a lock that several may hold at once, each in a slot of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use lockbydir::{ErrorKind, Guard, Interrupt, MAX_SLOTS, Patience, Semaphore, State};

use super::{World, goes_well, jobs, ms, patient, same_jobs, secs, see, see_in_queue};

fn slots<W: World>(world: &W, number: u32) -> Semaphore {
    jobs(world).timeout(secs(60)).slots(number)
}

/// Returns the same semaphore, as another process names it.
fn same_slots<W: World>(world: &W, number: u32) -> Semaphore {
    patient(&same_jobs(world)).timeout(secs(60)).slots(number)
}

fn all_of(semaphore: &Semaphore) -> Vec<Guard> {
    semaphore.slots().iter().map(|_| semaphore.acquire().unwrap()).collect()
}

/// Waits until somebody waits for a slot as the first.
fn see_first<W: World>(world: &W) {
    let turn = jobs(world);
    see("the first waiter", || {
        let holder = turn.status().unwrap().holder;
        holder.is_some_and(|holder| holder.label.is_some_and(|label| label.starts_with("waits")))
    });
}

pub(crate) fn each_holder_has_a_slot_of_its_own<W: World>(world: &W) {
    let three = slots(world, 3);

    let guards = all_of(&three);

    let numbers: Vec<_> = guards.iter().map(|guard| guard.slot().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for (guard, slot) in guards.iter().zip(three.slots()) {
        assert_eq!(guard.path(), slot.path().unwrap());
        assert_eq!(slot.status().unwrap().state, State::Held);
    }
    assert!(three.try_acquire().unwrap().is_none());
    let error = three.acquire().unwrap_err();
    assert!(error.is_patience_over(), "{error}");
    assert!(error.to_string().contains("all 3 slots are taken"), "{error}");
    assert_eq!(error.path(), Some(&*jobs(world).path().unwrap()));
    drop(guards);
    assert_eq!(three.try_acquire().unwrap().unwrap().slot(), Some(1));
}

pub(crate) fn a_waiter_gets_any_slot_that_is_released<W: World>(world: &W) {
    for released in 0..3 {
        let mut guards = all_of(&slots(world, 3));
        // A waiter that missed the wake-up would sleep for an hour.
        let waiting = patient(&same_jobs(world)).poll_interval(secs(3600)).slots(3);
        let waiter = thread::spawn(move || waiting.acquire());
        see_first(world);
        for slot in slots(world, 3).slots() {
            see_in_queue(slot, 1);
        }

        drop(guards.remove(released));

        let guard = waiter.join().unwrap().unwrap();
        assert_eq!(guard.slot(), Some(u32::try_from(released).unwrap() + 1));
        assert!(!jobs(world).is_locked().unwrap(), "the next one's turn");
        guard.release().unwrap();
    }
}

pub(crate) fn slots_are_given_in_arrival_order<W: World>(world: &W) {
    goes_well(|_| {
        let mut guards = all_of(&slots(world, 2));
        let (send, served) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let semaphore =
                    if number % 2 == 0 { same_slots(world, 2) } else { slots_of(world, 2) };
                let send = send.clone();
                let thread = thread::spawn(move || {
                    let guard = semaphore.acquire().unwrap();
                    send.send(number).unwrap();
                    drop(guard);
                });
                match number {
                    0 => see_first(world),
                    _ => drop(see_in_queue(&jobs(world), number)),
                }
                thread
            })
            .collect();

        drop(guards.remove(0));

        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop((guards, send));
        let order: Vec<_> = served.iter().collect();
        if order == [0, 1, 2] { Ok(()) } else { Err(order) }
    });
}

/// Returns the semaphore of this process, with patience.
fn slots_of<W: World>(world: &W, number: u32) -> Semaphore {
    patient(&jobs(world)).timeout(secs(60)).slots(number)
}

pub(crate) fn a_wait_for_a_slot_ends_and_leaves_nothing<W: World>(world: &W) {
    let guards = all_of(&slots(world, 2));
    let interrupt = Interrupt::new();
    let first = patient(&same_jobs(world)).interrupt(interrupt.clone()).slots(2);
    let first = thread::spawn(move || first.acquire());
    see_first(world);

    let hasty = jobs(world).patience(ms(100)).slots(2);
    let error = hasty.acquire().unwrap_err();
    assert!(error.is_patience_over() && error.to_string().contains("all 2 slots"), "{error}");
    interrupt.raise();
    assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    // Also where it was the first itself.
    let error = hasty.acquire().unwrap_err();
    assert!(error.is_patience_over() && error.to_string().contains("all 2 slots"), "{error}");

    drop(guards);
    assert!(!jobs(world).is_locked().unwrap());
    assert!(slots(world, 2).slots().iter().all(|slot| !slot.is_locked().unwrap()));
}

pub(crate) fn never_more_hold_than_there_are_slots<W: World>(world: &W) {
    const SLOTS: usize = 2;
    let inside: Arc<[AtomicUsize; SLOTS]> = Arc::default();
    let threads: Vec<_> = (0..6)
        .map(|number| {
            let slots = u32::try_from(SLOTS).unwrap();
            let semaphore =
                if number % 2 == 0 { slots_of(world, slots) } else { same_slots(world, slots) };
            let inside = inside.clone();
            thread::spawn(move || {
                for _ in 0..5 {
                    let guard = semaphore.acquire().unwrap();
                    let own = &inside[guard.slot().unwrap() as usize - 1];
                    assert_eq!(own.fetch_add(1, Ordering::SeqCst), 0, "two in one slot");
                    thread::yield_now();
                    own.fetch_sub(1, Ordering::SeqCst);
                    guard.release().unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(crate) fn a_slot_that_expires_is_given_to_the_first_waiter<W: World>(world: &W) {
    let first = slots(world, 2).acquire().unwrap();
    let key = jobs(world).timeout(W::SHORTEST).slots(2).acquire().unwrap().keep();

    let guard = same_slots(world, 2).acquire().unwrap();

    assert_eq!(guard.slot(), Some(2));
    assert!(guard.token() > key.token());
    drop((first, guard));
}

pub(crate) fn others_may_say_another_number_of_slots<W: World>(world: &W) {
    let guards = all_of(&slots(world, 4));
    let two = jobs(world).slots(2);
    assert!(two.try_acquire().unwrap().is_none());

    let mut guards = guards.into_iter();
    drop(guards.next_back());
    assert!(two.try_acquire().unwrap().is_none(), "that was slot 4");
    drop(guards.next());

    assert_eq!(two.try_acquire().unwrap().unwrap().slot(), Some(1));
}

pub(crate) fn the_number_of_slots_has_limits<W: World>(world: &W) {
    for number in [0, MAX_SLOTS + 1, u32::MAX] {
        let semaphore = jobs(world).patience(Patience::FOREVER).slots(number);
        for error in [semaphore.acquire().unwrap_err(), semaphore.try_acquire().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            assert!(error.to_string().contains("from 1 to 1000"), "{error}");
        }
    }
    assert_eq!(jobs(world).slots(MAX_SLOTS).acquire().unwrap().slot(), Some(1));
}
