//! The cost of many waiting threads in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lockbydir::Lock;

use crate::{assert_empty, impatient, secs};

#[cfg(unix)]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn tickets(folder: &std::path::Path) -> usize {
    let queue = std::fs::read_dir(folder.join("jobs.lockdir.queue"));
    queue.map_or(0, |queue| {
        queue
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("t1."))
            .count()
    })
}

#[test]
fn three_hundred_threads_cost_one_ticket_and_few_descriptors() {
    #[cfg(unix)]
    lockbydir_testbed::needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(secs(60));
    let guard = lock.acquire().unwrap();
    #[cfg(unix)]
    let before = descriptors();
    let waiting = Arc::new(AtomicUsize::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..300)
        .map(|_| {
            // Separate handles of the same lock.
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

    // Only one of the threads waits in the queue on disk, and needs descriptors.
    #[cfg(unix)]
    assert!(descriptors() < before + 10, "{} descriptors, {before} before", descriptors());
    assert_eq!(tickets(folder.path()), 1);
    guard.release().unwrap();

    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_empty(folder.path());
}

/// Returns how often this thread of ours has gone to sleep.
#[cfg(target_os = "linux")]
fn sleeps(thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    sleeps.unwrap().trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_waiter_without_a_limit_sleeps_until_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(lockbydir::Patience::FOREVER);
    let guard = lock.acquire().unwrap();
    let first = thread::spawn({
        let lock = lock.clone();
        move || lock.acquire().unwrap().release().unwrap()
    });
    while tickets(folder.path()) == 0 {
        thread::yield_now();
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let second = thread::spawn(move || {
        sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        lock.acquire().unwrap().release().unwrap();
    });
    let second_id = receiver.recv().unwrap();
    // It sleeps when the count stays the same for some time.
    let settled = loop {
        let before = sleeps(second_id);
        thread::sleep(crate::ms(200));
        if before > 0 && sleeps(second_id) == before {
            break before;
        }
    };

    thread::sleep(secs(2));

    assert_eq!(sleeps(second_id), settled);
    guard.release().unwrap();
    first.join().unwrap();
    second.join().unwrap();
}
