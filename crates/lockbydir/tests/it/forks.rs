//! Forked children, and what they must not touch. Children with the PID of an ancestor are tested
//! in the proofs.

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use lockbydir::{Error, ErrorKind, Guard, Interrupt, Patience};

use crate::{impatient, secs};

/// Runs `work` in a forked child, and returns its result.
pub(crate) fn in_a_child(work: impl FnOnce() -> bool) -> bool {
    match fork::fork().unwrap() {
        fork::Fork::Child => std::process::exit(i32::from(!work())),
        fork::Fork::Parent(child) => fork::waitpid(child).unwrap() == 0,
    }
}

/// Returns how much CPU time this thread of ours has used.
fn cpu_of(thread: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn wait_in_queue(folder: &std::path::Path) {
    let lock = impatient(folder);
    while lock.status().unwrap().queue.is_empty() {
        thread::yield_now();
    }
}

#[test]
fn an_interrupt_in_a_child_does_not_wake_the_parent() {
    let folder = tempfile::tempdir().unwrap();
    let guard = impatient(folder.path()).acquire().unwrap();
    let interrupt = Interrupt::new();
    let waiting = impatient(folder.path()).patience(Patience::FOREVER).interrupt(interrupt.clone());
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || {
        sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        waiting.acquire().map(drop)
    });
    let waiter_id = receiver.recv().unwrap();
    wait_in_queue(folder.path());

    let in_child = interrupt.clone();
    assert!(in_a_child(move || {
        in_child.raise();
        in_child.is_raised()
    }));

    assert!(!interrupt.is_raised());
    let before = cpu_of(waiter_id);
    thread::sleep(secs(2));
    let used = cpu_of(waiter_id) - before;
    assert!(used < Duration::from_millis(100), "the waiter used {used:?} of 2 s");
    interrupt.raise();
    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    drop(guard);
}

#[test]
fn a_child_inherits_a_raised_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.raise();
    let guard = impatient(folder.path()).acquire().unwrap();
    let waiting = impatient(folder.path()).patience(Patience::FOREVER).interrupt(interrupt.clone());

    assert!(in_a_child(|| waiting.acquire().is_err_and(|e| e.kind() == ErrorKind::Interrupted)));

    drop(guard);
}

#[cfg(feature = "tokio")]
#[test]
fn a_child_does_not_touch_its_parents_async_wait() {
    type Wait<'a> = Pin<Box<dyn Future<Output = Result<Guard, Error>> + 'a>>;

    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(Patience::FOREVER);
    let guard = lock.acquire().unwrap();
    let mut wait: Option<Wait> = Some(Box::pin(lock.acquire_async()));
    let poll = |wait: &mut Option<Wait>| {
        let wait = wait.as_mut().unwrap().as_mut();
        wait.poll(&mut Context::from_waker(Waker::noop()))
    };
    assert!(poll(&mut wait).is_pending());
    wait_in_queue(folder.path());

    assert!(in_a_child(|| {
        let refused = match poll(&mut wait) {
            Poll::Ready(Err(error)) => error.kind() == ErrorKind::Usage,
            _ => false,
        };
        drop(wait.take());
        refused
    }));

    guard.release().unwrap();
    let guard = loop {
        match poll(&mut wait) {
            Poll::Ready(guard) => break guard.unwrap(),
            Poll::Pending => thread::yield_now(),
        }
    };
    assert!(guard.is_held());
}

#[test]
fn a_relative_name_means_the_same_lock_after_a_chdir() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.lockdir");

    // The directory is changed in a child, since it is shared by all threads of a process.
    assert!(in_a_child(|| {
        std::env::set_current_dir(folder.path()).unwrap();
        let lock = lockbydir::Lock::new("jobs").timeout(secs(7));
        std::env::set_current_dir("/").unwrap();
        let guard = lock.acquire().unwrap();
        guard.path() == path && path.exists() && lock.path().unwrap() == path
    }));
}

#[test]
fn a_relative_name_needs_a_current_directory() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();

    assert!(in_a_child(|| {
        std::env::set_current_dir(&gone).unwrap();
        fs::remove_dir(&gone).unwrap();
        let error = lockbydir::Lock::new("jobs").try_acquire().unwrap_err();
        let is_clear = error.to_string().contains("cannot find the current directory");
        drop(impatient(folder.path()).acquire().unwrap());
        is_clear && error.kind() == ErrorKind::CannotMake
    }));
}
