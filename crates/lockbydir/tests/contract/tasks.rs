//! Async tasks on tokio, and what is left behind when a future is dropped.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use lockbydir::Patience;

use super::{World, jobs, ms, patient, same_jobs, secs};

fn on_two_threads<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build().unwrap().block_on(work)
}

pub(crate) fn tasks_exclude_each_other<W: World>(world: &W) {
    let inside = Arc::new(AtomicUsize::new(0));
    on_two_threads(async {
        let tasks: Vec<_> = (0..60)
            .map(|number| {
                let lock = patient(&if number % 2 == 0 { jobs(world) } else { same_jobs(world) });
                let inside = inside.clone();
                tokio::spawn(async move {
                    let guard = lock.acquire_async().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

pub(crate) fn patience_ends_the_first_and_the_second_task<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
    let hasty = jobs(world).patience(ms(200));

    let (first, second) =
        on_two_threads(async { tokio::join!(hasty.acquire_async(), hasty.acquire_async()) });

    assert!(first.unwrap_err().is_patience_over());
    assert!(second.unwrap_err().is_patience_over());
    guard.release().unwrap();
}

/// Drops a future after each number of polls, from none on: at every point where it awaits. The
/// lock is held at first, and is released when the future has been polled `release_after` times.
fn drop_everywhere<W: World>(world: &W, release_after: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    for drop_after in 0..6 {
        let lock = jobs(world);
        let mut guard = Some(lock.acquire().unwrap());
        let waiting = lock.clone().patience(Patience::FOREVER);
        let ahead = (release_after % 2 == 1).then(|| {
            // Another thread of our process is ahead of it.
            let lock = patient(&lock);
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
        // From here on the future never takes the lock: the lock is ours, or is free for us once
        // the future has left the queue.
        drop(guard.take());
        if let Some(ahead) = ahead {
            ahead.join().unwrap().unwrap();
        }
        let mine = patient(&lock).acquire();
        let what = format!("dropped after {drop_after} polls, released after {release_after}");
        let mine = mine.unwrap_or_else(|error| panic!("{what}: {error}"));
        std::thread::sleep(ms(5)); // time for anything that it might still do
        assert!(mine.renew().is_ok(), "{what}");
        drop(mine);
        world.assert_clean();
    }
}

pub(crate) fn a_dropped_future_never_takes_the_lock<W: World>(world: &W) {
    for release_after in 0..6 {
        drop_everywhere(world, release_after);
    }
}

pub(crate) fn futures_dropped_at_random_lose_no_wake_up<W: World>(world: &W) {
    let had: usize = on_two_threads(async {
        let tasks: Vec<_> = (0..40u64)
            .map(|number| {
                let lock = patient(&if number % 2 == 0 { jobs(world) } else { same_jobs(world) });
                tokio::spawn(async move {
                    let mut had = 0;
                    for round in 0..20u64 {
                        let limit = ms((number * 7 + round * 13) % 40);
                        let got = tokio::time::timeout(limit, lock.acquire_async()).await;
                        if let Ok(guard) = got {
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
        had
    });
    assert!(had > 0);
    drop(patient(&jobs(world)).acquire().unwrap());
}
