//! Looks at locks: status and lists.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use lockbydir::{Lock, State};

use super::{World, jobs, patient, same_jobs, secs, see, see_in_queue};

pub(crate) fn a_free_lock_is_seen<W: World>(world: &W) {
    let lock = jobs(world);

    let status = lock.status().unwrap();

    assert_eq!(status.state, State::Free);
    assert_eq!(status.path, lock.path().unwrap());
    assert!(
        status.path.to_string_lossy().replace('\\', "/").ends_with("/jobs.lockdir"),
        "{status:?}"
    );
    assert!(status.holder.is_none() && status.queue.is_empty(), "{status:?}");
    assert!(!status.is_locked() && !lock.is_locked().unwrap());
}

pub(crate) fn a_held_lock_is_seen<W: World>(world: &W) {
    let guard = jobs(world).label("night work").timeout(secs(60)).acquire().unwrap();
    let lock = same_jobs(world);

    let status = lock.status().unwrap();

    assert_eq!((status.state, status.token), (State::Held, Some(guard.token())));
    assert_eq!(status.timeout, Some(guard.timeout()));
    let remaining = status.remaining.unwrap();
    assert!(remaining <= guard.timeout() && remaining > secs(40), "{status:?}");
    assert!(status.age.unwrap() < secs(20), "{status:?}");
    assert!(status.is_locked() && lock.is_locked().unwrap());
    let holder = status.holder.unwrap();
    assert_eq!((holder.pid, holder.child), (Some(std::process::id()), None));
    assert_eq!(holder.label.as_deref(), Some("night work"));
    assert!(!holder.host.is_empty() && holder.command.is_some(), "{holder:?}");
    let since = SystemTime::now().duration_since(holder.since).unwrap_or_default();
    assert!(since < secs(20), "{since:?}");
}

pub(crate) fn an_expired_lock_is_seen<W: World>(world: &W) {
    let guard = jobs(world).label("sleeper").timeout(W::SHORTEST).acquire().unwrap();
    let lock = same_jobs(world);

    see("it expires", || lock.status().unwrap().state == State::Expired);

    assert!(!guard.is_held());
    let status = lock.status().unwrap();
    assert_eq!((status.token, status.remaining), (Some(guard.token()), Some(Duration::ZERO)));
    assert_eq!(status.holder.as_ref().unwrap().label.as_deref(), Some("sleeper"));
    assert!(!status.is_locked() && !lock.is_locked().unwrap());
    guard.release().expect("nobody took it");
    assert_eq!(lock.status().unwrap().state, State::Free);
}

pub(crate) fn waiters_in_the_queue_are_seen<W: World>(world: &W) {
    let guard = jobs(world).timeout(secs(60)).acquire().unwrap();
    let lock = same_jobs(world);
    let waiting = [patient(&jobs(world)).label("first"), patient(&lock).label("second")];
    let waiters = [1, 2].map(|how_many| {
        let waiting = waiting[how_many - 1].clone();
        let waiter = thread::spawn(move || waiting.acquire().map(drop));
        see_in_queue(&lock, how_many);
        waiter
    });

    let queue = see_in_queue(&lock, 2);

    for (ticket, label) in queue.iter().zip(["first", "second"]) {
        assert_eq!(ticket.label.as_deref(), Some(label));
        assert_eq!(ticket.pid, Some(std::process::id()));
        assert!(!ticket.host.is_empty() && ticket.waiting < secs(20), "{ticket:?}");
    }
    guard.release().unwrap();
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
}

pub(crate) fn every_lock_below_a_folder_is_listed<W: World>(world: &W) {
    let folder = world.folder();
    assert_eq!(lockbydir::list(&folder).unwrap(), []);
    let two = Lock::new(format!("{folder}/two")).acquire().unwrap();
    let one = Lock::new(format!("{folder}/one")).label("first").acquire().unwrap();

    let found = lockbydir::list(&folder).unwrap();

    let paths: Vec<&Path> = found.iter().map(|status| status.path.as_path()).collect();
    assert_eq!(paths, [one.path(), two.path()]);
    assert!(found.iter().all(|status| status.state == State::Held));
    assert_eq!(found[0].holder.as_ref().unwrap().label.as_deref(), Some("first"));
}

pub(crate) fn cleaning_keeps_held_locks<W: World>(world: &W) {
    let guard = jobs(world).acquire().unwrap();
    let lock = same_jobs(world);
    let waiting = patient(&lock);
    let waiter = thread::spawn(move || waiting.acquire().map(drop));
    see_in_queue(&lock, 1);

    let removed = lockbydir::clean(world.folder()).unwrap();

    assert!(removed.is_empty(), "{removed:?}");
    assert_eq!(lock.status().unwrap().queue.len(), 1);
    guard.renew().unwrap();
    guard.release().unwrap();
    waiter.join().unwrap().unwrap();
}
