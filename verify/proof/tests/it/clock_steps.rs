//! Steps of the wall clock by an hour, in either direction, which must change nothing but numbers.
//!
//! These tests do not step the machine's clock. A step affects a process in two ways, and the tests produce
//! both: its wall clock is an hour off (by a preloaded library), and a directory's time of change is an
//! hour off. The boot clock cannot be stepped at all; a process may only have another one, in a time
//! namespace.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lockbydir_proof::{clock, scripted_worker::ScriptedWorker};
use lockbydir_testbed::needs;
use rustix::process::Signal;

use crate::stage::{Stage, WORKER, assert_followed, date};

const HOUR: i64 = 3600;
const LONG: &str = "timeout_ms=30000 patience_ms=300";
const SHORT: &str = "timeout_ms=300";
const PATIENT: &str = "timeout_ms=30000 patience_ms=5000";

fn wall() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(now.as_secs()).expect("a time before the end of time")
}

/// Starts a worker whose wall clock is `ahead` seconds ahead.
fn stepped(stage: &Stage, ahead: i64, options: &str) -> ScriptedWorker {
    let library = Path::new(WORKER).with_file_name("examples").join("libstepped_clock.so");
    assert!(library.exists(), "`cargo build --examples` makes {}", library.display());
    let mut worker = ScriptedWorker::start_with_stepped_clock(WORKER, &library, ahead);
    let off = i64::try_from(worker.number("wall")).expect("a time") - wall();
    assert!((off - ahead).abs() < 60, "its wall clock is {off} s ahead");
    worker.lock(&stage.path("steady"), options);
    worker
}

/// Checks that the waiter neither takes nor breaks the holder's lock.
fn assert_respects(waiter: &mut ScriptedWorker, holder: &mut ScriptedWorker) {
    assert_eq!(waiter.ask("try"), "no");
    assert_eq!(waiter.ask("break-expired"), "still-held");
    assert_eq!(waiter.ask("acquire"), "patience-over");
    assert_eq!(holder.ask("is-held"), "true");
    assert_eq!(holder.ask("renew"), "ok");
}

#[test]
fn a_waiter_with_a_wrong_wall_clock_respects_a_live_holder() {
    let stage = Stage::on_disk();
    for ahead in [-HOUR, HOUR] {
        let mut holder = stage.worker("steady", LONG);
        let mut waiter = stepped(&stage, ahead, LONG);
        holder.hold("acquire");

        assert_respects(&mut waiter, &mut holder);

        assert_eq!(holder.ask("release"), "ok");
    }
    stage.assert_empty();
}

#[test]
fn a_holder_with_a_wrong_wall_clock_keeps_its_lock() {
    let stage = Stage::on_disk();
    for ahead in [-HOUR, HOUR] {
        let mut holder = stepped(&stage, ahead, LONG);
        let mut waiter = stage.worker("steady", LONG);
        holder.hold("acquire");

        assert_respects(&mut waiter, &mut holder);

        assert_eq!(holder.ask("release"), "ok");
    }
    stage.assert_empty();
}

/// Checks that the next process acquires the lock after the timeout of the first, not before and not much
/// later, with a larger number.
fn assert_follows(holder: &mut ScriptedWorker, next: &mut ScriptedWorker) {
    let before = clock::now();
    let held = holder.hold("acquire");

    let taken = next.hold("acquire");

    let waited = Duration::from_nanos(taken.moment - before);
    assert_eq!(taken.how, "after-expiry");
    assert_followed(waited, Duration::from_millis(300));
    assert!(taken.token > held.token, "{taken:?} after {held:?}");
    assert_eq!(holder.ask("release"), "lost");
    assert_eq!(next.ask("release"), "ok");
}

#[test]
fn wall_clocks_do_not_affect_the_takeover_of_an_expired_lock() {
    let stage = Stage::on_disk();
    for ahead in [-HOUR, HOUR] {
        let mut steady = stage.worker("steady", SHORT);
        assert_follows(&mut steady, &mut stepped(&stage, ahead, PATIENT));

        let mut steady = stage.worker("steady", PATIENT);
        assert_follows(&mut stepped(&stage, ahead, SHORT), &mut steady);
    }
    stage.assert_empty();
}

#[test]
fn wall_clocks_do_not_delay_the_takeover_from_a_dead_holder() {
    let stage = Stage::on_disk();
    for ahead in [-HOUR, HOUR] {
        let mut next = stepped(&stage, ahead, PATIENT);
        let mut holder = stage.worker("steady", LONG);
        let held = holder.hold("acquire");

        holder.signal(Signal::KILL);
        holder.wait();
        let taken = next.hold("try");

        assert_eq!(taken.how, "after-death");
        assert!(taken.token > held.token, "{taken:?} after {held:?}");
        assert_eq!(next.ask("release"), "ok");
    }
    stage.assert_empty();
}

#[test]
fn a_fenced_locks_numbers_grow_though_the_wall_clock_steps_back() {
    let stage = Stage::on_disk();
    let mut tokens = Vec::new();
    for ahead in [HOUR, 0, -HOUR] {
        let mut holder = stepped(&stage, ahead, "timeout_ms=30000 fenced=1");
        tokens.push(holder.hold("acquire").token);
        assert_eq!(holder.ask("release"), "ok");
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
}

#[test]
fn a_lock_with_a_wrong_directory_date_is_held_for_its_timeout() {
    let stage = Stage::on_disk();
    let hour = Duration::from_secs(HOUR.unsigned_abs());
    for time in [SystemTime::now() - hour, SystemTime::now() + hour] {
        let mut holder = stage.worker("steady", LONG);
        holder.hold("acquire");
        date(&stage.directory("steady"), time);
        assert_respects(&mut stage.worker("steady", LONG), &mut holder);
        assert_eq!(holder.ask("release"), "ok");

        let mut holder = stage.worker("steady", SHORT);
        let mut next = stage.worker("steady", PATIENT);
        let before = clock::now();
        holder.hold("acquire");
        date(&stage.directory("steady"), time);
        let waited = Duration::from_nanos(next.hold("acquire").moment - before);
        assert_followed(waited, Duration::from_millis(300));
        assert_eq!(holder.ask("release"), "lost");
        assert_eq!(next.ask("release"), "ok");
    }
    stage.assert_empty();
}

#[test]
fn a_bare_directory_dated_ahead_is_locked_for_the_waiters_timeout() {
    let stage = Stage::on_disk();
    let bare = stage.directory("steady");
    let begun = clock::now();
    fs::create_dir(&bare).expect("a bare lock");
    date(&bare, SystemTime::now() + Duration::from_secs(HOUR.unsigned_abs()));
    let mut looker = stage.worker("steady", "timeout_ms=300 patience_ms=5000");

    let held = looker.hold("acquire");

    // It counts from the change of the directory, by a clock of the kernel that steps each 1 to 10 ms.
    let waited = Duration::from_nanos(held.moment - begun);
    assert_followed(waited + Duration::from_millis(10), Duration::from_millis(300));
    assert_eq!(looker.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_waiter_with_a_boot_clock_ahead_waits_for_the_timeout() {
    needs!(TimeNamespace);
    let stage = Stage::on_disk();
    let mut waiter = ScriptedWorker::start_in_another_time_namespace(WORKER, HOUR);
    let off = waiter.number("boot").abs_diff(clock::now() / 1_000_000_000);
    assert!(off.abs_diff(HOUR.unsigned_abs()) < 60, "its boot clock is {off} s off");

    waiter.lock(&stage.path("steady"), LONG);
    let mut holder = stage.worker("steady", LONG);
    holder.hold("acquire");
    assert_respects(&mut waiter, &mut holder);
    assert_eq!(holder.ask("release"), "ok");

    // It cannot compare the clocks, and so it watches for the whole timeout.
    waiter.lock(&stage.path("steady"), PATIENT);
    let mut holder = stage.worker("steady", "timeout_ms=1000");
    let begun = clock::now();
    holder.hold("acquire");
    assert_eq!(waiter.hold("acquire").how, "after-expiry");
    let waited = Duration::from_nanos(clock::now() - begun);
    assert_followed(waited, Duration::from_secs(1));
    assert_eq!(holder.ask("release"), "lost");
    assert_eq!(waiter.ask("release"), "ok");
    stage.assert_empty();
}
