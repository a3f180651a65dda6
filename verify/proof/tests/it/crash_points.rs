//! Crashes before every single change of the file system, in every verb.

use std::fs;

use lockbydir::Lock;
use rustix::process::Signal;

use crate::before::{Before, TIMEOUT};
use crate::stage::Stage;

/// Checks that the lock can be acquired again, at once or within the timeout, which is thus the longest time
/// that a crash may cost, and that then only `leaves` is left. Returns true if it was acquired at once.
fn next_holds(stage: &Stage, fenced: bool, leaves: &[&str], context: &str) -> bool {
    let next = Lock::new(stage.path("fragile")).timeout(TIMEOUT).fenced(fenced);
    let first = next.try_acquire().unwrap_or_else(|error| panic!("{context}: {error}"));
    let at_once = first.is_some();
    let guard = first.map_or_else(|| next.clone().patience(TIMEOUT * 2).acquire(), Ok);
    let guard = guard.unwrap_or_else(|error| panic!("{context}: {error}"));
    guard.release().unwrap_or_else(|error| panic!("{context}: {error}"));

    stage.clean();
    assert_eq!(stage.names(), leaves, "{context}");
    at_once
}

/// Crashes before the first change, then before the second, until the verb survives.
fn crash_everywhere(before: Before, verb: &str, more: &str, leaves: &[&str]) {
    let stage = Stage::on_disk();
    let mut at_once = 0;
    for n in 1.. {
        let mut victim = before.prepare(&stage, "fragile", more);
        assert_eq!(victim.ask(&format!("crash-before {n}")), "ok");
        victim.order(verb);
        let survived = victim.answer();
        drop(victim);

        let context = format!("{verb} {more}, crash before change {n}");
        at_once += u32::from(next_holds(&stage, more.contains("fenced"), leaves, &context));

        // The next round must begin as this one did, though a fenced lock's directory stays.
        for name in leaves {
            fs::remove_dir_all(stage.path(name)).expect("a fenced lock's directory");
        }
        if let Some(answer) = survived {
            let is_good = ["held", "ok", "removed"].iter().any(|good| answer.starts_with(good));
            assert!(is_good, "{verb} {more} without a crash: {answer}");
            assert!(n > 1, "{verb} {more} changes nothing?");
            println!("{verb} {more}: {} changes; had at once {} times", n - 1, at_once - 1);
            return;
        }
    }
}

#[test]
fn crash_in_acquire_leaves_the_lock_usable() {
    crash_everywhere(Before::Nothing, "acquire", "", &[]);
}

#[test]
fn crash_in_takeover_of_an_expired_lock_leaves_it_usable() {
    crash_everywhere(Before::Expired, "acquire", "", &[]);
}

#[test]
fn crash_in_takeover_from_the_dead_leaves_the_lock_usable() {
    crash_everywhere(Before::Dead, "acquire", "", &[]);
}

#[test]
fn crash_in_takeover_of_a_bare_directory_leaves_it_usable() {
    crash_everywhere(Before::Bare, "acquire", "", &[]);
}

#[test]
fn crash_in_acquiring_a_fenced_lock_leaves_it_usable() {
    crash_everywhere(Before::Nothing, "acquire", "fenced=1", &["fragile.lockdir"]);
}

#[test]
fn crash_in_taking_an_open_lock_leaves_it_usable() {
    crash_everywhere(Before::Open, "acquire", "fenced=1", &["fragile.lockdir"]);
}

#[test]
fn crash_in_taking_back_a_lingering_lock_leaves_it_usable() {
    crash_everywhere(Before::LeftByTheVictim, "acquire", "linger_ms=1000", &[]);
}

#[test]
fn crash_in_renew_leaves_the_lock_usable() {
    crash_everywhere(Before::HeldByTheVictim, "renew", "", &[]);
}

#[test]
fn crash_in_release_leaves_the_lock_usable() {
    crash_everywhere(Before::HeldByTheVictim, "release", "", &[]);
}

#[test]
fn crash_in_a_lingering_release_leaves_the_lock_usable() {
    crash_everywhere(Before::HeldByTheVictim, "release", "linger_ms=1000", &[]);
}

#[test]
fn crash_in_removing_a_lingering_lock_leaves_it_usable() {
    crash_everywhere(Before::LeftByTheVictim, "forget", "linger_ms=1000", &[]);
}

#[test]
fn crash_in_a_fenced_release_leaves_the_lock_usable() {
    crash_everywhere(Before::HeldByTheVictim, "release", "fenced=1", &["fragile.lockdir"]);
}

#[test]
fn crash_in_breaking_an_expired_lock_leaves_it_usable() {
    crash_everywhere(Before::Expired, "break-expired", "", &[]);
}

#[test]
fn crash_in_breaking_a_dead_lock_leaves_it_usable() {
    crash_everywhere(Before::Dead, "break-expired", "", &[]);
}

#[test]
fn crash_in_breaking_a_fenced_lock_leaves_it_usable() {
    crash_everywhere(Before::Dead, "break-expired", "fenced=1", &["fragile.lockdir"]);
}

#[test]
fn crash_in_breaking_by_force_leaves_the_lock_usable() {
    crash_everywhere(Before::HeldByAnother, "break-by-force", "", &[]);
}

#[test]
fn clean_removes_all_remains_of_a_crash_after_a_lost_race() {
    let stage = Stage::on_disk();
    // Staging makes two changes, installing the third; after a loss, two more remove the stage.
    for n in 4..=5 {
        let mut victim = stage.worker("fragile", "timeout_ms=1000");
        let mut winner = stage.worker("fragile", "timeout_ms=1000");
        assert_eq!(victim.ask("stop-before 3"), "ok");
        assert_eq!(victim.ask(&format!("crash-before {n}")), "ok");
        victim.order("try");
        assert!(victim.wait_stopped(), "it died before it could lose");

        winner.hold("try");
        victim.signal(Signal::CONT);

        assert_eq!(victim.answer(), None, "no crash before change {n}");
        drop(victim);
        assert_eq!(winner.ask("release"), "ok");
        let at_once =
            next_holds(&stage, false, &[], &format!("lost race, crash before change {n}"));
        assert!(at_once);
    }
}

#[test]
fn crash_while_queued_leaves_the_lock_usable() {
    crash_everywhere(Before::SoonExpired, "acquire", "", &[]);
}
