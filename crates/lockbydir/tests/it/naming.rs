//! What an entry's name makes others do: who is dead, and whose clock counts.

use std::fs;
use std::process::{Command, Stdio};

use lockbydir::{How, State};

use crate::{entry, impatient, ms};

/// Changes the holder's entry as if somebody else had written it.
fn rewrite(folder: &std::path::Path, part: usize, value: &str) {
    let old = entry(folder);
    let mut parts: Vec<_> = old.split('.').collect();
    parts[part] = value;
    let at = folder.join("jobs.lockdir");
    fs::rename(at.join(&old), at.join(parts.join("."))).unwrap();
}

/// A program that ends when its standard input does.
fn listener() -> Command {
    let mut command = Command::new(if cfg!(windows) { "cmd" } else { "cat" });
    if cfg!(windows) {
        command.args(["/c", "set /p x="]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

/// A directory, opened to set its times.
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
fn a_process_with_the_pid_of_the_dead_one_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();

    rewrite(folder.path(), OWNER, &format!("{}-7", std::process::id()));

    assert_eq!(lock.status().unwrap().state, State::Dead);
}

#[test]
fn a_zombie_is_dead_and_a_lock_of_two_processes_lives_until_both_are_gone() {
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
fn an_entry_of_another_boot_is_dead_only_by_a_change_time_that_nobody_can_set() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.acquire().unwrap();

    rewrite(folder.path(), BOOT, "00000000000000aa");

    // Written since our boot: it came from another kernel, a client of an export of ours.
    assert_eq!(lock.status().unwrap().state, State::Held);

    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let directory = open_dir(&folder.path().join("jobs.lockdir"));
    directory.set_times(std::fs::FileTimes::new().set_modified(long_ago)).unwrap();
    assert_eq!(lock.status().unwrap().state, State::Held);
}

#[test]
fn a_renewal_from_elsewhere_says_nothing_of_processes_it_cannot_see() {
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
fn without_a_common_clock_a_lock_is_watched_for_its_whole_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path());
    let _old = lock.clone().timeout(ms(400)).acquire().unwrap();
    rewrite(folder.path(), TIME, "0000abcd");
    rewrite(folder.path(), PIDS, "0000abcd");
    let begin = std::time::Instant::now();

    let guard = lock.clone().patience(ms(5000)).acquire().unwrap();

    assert!(begin.elapsed() >= ms(400), "{:?}", begin.elapsed());
    assert!(matches!(guard.how(), How::AfterExpiry(_)));
}

#[test]
fn a_stamp_from_the_future_is_no_lock_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let lock = impatient(folder.path()).timeout(ms(200));
    let _old = lock.acquire().unwrap();
    rewrite(folder.path(), 7, "99999999999999");

    assert!(lock.try_acquire().unwrap().is_none());
    assert!(lock.clone().patience(ms(5000)).acquire().is_ok());
}
