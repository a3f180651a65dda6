//! A waiter that gives up leaves nothing behind that could be granted.

use std::thread;
use std::time::Instant;

use lockbydir::{ErrorKind, Interrupt, Lock, Patience};

use super::{World, jobs, ms, patient, same_jobs, secs, see_in_queue};

/// Asserts that a waiter that gave up has not got the lock: it is held, and then free, and nobody
/// waits.
fn assert_nobody_waits(lock: &Lock, guard: lockbydir::Guard) {
    assert!(lock.status().unwrap().queue.is_empty());
    guard.renew().unwrap();
    guard.release().unwrap();
    let next = lock.try_acquire().unwrap().expect("it is free");
    next.renew().unwrap();
}

pub(crate) fn patience_ends_in_time_and_reports_the_holder<W: World>(world: &W) {
    let lock = same_jobs(world);
    let guard = jobs(world).label("long").timeout(secs(60)).acquire().unwrap();
    let begin = Instant::now();

    let error = lock.clone().patience(ms(400)).acquire().unwrap_err();

    let waited = begin.elapsed();
    assert!(waited >= ms(400) && waited < secs(10), "{waited:?}");
    assert!(error.is_patience_over(), "{error}");
    let holder = error.holder().expect("who holds it");
    assert_eq!((holder.pid, holder.label.as_deref()), (Some(std::process::id()), Some("long")));
    assert_eq!(error.path(), Some(lock.path().unwrap().as_path()));
    let message = error.to_string();
    assert!(message.contains("(`long`)"), "{message}");
    let shown =
        message.split_once("waited ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let possible = 0.4..=waited.as_secs_f64() + 0.05; // shown with one decimal
    assert!(shown.is_some_and(|seconds: f64| possible.contains(&seconds)), "{message}");
    assert_nobody_waits(&lock, guard);
}

pub(crate) fn a_thread_that_gives_up_passes_its_turn_on<W: World>(world: &W) {
    let lock = jobs(world);
    let guard = lock.clone().timeout(secs(60)).acquire().unwrap();
    let hasty: Vec<_> = (0..5)
        .map(|_| {
            let lock = lock.clone().patience(ms(300));
            thread::spawn(move || lock.acquire().map(drop).unwrap_err())
        })
        .collect();
    let last = patient(&lock);
    let last = thread::spawn(move || last.acquire().map(drop));

    for thread in hasty {
        assert!(thread.join().unwrap().is_patience_over());
    }
    guard.release().unwrap();

    last.join().unwrap().unwrap();
}

pub(crate) fn an_interrupt_ends_a_wait_and_its_ticket<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
    let interrupt = Interrupt::new();
    let lock = same_jobs(world);
    let waiting = lock.clone().patience(Patience::FOREVER).interrupt(interrupt.clone());
    let waiter = thread::spawn(move || waiting.acquire().map(drop).unwrap_err());
    see_in_queue(&lock, 1);

    interrupt.raise();

    let error = waiter.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert_nobody_waits(&lock, guard);
}

pub(crate) fn an_interrupt_reaches_the_local_queue<W: World>(world: &W) {
    let lock = jobs(world);
    let guard = lock.clone().timeout(secs(60)).acquire().unwrap();
    let interrupt = Interrupt::new();
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let lock = lock.clone().patience(Patience::FOREVER).interrupt(interrupt.clone());
            thread::spawn(move || lock.acquire().map(drop).unwrap_err())
        })
        .collect();
    see_in_queue(&lock, 1);

    interrupt.raise();

    for thread in threads {
        assert_eq!(thread.join().unwrap().kind(), ErrorKind::Interrupted);
    }
    assert_nobody_waits(&lock, guard);
}

pub(crate) fn an_interrupt_raised_before_ends_a_later_wait<W: World>(world: &W) {
    let lock = same_jobs(world);
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
    let interrupt = Interrupt::new();
    interrupt.raise();

    let waiting = lock.clone().patience(Patience::FOREVER).interrupt(interrupt);
    let error = waiting.acquire().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert_nobody_waits(&lock, guard);
}
