//! Holding a lock, as far as directories are concerned: their names, their content, and what is
//! left behind.

use std::fs;
use std::sync::mpsc;

use lockbydir::{Broken, How, Lock, State};

use crate::contract::{goes_well, see};
use crate::{assert_empty, entry, impatient, ms, secs};

#[test]
fn a_held_lock_excludes_and_a_released_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());

    let guard = lock.acquire().unwrap();

    assert_eq!(*guard.how(), How::Free);
    assert!(guard.is_held() && guard.remaining() <= secs(10));
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
fn a_fenced_lock_keeps_its_directory_and_token() {
    let folder = tempfile::tempdir().unwrap();
    let fenced = impatient(folder.path()).fenced(true);
    let token = fenced.acquire().unwrap().token();
    assert!(entry(folder.path()).starts_with("v1.open.f."));
    assert_eq!(fenced.status().unwrap().state, State::Open);

    // A later holder that does not set `fenced` keeps the lock fenced, and so does a break.
    let plain = impatient(folder.path());
    let guard = plain.acquire().unwrap();
    assert!(guard.token() > token);
    assert!(matches!(guard.how(), How::HandedOver(before) if before.token == Some(token)));
    assert!(matches!(plain.break_by_force().unwrap(), Broken::Removed(Some(_))));

    assert!(entry(folder.path()).starts_with(&format!("v1.open.f.{}.", guard.token())));
    assert!(guard.renew().unwrap_err().is_lost());
    assert!(!guard.is_held());
    assert!(guard.release().unwrap_err().is_lost());
}

#[test]
fn a_release_before_the_least_time_renames_the_entry_once() {
    let folder = tempfile::tempdir().unwrap();
    // Neither lingering nor fencing opens it before that time.
    let lock = impatient(folder.path()).at_least(secs(60)).linger(secs(60)).fenced(true);
    let guard = lock.acquire().unwrap();
    let before: Vec<_> = entry(folder.path()).split('.').map(str::to_owned).collect();

    guard.release().unwrap();

    let after: Vec<_> = entry(folder.path()).split('.').map(str::to_owned).collect();
    // State, kind, token and nonce stay; it was renewed once more; nobody is its owner.
    assert_eq!(before[1..5], after[1..5]);
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert_eq!(number(&after[5]), number(&before[5]) + 1);
    assert!((59_000..=60_002).contains(&number(&after[6])), "{after:?}");
    assert_eq!((after[11].as_str(), &after[12]), ("none", &before[12]));
    lock.break_by_force().unwrap();
}

#[test]
fn a_least_time_out_of_range_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let too_long = impatient(folder.path()).at_least(lockbydir::MAX_TIMEOUT + secs(1));
    assert_eq!(too_long.acquire().unwrap_err().kind(), lockbydir::ErrorKind::Usage);
    impatient(folder.path())
        .at_least(std::time::Duration::ZERO)
        .acquire()
        .unwrap()
        .release()
        .unwrap();
    assert_empty(folder.path());
}

#[test]
fn the_renewer_reports_a_loss_before_the_deadline() {
    goes_well(|_| {
        let folder = tempfile::tempdir().unwrap();
        let (sender, losses) = mpsc::channel();
        let lock = impatient(folder.path())
            .timeout(secs(3))
            .renew_automatically(true)
            .on_lost(move |error| sender.send(error.to_string()).unwrap());
        let begin = std::time::Instant::now();
        let guard = lock.acquire().unwrap();

        fs::remove_dir_all(folder.path().join("jobs.lockdir")).unwrap();

        let error = losses.recv_timeout(secs(60)).unwrap();
        let took = begin.elapsed();
        assert!(error.contains("lost the lock"), "{error}");
        assert!(guard.wait_lost(secs(1)));
        assert!(!guard.is_held() && guard.lost().is_some());
        if took < secs(3) { Ok(()) } else { Err(took) }
    });
}

#[test]
fn a_lingering_lock_stays_open_for_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).linger(secs(60));
    drop(lock.acquire().unwrap());
    assert_eq!(lock.status().unwrap().state, State::Open);

    // Others may take it, and the handle that left it there tolerates that.
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
fn a_lingering_directory_is_removed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).linger(ms(30));

    drop(lock.acquire().unwrap());

    let end = std::time::Instant::now() + secs(60);
    while folder.path().join("jobs.lockdir").exists() {
        assert!(std::time::Instant::now() < end, "still there");
    }
    assert!(lock.try_acquire().unwrap().is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn handles_that_linger_share_one_thread() {
    lockbydir_testbed::needs!(OwnProcess);
    let folder = tempfile::tempdir().unwrap();
    let count = || {
        let threads = fs::read_dir("/proc/self/task").unwrap();
        let names = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("comm")));
        names.filter(|name| name.as_ref().is_ok_and(|name| name == "lockbydir-linge\n")).count()
    };

    let kept: Vec<_> = (0..200)
        .map(|nth| {
            let dropped = Lock::new(folder.path().join("dropped")).linger(secs(60));
            dropped.acquire().unwrap().release().unwrap();
            let kept = Lock::new(folder.path().join(format!("kept{nth}"))).linger(secs(60));
            kept.acquire().unwrap().release().unwrap();
            kept
        })
        .collect();

    // A thread gives itself its name, and an earlier one may not have ended yet.
    see("one thread", || count() == 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 200);
    // An entry with a short time is removed in time, besides ones with long times.
    let short = impatient(folder.path()).linger(ms(20));
    short.acquire().unwrap().release().unwrap();
    let end = std::time::Instant::now() + secs(30);
    while folder.path().join("jobs.lockdir").exists() {
        assert!(std::time::Instant::now() < end, "still there");
    }
    drop(kept);
    assert_empty(folder.path());
}

#[test]
fn a_lock_excludes_without_a_no_replace_rename() {
    let folder = tempfile::tempdir().unwrap();
    lockbydir::simulated::force_no_replace_fallback(true);
    let lock = impatient(folder.path());

    let guard = lock.acquire().unwrap();
    assert!(lock.try_acquire().unwrap().is_none());
    drop(guard);
    fs::create_dir(folder.path().join("jobs.lockdir")).unwrap();
    assert!(lock.try_acquire().unwrap().is_none(), "a bare lock was replaced");

    lockbydir::simulated::force_no_replace_fallback(false);
    fs::remove_dir(folder.path().join("jobs.lockdir")).unwrap();
    assert_empty(folder.path());
}

#[test]
fn clean_removes_only_what_crashes_left_behind() {
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

#[test]
fn a_key_of_one_lock_does_nothing_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| Lock::new(folder.path().join(name)));
    let guard = one.acquire().unwrap();
    let _held = other.acquire().unwrap();

    assert!(other.renew(&guard.key()).unwrap_err().is_lost());
    assert!(other.release(&guard.key()).unwrap_err().is_lost());
    guard.release().unwrap();
}
