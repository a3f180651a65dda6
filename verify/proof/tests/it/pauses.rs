//! A holder that was stopped beyond its deadline: it loses its lock only if another process took it.

use std::{thread, time::Duration};

use lockbydir_proof::{clock, scripted_worker::ScriptedWorker};
use rustix::process::Signal;

use crate::stage::Stage;

/// Stops the holder until others may take its lock, which has a timeout of a second.
fn stop_beyond_the_deadline(holder: &mut ScriptedWorker) {
    holder.signal(Signal::STOP);
    assert!(holder.wait_stopped());
    clock::spin_until(clock::now() + 1_200_000_000);
}

/// Repeats the question until the answer is this one.
#[track_caller]
fn wait_for(worker: &mut ScriptedWorker, question: &str, answer: &str) {
    let until = clock::now() + 60_000_000_000;
    while worker.ask(question) != answer {
        assert!(clock::now() < until, "{question} was never answered {answer}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pause_without_a_waiter_loses_no_lock() {
    let stage = Stage::on_disk();
    let mut holder = stage.worker("alone", "timeout_ms=1000 renew=1");
    holder.hold("acquire");

    for _ in 0..4 {
        stop_beyond_the_deadline(&mut holder);
        holder.signal(Signal::CONT);
        wait_for(&mut holder, "is-held", "true");
    }

    assert_eq!(holder.ask("losses"), "losses");
    assert_eq!(holder.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_lock_taken_during_a_pause_is_reported_lost_once() {
    let stage = Stage::on_disk();
    let mut holder = stage.worker("taken", "timeout_ms=1000 renew=1");
    let mut next = stage.worker("taken", "timeout_ms=60000 patience_ms=60000");
    holder.hold("acquire");

    stop_beyond_the_deadline(&mut holder);
    assert_eq!(next.hold("acquire").how, "after-expiry");
    holder.signal(Signal::CONT);

    wait_for(&mut holder, "losses", "losses Taken");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("renew"), "lost");
    assert_eq!(holder.ask("losses"), "losses Taken");
    assert_eq!(next.ask("release"), "ok");
    assert_eq!(holder.ask("release"), "lost");
    stage.assert_empty();
}
