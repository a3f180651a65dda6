//! Async tasks on tokio, and what is left when a future is dropped.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lockbydir::{Lock, Patience};

use crate::{assert_empty, impatient, ms, secs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_exclude_each_other_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).patience(secs(60));
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            tokio::spawn(async move {
                let guard = lock.acquire_async().await.unwrap();
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                guard.release().unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_empty(folder.path());
}

#[tokio::test]
async fn patience_ends_a_task_first_in_line_and_one_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let guard = lock.acquire().unwrap();
    let hasty = lock.clone().patience(ms(200));

    let (first, second) = tokio::join!(hasty.acquire_async(), hasty.acquire_async());

    assert!(first.unwrap_err().is_patience_over());
    assert!(second.unwrap_err().is_patience_over());
    guard.release().unwrap();
    assert_empty(folder.path());
}

/// Drops a future after each number of polls from none on: at every point where it awaits. The
/// lock is held at first and released when the future has been polled `release_after` times.
fn drop_everywhere(release_after: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    for drop_after in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let lock = impatient(folder.path());
        let mut guard = Some(lock.acquire().unwrap());
        let waiting = lock.clone().patience(Patience::FOREVER);
        let ahead = (release_after % 2 == 1).then(|| {
            // Somebody of our process is before it.
            let lock = lock.clone().patience(secs(60));
            std::thread::spawn(move || lock.acquire().map(drop))
        });
        {
            let mut future = pin!(waiting.acquire_async());
            let mut context = Context::from_waker(Waker::noop());
            for polled in 0..drop_after {
                if polled == release_after {
                    guard.take();
                }
                match future.as_mut().poll(&mut context) {
                    Poll::Ready(got) => {
                        drop(got.unwrap());
                        break;
                    }
                    Poll::Pending => std::thread::sleep(ms(3)), // give its thread a chance
                }
            }
        }
        // From here on it never takes the lock: it is ours, or free for us.
        drop(guard.take());
        if let Some(ahead) = ahead {
            ahead.join().unwrap().unwrap();
        }
        let mine = lock.try_acquire().unwrap();
        assert!(mine.is_some(), "dropped after {drop_after} polls, released after {release_after}");
        std::thread::sleep(ms(5)); // whatever it may still do, it would do now
        assert!(mine.as_ref().unwrap().renew().is_ok());
        drop(mine);
        assert_empty(folder.path());
    }
}

#[test]
fn a_dropped_future_leaves_the_line_and_never_takes_the_lock() {
    for release_after in 0..6 {
        drop_everywhere(release_after);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_dropped_at_random_lose_no_wake_up() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("jobs");
    let tasks: Vec<_> = (0..40u64)
        .map(|number| {
            let lock = Lock::new(&name).patience(secs(60));
            tokio::spawn(async move {
                let mut had = 0;
                for round in 0..20u64 {
                    let limit = ms((number * 7 + round * 13) % 40);
                    if let Ok(guard) = tokio::time::timeout(limit, lock.acquire_async()).await {
                        had += 1;
                        drop(guard.unwrap());
                    }
                }
                had
            })
        })
        .collect();
    let mut had = 0;
    for task in tasks {
        had += task.await.unwrap();
    }
    assert!(had > 0);
    assert!(Lock::new(&name).try_acquire().unwrap().is_some());
    assert_empty(folder.path());
}
