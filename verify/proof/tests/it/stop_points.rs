//! Stops before every single change of the file system, in every verb, while another process takes the lock;
//! then the stopped process continues. However late that is, it must harm nobody.

use lockbydir_proof::scripted_worker::Held;
use rustix::process::Signal;

use crate::before::Before;
use crate::stage::Stage;

/// Returns the number of changes that the verb makes when nobody stops it.
fn count(stage: &Stage, before: Before, verb: &str, more: &str) -> u64 {
    let mut calm = before.prepare(stage, "calm", more);
    let changes = calm.number("changes");
    calm.ask(verb);
    let count = calm.number("changes") - changes;
    assert!(count > 0, "{verb} {more} changes nothing?");
    count
}

/// Stops before every change. `late` contains the permitted answers of the slow process when it is too late.
fn stop_everywhere(before: Before, verb: &str, more: &str, late: &[&str]) {
    let stage = Stage::on_disk();
    let count = count(&stage, before, verb, more);

    for n in 1..=count {
        let mut slow = before.prepare(&stage, "stalled", more);
        // Its own timeout is how long it waits for a directory that a stopped release left empty.
        let mut other = stage.worker("stalled", "timeout_ms=1000 patience_ms=5000");
        slow.ask(&format!("stop-before {n}"));
        slow.order(verb);
        assert!(slow.wait_stopped(), "{verb} {more}: it died before change {n}");

        let got = other.ask("acquire");
        slow.signal(Signal::CONT);
        let answer = slow.answer().expect("an answer");

        let context = format!(
            "{verb} {more}, stopped before change {n}: the other '{got}', then the slow '{answer}'"
        );
        assert!(got.starts_with("held"), "{context}");
        assert!(late.contains(&answer.as_str()), "{context}");
        assert_ne!(slow.ask("is-held"), "true", "{context}, and thinks it holds");
        assert_eq!(other.ask("is-held"), "true", "{context}, and the other lost it");
        assert_eq!(other.ask("renew"), "ok", "{context}, and the other lost it");
        assert_eq!(other.ask("release"), "ok", "{context}, and the other lost it");
    }

    println!("{verb} {more}: stopped before each of {count} changes");
    stage.sweep();
    let kept = |name: &String| more.contains("fenced") && name.ends_with(".lockdir");
    assert!(stage.names().iter().all(kept), "left behind: {:?}", stage.names());
}

#[test]
fn a_stopped_newcomer_harms_no_later_holder() {
    stop_everywhere(Before::Nothing, "try", "", &["no"]);
}

#[test]
fn a_stopped_newcomer_to_a_fenced_lock_harms_no_later_holder() {
    stop_everywhere(Before::Nothing, "try", "fenced=1", &["no"]);
}

#[test]
fn a_stopped_takeover_of_an_expired_lock_harms_no_later_holder() {
    stop_everywhere(Before::Expired, "try", "", &["no"]);
}

#[test]
fn a_stopped_takeover_of_a_dead_lock_harms_no_later_holder() {
    stop_everywhere(Before::Dead, "try", "", &["no"]);
}

#[test]
fn a_stopped_takeover_of_a_bare_lock_harms_no_later_holder() {
    stop_everywhere(Before::Bare, "try", "", &["no"]);
}

#[test]
fn a_stopped_reuse_of_a_lingering_lock_harms_no_later_holder() {
    stop_everywhere(Before::LeftByTheVictim, "try", "linger_ms=10000", &["no"]);
}

#[test]
fn a_stopped_break_harms_no_later_holder() {
    stop_everywhere(Before::Expired, "break-expired", "", &["still-held", "removed"]);
}

#[test]
fn a_stopped_break_of_a_dead_lock_harms_no_later_holder() {
    stop_everywhere(Before::Dead, "break-expired", "", &["still-held", "removed"]);
}

#[test]
fn a_stopped_renewal_harms_no_later_holder() {
    stop_everywhere(Before::HeldByTheVictim, "renew", "", &["lost"]);
}

#[test]
fn a_stopped_release_harms_no_later_holder() {
    // Before its second change it has already released the lock.
    stop_everywhere(Before::HeldByTheVictim, "release", "", &["lost", "ok"]);
}

#[test]
fn a_stopped_lingering_release_harms_no_later_holder() {
    stop_everywhere(Before::HeldByTheVictim, "release", "linger_ms=10000", &["lost"]);
}

#[test]
fn a_stopped_fenced_release_harms_no_later_holder() {
    stop_everywhere(Before::HeldByTheVictim, "release", "fenced=1", &["lost"]);
}

#[test]
fn a_stopped_removal_of_a_lingering_lock_harms_no_later_holder() {
    stop_everywhere(Before::LeftByTheVictim, "forget", "linger_ms=10000", &["ok"]);
}

#[test]
fn a_stopped_acquire_gets_a_larger_number_than_other_holders() {
    let stage = Stage::on_disk();
    let count = count(&stage, Before::Nothing, "acquire", "");
    let mut other = stage.worker("numbered", "timeout_ms=30000");

    for n in 1..=count {
        let mut slow = stage.worker("numbered", "timeout_ms=30000 patience_ms=5000");
        slow.ask(&format!("stop-before {n}"));
        slow.order("acquire");
        assert!(slow.wait_stopped(), "acquire: it died before change {n}");

        let got = other.ask("try");
        if got != "no" {
            assert_eq!(other.ask("release"), "ok", "stopped before change {n}: {got}");
        }
        slow.signal(Signal::CONT);
        let later = Held::parse(&slow.answer().expect("an answer")).expect("the lock");

        // If the other got nothing, the slow process was stopped while it had the lock.
        if let Some(got) = Held::parse(&got) {
            let context = format!("stopped before change {n}: {later:?} after {got:?}");
            assert!(later.token > got.token, "{context}");
        }
        assert_eq!(slow.ask("release"), "ok");
    }
    stage.sweep();
    stage.assert_empty();
}
