//! How others judge an entry by its name: whether the holder is dead, and which clock counts.

use std::fs;
use std::process::{Command, Stdio};

use lockbydir::{How, State};

use crate::{entry, impatient, ms};

/// Changes the holder's entry as if another process had written it.
fn rewrite(folder: &std::path::Path, part: usize, value: &str) {
    let old = entry(folder);
    let mut parts: Vec<_> = old.split('.').collect();
    parts[part] = value;
    let at = folder.join("jobs.lockdir");
    fs::rename(at.join(&old), at.join(parts.join("."))).unwrap();
}

/// Returns a program that ends when its standard input ends.
fn listener() -> Command {
    let mut command = Command::new(if cfg!(windows) { "cmd" } else { "cat" });
    if cfg!(windows) {
        command.args(["/c", "set /p x="]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

/// Opens a directory so that its times can be set.
fn open_dir(path: &std::path::Path) -> fs::File {
    #[cfg(unix)]
    return fs::File::open(path).unwrap();
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const WRITE_ATTRIBUTES: u32 = 0x100;
        const BACKUP_SEMANTICS: u32 = 0x0200_0000;
        let mut options = fs::OpenOptions::new();
        options.access_mode(WRITE_ATTRIBUTES).custom_flags(BACKUP_SEMANTICS);
        options.open(path).unwrap()
    }
}

const BOOT: usize = 8;
const TIME: usize = 9;
const PIDS: usize = 10;
const OWNER: usize = 11;

#[test]
fn a_holder_whose_process_is_gone_is_dead_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();
    let mut child = listener().spawn().unwrap();
    let pid = child.id();
    drop(child.stdin.take());
    child.wait().unwrap();

    rewrite(folder.path(), OWNER, &format!("{pid}-7"));

    assert_eq!(lock.status().unwrap().state, State::Dead);
    assert!(matches!(lock.acquire().unwrap().how(), How::AfterDeath(_)));
}

#[test]
fn a_process_that_reuses_the_pid_is_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();

    rewrite(folder.path(), OWNER, &format!("{}-7", std::process::id()));

    assert_eq!(lock.status().unwrap().state, State::Dead);
}

#[test]
fn a_lock_of_two_processes_lives_until_both_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let guard = lock.acquire().unwrap();
    let mut child = listener().spawn().unwrap();
    guard.name_child(child.id()).unwrap();
    let both = entry(folder.path()).split('.').nth(OWNER).unwrap().to_owned();
    let (own, other) = both.split_once('+').unwrap();
    assert!(own.starts_with(&format!("{}-", std::process::id())));

    rewrite(folder.path(), OWNER, &format!("999999-7+{other}"));
    assert_eq!(lock.status().unwrap().state, State::Held);

    drop(child.stdin.take());
    while lock.status().unwrap().state == State::Held {}
    assert_eq!(lock.status().unwrap().state, State::Dead);
    child.wait().unwrap();
}

#[test]
fn pids_of_another_namespace_mean_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();

    rewrite(folder.path(), PIDS, "0000abcd");
    rewrite(folder.path(), OWNER, "999999-7");

    assert_eq!(lock.status().unwrap().state, State::Held);
}

#[test]
fn an_entry_of_another_boot_is_judged_by_its_change_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();

    rewrite(folder.path(), BOOT, "00000000000000aa");

    // It was written after our boot, so it is from another kernel, a client of a file system that
    // we export.
    assert_eq!(lock.status().unwrap().state, State::Held);

    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let directory = open_dir(&folder.path().join("jobs.lockdir"));
    directory.set_times(std::fs::FileTimes::new().set_modified(long_ago)).unwrap();
    assert_eq!(lock.status().unwrap().state, State::Held);
}

#[test]
fn a_renewal_from_another_host_drops_unseen_processes() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let key = lock.acquire().unwrap().keep();
    rewrite(folder.path(), BOOT, "00000000000000aa");

    lock.renew(&key).unwrap();

    let name = entry(folder.path());
    assert_eq!(name.split('.').nth(OWNER), Some("none"), "{name}");
    lock.release(&key).unwrap();
}

#[test]
fn a_lock_of_another_clock_is_watched_for_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.clone().timeout(ms(400)).acquire().unwrap();
    rewrite(folder.path(), TIME, "0000abcd");
    rewrite(folder.path(), PIDS, "0000abcd");
    let begin = std::time::Instant::now();

    let guard = lock.clone().patience(crate::secs(60)).acquire().unwrap();

    assert!(begin.elapsed() >= ms(400), "{:?}", begin.elapsed());
    assert!(matches!(guard.how(), How::AfterExpiry(_)));
}

#[test]
fn a_stamp_from_the_future_expires_too() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).timeout(ms(200));
    let _old = lock.acquire().unwrap();
    rewrite(folder.path(), 7, "99999999999999");

    assert!(lock.try_acquire().unwrap().is_none());
    assert!(lock.clone().patience(crate::secs(60)).acquire().is_ok());
}
