//! A lock that is free while waiters queue is taken by them, in arrival order.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use lockbydir::{Lock, State};

use super::{World, goes_well, jobs, patient, same_jobs, secs, see_in_queue};

pub(crate) fn a_release_wakes_a_waiter<W: World>(world: &W) {
    // A waiter that missed the wake-up would sleep for an hour.
    let lock = patient(&same_jobs(world)).poll_interval(secs(3600)).timeout(secs(3600));
    let guard = jobs(world).timeout(secs(3600)).acquire().unwrap();
    let waiting = lock.clone();
    let waiter = thread::spawn(move || waiting.acquire().map(|guard| (Instant::now(), guard)));
    see_in_queue(&lock, 1);

    let released = Instant::now();
    guard.release().unwrap();

    let (got, guard) = waiter.join().unwrap().unwrap();
    let took = got.saturating_duration_since(released);
    assert!(took < secs(10), "{took:?}");
    guard.release().unwrap();
}

/// Starts the waiters one after the other, each when the one before is known to wait; then releases
/// the lock, and returns the numbers of the waiters in the order in which they are served.
fn served(guard: lockbydir::Guard, waiters: &[Lock], mut begun: impl FnMut(usize)) -> Vec<usize> {
    let (send, served) = mpsc::channel();
    let threads: Vec<_> = waiters
        .iter()
        .enumerate()
        .map(|(number, lock)| {
            let (lock, send) = (lock.clone(), send.clone());
            let thread = thread::spawn(move || {
                let guard = lock.acquire().unwrap();
                send.send(number).unwrap();
                guard.release().unwrap();
            });
            begun(number);
            thread
        })
        .collect();

    guard.release().unwrap();

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(send);
    served.iter().collect()
}

pub(crate) fn threads_are_served_in_arrival_order<W: World>(world: &W) {
    let lock = patient(&jobs(world)).timeout(secs(60));
    let guard = lock.acquire().unwrap();
    let (sender, is_waiting) = mpsc::channel();
    let waiters: Vec<_> = (0..5)
        .map(|number| {
            let sender = sender.clone();
            lock.clone().on_wait(move |_| {
                let _ = sender.send(number);
            })
        })
        .collect();

    let order = served(guard, &waiters, |number| while is_waiting.recv().unwrap() != number {});

    assert_eq!(order, [0, 1, 2, 3, 4]);
}

pub(crate) fn processes_are_served_in_arrival_order<W: World>(world: &W) {
    let (lock, other) = (patient(&jobs(world)), patient(&same_jobs(world)));
    let both = [[lock.clone(), other.clone()], [other, lock.clone()]];

    // A waiter that does not run for 0.1 s is passed over.
    goes_well(|_| {
        let orders: Vec<_> = (0..6)
            .map(|nth| {
                let guard = lock.clone().timeout(secs(60)).acquire().unwrap();
                served(guard, &both[nth % 2], |number| drop(see_in_queue(&lock, number + 1)))
            })
            .collect();
        if orders.iter().all(|order| *order == [0, 1]) { Ok(()) } else { Err(orders) }
    });
}

pub(crate) fn waiters_see_their_position<W: World>(world: &W) {
    let guard = jobs(world).label("before").timeout(secs(60)).acquire().unwrap();
    let (sender, reports) = mpsc::channel();
    let lock = patient(&same_jobs(world)).on_wait(move |waiting| {
        let (status, place) = (waiting.status.clone(), waiting.place);
        let _ = sender.send((waiting.path.to_owned(), status, place, waiting.waited));
    });
    let waiting = lock.clone();
    let waiter = thread::spawn(move || waiting.acquire().map(drop));

    let (path, status, place, waited) = reports.recv_timeout(secs(30)).unwrap();

    assert_eq!(path, lock.path().unwrap());
    assert_eq!((status.state, place), (State::Held, Some(1)));
    assert_eq!(status.holder.unwrap().label.as_deref(), Some("before"));
    assert!(waited >= super::ms(500) && waited < secs(20), "{waited:?}");
    // The report is repeated.
    reports.recv_timeout(secs(30)).unwrap();
    guard.release().unwrap();
    waiter.join().unwrap().unwrap();
}
