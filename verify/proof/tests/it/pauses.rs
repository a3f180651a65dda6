//! A holder that was stopped beyond its deadline: its lock is lost only if somebody has taken it.

use std::{thread, time::Duration};

use lockbydir_proof::{clock, scripted_worker::ScriptedWorker};
use rustix::process::Signal;

use crate::stage::Stage;

/// Stops it until others may take its lock, of a timeout of a second.
fn stop_beyond_the_deadline(holder: &mut ScriptedWorker) {
    holder.signal(Signal::STOP);
    assert!(holder.wait_stopped());
    clock::spin_until(clock::now() + 1_200_000_000);
}

/// Waits for this answer.
#[track_caller]
fn see(puppet: &mut ScriptedWorker, question: &str, answer: &str) {
    let until = clock::now() + 60_000_000_000;
    while puppet.ask(question) != answer {
        assert!(clock::now() < until, "{question} was never answered {answer}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pause_in_which_nobody_came_loses_no_lock() {
    let stage = Stage::on_disk();
    let mut holder = stage.puppet("alone", "timeout_ms=1000 renew=1");
    holder.hold("acquire");

    for _ in 0..4 {
        stop_beyond_the_deadline(&mut holder);
        holder.signal(Signal::CONT);
        see(&mut holder, "is-held", "true");
    }

    assert_eq!(holder.ask("losses"), "losses");
    assert_eq!(holder.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_pause_in_which_somebody_came_is_reported_once() {
    let stage = Stage::on_disk();
    let mut holder = stage.puppet("taken", "timeout_ms=1000 renew=1");
    let mut next = stage.puppet("taken", "timeout_ms=60000 patience_ms=60000");
    holder.hold("acquire");

    stop_beyond_the_deadline(&mut holder);
    assert_eq!(next.hold("acquire").how, "after-expiry");
    holder.signal(Signal::CONT);

    see(&mut holder, "losses", "losses Taken");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("renew"), "lost");
    assert_eq!(holder.ask("losses"), "losses Taken");
    assert_eq!(next.ask("release"), "ok");
    assert_eq!(holder.ask("release"), "lost");
    stage.assert_empty();
}
