//! Reentrant locks: who holds one may acquire it again.

use std::path::Path;
use std::thread;

use lockbydir::{ErrorKind, Lock};

use crate::{impatient, secs};

fn reentrant(folder: &Path) -> Lock {
    impatient(folder).reentrant(true)
}

#[test]
fn the_last_guard_releases_whatever_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path());
    let first = lock.acquire().unwrap();
    let second = reentrant(folder.path()).acquire().unwrap();
    let third = lock.clone().try_acquire().unwrap().expect("the thread holds it");
    assert_eq!((first.key(), first.key()), (second.key(), third.key()));

    first.release().unwrap();
    second.release_by_ref().unwrap();
    second.release_by_ref().unwrap();
    assert!(second.again().is_none(), "it was released");
    drop(second);

    assert!(third.is_held());
    assert!(impatient(folder.path()).try_acquire().unwrap().is_none());
    third.release().unwrap();
    assert!(!lock.is_locked().unwrap());
    let anew = lock.acquire().unwrap();
    anew.release().unwrap();
}

#[test]
fn another_thread_waits_as_usual() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path());
    let guards = [lock.acquire().unwrap(), lock.acquire().unwrap()];

    let by_another = |lock: Lock| thread::spawn(move || lock.acquire().map(drop)).join().unwrap();
    assert!(by_another(lock.clone()).unwrap_err().is_patience_over());
    let [first, second] = guards;
    drop(first);
    assert!(by_another(lock.clone()).unwrap_err().is_patience_over());
    // A guard that is moved to another thread still counts.
    thread::spawn(move || drop(second)).join().unwrap();
    by_another(lock).unwrap();
}

#[test]
fn without_the_option_a_thread_excludes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let guard = reentrant(folder.path()).acquire().unwrap();

    assert!(impatient(folder.path()).try_acquire().unwrap().is_none());
    drop(guard);
    let guard = impatient(folder.path()).acquire().unwrap();
    assert!(reentrant(folder.path()).try_acquire().unwrap().is_none());
    drop(guard);
}

#[test]
fn a_loss_ends_all_guards() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path()).timeout(secs(60));
    let (first, second) = (lock.acquire().unwrap(), lock.acquire().unwrap());

    lock.break_by_force().unwrap();
    assert!(first.renew().unwrap_err().is_lost());

    assert!(!first.is_held() && !second.is_held());
    // It is acquired anew, and the old guards have no part in that.
    let anew = lock.acquire().unwrap();
    assert_ne!(anew.key(), first.key());
    assert!(lock.acquire().is_ok());
    assert!(first.release().is_ok(), "another guard remains");
    assert!(second.release().unwrap_err().is_lost());
    assert!(anew.is_held() && lock.is_locked().unwrap());
    anew.release().unwrap();
}

#[test]
fn a_kept_key_ends_the_part_of_all_guards() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path()).timeout(secs(60));
    let (first, second) = (lock.acquire().unwrap(), lock.acquire().unwrap());

    let key = first.keep();

    second.release().unwrap();
    assert!(lock.is_locked().unwrap(), "the key has it");
    assert!(lock.try_acquire().unwrap().is_none());
    lock.release(&key).unwrap();
}

#[test]
fn a_reader_does_not_become_a_writer_by_asking_again() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path());
    let Ok(reader) = lock.acquire_shared() else { return };

    assert!(lock.acquire_shared().is_ok());
    let error = lock.acquire().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("would wait for itself"), "{error}");
    reader.release().unwrap();
    assert!(!lock.is_locked().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_does_not_own_it() {
    lockbydir_testbed::needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path());
    let guard = lock.acquire().unwrap();

    assert!(crate::forks::in_a_child(
        || lock.try_acquire().is_ok_and(|got| got.is_none()) && guard.again().is_none()
    ));

    assert!(lock.acquire().is_ok());
    guard.release().unwrap();
    assert!(!lock.is_locked().unwrap());
}

#[cfg(feature = "tokio")]
#[test]
fn each_task_counts_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let lock = reentrant(folder.path());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build().unwrap().block_on(async move {
        let by_a_task = |lock: Lock| {
            tokio::spawn(async move {
                let first = lock.acquire_async().await?;
                tokio::task::yield_now().await;
                let second = lock.acquire_async().await?;
                assert_eq!(first.key(), second.key());
                first.release_async().await?;
                assert!(second.is_held() && lock.acquire().is_ok());
                Ok::<_, lockbydir::Error>(second)
            })
        };

        let held = by_a_task(lock.clone()).await.unwrap().unwrap();
        assert!(by_a_task(lock.clone()).await.unwrap().unwrap_err().is_patience_over());
        held.release_async().await.unwrap();
        drop(by_a_task(lock.clone()).await.unwrap().unwrap());
        assert!(!lock.is_locked().unwrap());
    });
}
