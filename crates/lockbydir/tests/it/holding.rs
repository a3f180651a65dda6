//! Acquiring, renewing, releasing, keeping, lingering.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use lockbydir::{Broken, ErrorKind, How, Key, Lock, Owner, State};

use crate::{assert_empty, entry, impatient, ms, secs};

#[test]
fn a_held_lock_excludes_and_a_released_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());

    let guard = lock.acquire().unwrap();

    assert_eq!(*guard.how(), How::Free);
    assert!(guard.is_held() && guard.remaining() <= secs(10) && guard.remaining() > secs(8));
    assert!(lock.try_acquire().unwrap().is_none());
    let error = lock.acquire().unwrap_err();
    assert!(error.is_patience_over(), "{error}");
    assert_eq!(error.holder().unwrap().pid, Some(std::process::id()));
    assert!(lock.is_locked().unwrap());
    guard.release().unwrap();
    assert!(!lock.is_locked().unwrap());
    assert_empty(folder.path());
}

#[test]
fn tokens_grow_over_holdings_and_directories() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let mut last = 0;

    for _ in 0..200 {
        let guard = lock.acquire().unwrap();
        assert!(guard.token() > last);
        last = guard.token();
    }
}

#[test]
fn a_fenced_lock_keeps_its_directory_and_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let fenced = impatient(folder.path()).fenced(true);
    let token = fenced.acquire().unwrap().token();
    assert!(entry(folder.path()).starts_with("v1.open.f."));
    assert_eq!(fenced.status().unwrap().state, State::Open);

    // A later holder that does not know it is fenced keeps it so, and a break does too.
    let plain = impatient(folder.path());
    let guard = plain.acquire().unwrap();
    assert!(guard.token() > token);
    assert!(matches!(guard.how(), How::HandedOver(before) if before.token == token));
    assert!(matches!(plain.break_by_force().unwrap(), Broken::Removed(Some(_))));

    assert!(entry(folder.path()).starts_with(&format!("v1.open.f.{}.", guard.token())));
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(!guard.is_held());
    assert!(guard.release().unwrap_err().is_lost());
}

#[test]
fn a_lapsed_lock_is_taken_over_and_exactly_one_successor_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("jobs");
    let sleeper = Lock::new(&name).timeout(ms(60)).label("sleeper").acquire().unwrap();
    let renewed = Arc::new(AtomicU64::new(0));

    let told: usize = std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let guard = Lock::new(&name).patience(secs(20)).acquire().unwrap();
                    assert!(!sleeper.is_held(), "taken before the holder's deadline");
                    renewed.fetch_add(1, Ordering::Relaxed);
                    match guard.how() {
                        How::AfterLapse(before) => {
                            assert_eq!(before.holder.label.as_deref(), Some("sleeper"));
                            assert_eq!(before.token, sleeper.token());
                            1
                        }
                        _ => 0,
                    }
                })
            })
            .collect();
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum()
    });

    assert_eq!((told, renewed.load(Ordering::Relaxed)), (1, 8));
    assert!(sleeper.renew().unwrap_err().is_lost());
    drop(sleeper);
    assert_empty(folder.path());
}

#[test]
fn a_late_renewal_succeeds_if_nobody_took_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).timeout(ms(20));
    let guard = lock.acquire().unwrap();
    while lock.status().unwrap().state != State::Lapsed {}

    assert!(!guard.is_held());
    guard.set_timeout(secs(10)).unwrap();

    assert!(guard.is_held());
    assert!(lock.try_acquire().unwrap().is_none());
}

#[test]
fn the_keeper_keeps_a_lock_for_many_timeouts() {
    let folder = tempfile::tempdir().unwrap();
    // Under Wine every call goes through one server, which other tests keep busy.
    let timeout = ms(if cfg!(windows) { 1000 } else { 150 });
    let lock = impatient(folder.path()).timeout(timeout).renew_automatically(true);
    let guard = lock.acquire().unwrap();
    let watcher = impatient(folder.path()).patience(timeout * 6);

    assert!(watcher.acquire().unwrap_err().is_patience_over());
    assert!(guard.is_held());

    guard.release().unwrap();
    assert_empty(folder.path());
}

#[test]
fn the_keeper_tells_of_a_loss_before_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = mpsc::channel();
    let lock = impatient(folder.path())
        .timeout(ms(600))
        .renew_automatically(true)
        .on_lost(move |error| tell.send(error.to_string()).unwrap());
    let begin = std::time::Instant::now();
    let guard = lock.acquire().unwrap();

    fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();

    let error = told.recv_timeout(secs(5)).unwrap();
    assert!(begin.elapsed() < ms(600), "{:?}", begin.elapsed());
    assert!(error.contains("lost the lock"), "{error}");
    assert!(guard.wait_lost(secs(1)));
    assert!(!guard.is_held() && guard.lost().is_some());
}

#[test]
fn a_kept_lock_is_renewed_and_released_by_its_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).owner(Owner::Nobody);

    let key: Key = lock.acquire().unwrap().keep().to_string().parse().unwrap();

    assert!(lock.try_acquire().unwrap().is_none());
    lock.clone().timeout(secs(77)).renew(&key).unwrap();
    assert_eq!(lock.status().unwrap().timeout, Some(secs(77)));
    lock.release(&key).unwrap();
    assert!(lock.release(&key).unwrap_err().is_lost());
    assert!(lock.renew(&key).unwrap_err().is_lost());
    assert_empty(folder.path());
}

#[test]
fn a_lingering_lock_stays_open_for_its_time_and_then_vanishes() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).linger(secs(60));
    drop(lock.acquire().unwrap());
    assert_eq!(lock.status().unwrap().state, State::Open);

    // Others may take it, and the handle that left it does not mind.
    let other = impatient(folder.path()).acquire().unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    other.release().unwrap();
    for _ in 0..100 {
        lock.acquire().unwrap().release().unwrap();
    }
    drop(lock);
    assert_empty(folder.path());
}

#[test]
fn a_directory_that_lingered_long_enough_is_removed_without_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).linger(ms(30));

    drop(lock.acquire().unwrap());

    let end = std::time::Instant::now() + secs(10);
    while folder.path().join("jobs.lockdir").exists() {
        assert!(std::time::Instant::now() < end, "still there");
    }
    assert!(lock.try_acquire().unwrap().is_some());
}

#[test]
fn without_a_rename_that_refuses_to_replace_the_lock_still_excludes() {
    let folder = tempfile::tempdir().unwrap();
    lockbydir::testing::force_no_replace_fallback(true);
    let lock = impatient(folder.path());

    let guard = lock.acquire().unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    drop(guard);
    fs::create_dir(folder.path().join("jobs.lockdir")).unwrap();
    assert!(lock.try_acquire().unwrap().is_none(), "a bare lock was replaced");

    lockbydir::testing::force_no_replace_fallback(false);
    fs::remove_dir(folder.path().join("jobs.lockdir")).unwrap();
    assert_empty(folder.path());
}

#[test]
fn a_wait_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let _guard = impatient(folder.path()).acquire().unwrap();
    let interrupt = lockbydir::Interrupt::new();
    let raise = interrupt.clone();
    let lock = impatient(folder.path())
        .patience(lockbydir::Patience::FOREVER)
        .interrupt(interrupt)
        .on_wait(move |waiting| {
            assert_eq!(waiting.status.state, State::Held);
            raise.raise();
        });

    assert_eq!(lock.acquire().unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn what_crashes_left_behind_is_cleaned_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let guard = impatient(path).acquire().unwrap();
    let living = entry(path);
    let nonce = living.split('.').nth(4).unwrap();
    let dead = living.replace(&format!(".{}-", std::process::id()), ".999999-");
    assert_ne!(living, dead);
    let other = format!("{}{}", if nonce.starts_with('0') { '1' } else { '0' }, &nonce[1..]);
    for (stage, entry) in [(nonce.to_owned(), &dead), (other, &living)] {
        let stage = path.join(format!("old.lockdir.{stage}"));
        fs::create_dir(&stage).unwrap();
        fs::write(stage.join(entry), "").unwrap();
    }
    fs::create_dir(path.join("mine.lockdir.backup")).unwrap();

    let removed = lockbydir::clean(path).unwrap();

    assert_eq!(removed, [path.join(format!("old.lockdir.{nonce}"))]);
    assert_eq!(fs::read_dir(path).unwrap().count(), 3);
    drop(guard);
}

#[test]
fn every_lock_below_a_folder_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let _one = Lock::new(folder.path().join("one")).label("first").acquire().unwrap();
    let _two = Lock::new(below.join("two")).acquire().unwrap();
    fs::create_dir(folder.path().join("bare.lockdir")).unwrap();

    let found = lockbydir::list(folder.path()).unwrap();

    let found: Vec<_> = found
        .iter()
        .map(|status| {
            let below = status.path.strip_prefix(folder.path()).unwrap();
            (below.to_str().unwrap().replace('\\', "/"), status.state)
        })
        .collect();
    let expected = [
        ("a/b/two.lockdir", State::Held),
        ("bare.lockdir", State::Bare),
        ("one.lockdir", State::Held),
    ];
    assert_eq!(found, expected.map(|(path, state)| (path.to_owned(), state)));
}
