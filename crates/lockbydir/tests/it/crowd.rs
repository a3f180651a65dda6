//! Many threads and tasks of one process: they stand in line among themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use lockbydir::{Lock, Patience};

use crate::{assert_empty, impatient, ms, secs};

#[cfg(unix)]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn tickets(folder: &std::path::Path) -> usize {
    let line = std::fs::read_dir(folder.join("jobs.lockdir.line"));
    line.map_or(0, |line| {
        line.flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("t1."))
            .count()
    })
}

#[test]
fn three_hundred_threads_cost_one_ticket_and_few_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(secs(60));
    let guard = lock.acquire().unwrap();
    #[cfg(unix)]
    let before = descriptors();
    let waiting = Arc::new(AtomicUsize::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..300)
        .map(|_| {
            // Handles of their own, for the same lock.
            let lock = Lock::new(lock.name()).patience(secs(60));
            let (waiting, inside) = (waiting.clone(), inside.clone());
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                let guard = lock.acquire().unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                inside.fetch_sub(1, Ordering::SeqCst);
                guard.release().unwrap();
            })
        })
        .collect();
    while waiting.load(Ordering::Relaxed) < 300 || tickets(folder.path()) == 0 {
        thread::yield_now();
    }

    // Other tests of this binary run beside this one; each needs a few of its own.
    #[cfg(unix)]
    assert!(descriptors() < before + 60, "{} descriptors, {before} before", descriptors());
    assert_eq!(tickets(folder.path()), 1);
    guard.release().unwrap();

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_empty(folder.path());
}

#[test]
fn threads_are_served_in_the_order_in_which_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(secs(60)).timeout(secs(60));
    let guard = lock.acquire().unwrap();
    let (send, served) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (lock, send) = (lock.clone(), send.clone());
            let (told, is_waiting) = mpsc::channel();
            let lock = lock.on_wait(move |_| {
                let _ = told.send(());
            });
            let thread = thread::spawn(move || {
                let guard = lock.acquire().unwrap();
                send.send(number).unwrap();
                guard.release().unwrap();
            });
            is_waiting.recv().unwrap();
            thread
        })
        .collect();

    guard.release().unwrap();

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(send);
    assert_eq!(served.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_empty(folder.path());
}

#[test]
fn a_thread_whose_patience_ends_leaves_its_place_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let guard = lock.acquire().unwrap();
    let impatient = lock.clone().patience(ms(300));
    let hasty: Vec<_> = (0..5)
        .map(|_| {
            let lock = impatient.clone();
            thread::spawn(move || lock.acquire().map(drop).unwrap_err())
        })
        .collect();
    let patient = lock.clone().patience(secs(60));
    let patient = thread::spawn(move || patient.acquire().map(drop));

    for thread in hasty {
        assert!(thread.join().unwrap().is_patience_over());
    }
    guard.release().unwrap();

    patient.join().unwrap().unwrap();
    assert_empty(folder.path());
}

#[test]
fn an_interrupt_reaches_a_thread_that_is_not_yet_in_line() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(Patience::FOREVER);
    let guard = lock.acquire().unwrap();
    let interrupt = lockbydir::Interrupt::new();
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let lock = lock.clone().interrupt(interrupt.clone());
            thread::spawn(move || lock.acquire().map(drop).unwrap_err())
        })
        .collect();
    while tickets(folder.path()) == 0 {
        thread::yield_now();
    }

    interrupt.raise();

    for thread in threads {
        assert_eq!(thread.join().unwrap().kind(), lockbydir::ErrorKind::Interrupted);
    }
    guard.release().unwrap();
    assert_empty(folder.path());
}
