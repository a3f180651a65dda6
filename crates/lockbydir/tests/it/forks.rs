//! Forked children, and what they must not touch. Children with the PID of an ancestor are tested
//! in the proofs.

use std::fs;
use std::future::Future;
use std::io::Read;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use lockbydir::{Error, ErrorKind, Guard, Interrupt, Patience};
use lockbydir_testbed::needs;

use crate::{assert_empty, impatient, secs};

/// Runs `work` in a forked child, and returns its result. The test must need `OwnProcess`.
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
    needs!(OwnProcess);
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

/// Returns true if this process has a file of this path open.
fn has_open(path: &Path) -> bool {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.map(|entry| fs::read_link(entry.path())).any(|link| link.is_ok_and(|link| link == path))
}

/// The copy of the bell in a forked child is no waiter, so the release leaves nothing for one.
#[test]
fn a_child_forked_during_a_wait_does_not_keep_the_lock_open() {
    needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let bell = folder.path().canonicalize().unwrap().join("jobs.lockdir.queue/bell");
    let guard = impatient(folder.path()).acquire().unwrap();
    let waiting = impatient(folder.path()).patience(secs(60));
    let waiter = thread::spawn(move || waiting.acquire());
    while !has_open(&bell) {
        thread::yield_now();
    }
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (mut checked, check) = std::io::pipe().unwrap();
    let child = match fork::fork().unwrap() {
        fork::Fork::Child => {
            let has_copy = has_open(&bell);
            drop((writer, check));
            let is_end = reader.read(&mut [0]).is_ok_and(|length| length == 0);
            std::process::exit(i32::from(!(has_copy && is_end)));
        }
        fork::Fork::Parent(child) => child,
    };
    // The release removes the bell, and with it the name by which the child finds its copy.
    drop(check);
    assert_eq!(checked.read(&mut [0]).unwrap(), 0);

    guard.release().unwrap();
    waiter.join().unwrap().unwrap().release().unwrap();

    assert_empty(folder.path());
    drop(writer);
    assert_eq!(fork::waitpid(child).unwrap(), 0, "the child had no copy of the bell");
}

#[test]
fn a_child_inherits_a_raised_interrupt() {
    needs!(OwnProcess);
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

    needs!(OwnProcess);
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
    needs!(OwnProcess);
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
    needs!(OwnProcess);
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
