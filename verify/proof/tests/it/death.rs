//! The death of a holder, which frees its lock at once where the death can be proven.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use lockbydir_proof::{
    DEATHS, clock,
    scripted_worker::{Held, ScriptedWorker},
};
use lockbydir_testbed::needs;
use rustix::process::Signal;

use crate::stage::{Stage, WORKER, assert_followed};

/// Runs `run`, and returns the worst lateness with which the machine woke a sleeper meanwhile.
fn with_lateness(run: impl FnOnce()) -> Duration {
    const NAP: Duration = Duration::from_millis(5);
    // Dropping this end stops the sleeper.
    let (running, over) = mpsc::channel::<()>();
    let sleeper = thread::spawn(move || {
        let mut worst = Duration::ZERO;
        let mut begun = Instant::now();
        while over.recv_timeout(NAP) == Err(RecvTimeoutError::Timeout) {
            worst = worst.max(begun.elapsed() - NAP);
            begun = Instant::now();
        }
        worst
    });
    run();
    drop(running);
    sleeper.join().expect("a sleeper")
}

#[test]
fn the_next_holds_within_60_ms_of_the_holders_death() {
    let stage = Stage::on_disk();
    let mut waiter = stage.worker("mortal", "timeout_ms=30000 patience_ms=20000");
    let mut waits = Vec::new();

    let lateness = with_lateness(|| {
        for round in 0..DEATHS.number() {
            let mut holder = stage.worker("mortal", "timeout_ms=30000");
            holder.hold("acquire");
            waiter.order("acquire");
            // The waiter polls often at first, and less often later: kill the holder at any time of that.
            clock::spin_until(clock::now() + 25_000_000 * (round % 12));

            let killed = clock::now();
            holder.signal(Signal::KILL);
            let answer = waiter.answer().expect("an answer");

            let held = Held::parse(&answer).expect("the lock");
            assert_eq!(held.how, "after-death");
            waits.push(Duration::from_nanos(held.moment - killed));
            assert_eq!(waiter.ask("release"), "ok");
        }
    });

    waits.sort();
    let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!(
        "from kill -9 to the next hold, {} times: median {median:.1?}, worst {worst:.1?}; \
         the machine woke sleepers up to {lateness:.1?} late",
        waits.len()
    );
    assert!(worst <= Duration::from_millis(60) + lateness, "worst {worst:?}, late {lateness:?}");
    stage.assert_empty();
}

#[test]
fn a_holder_in_another_pid_namespace_keeps_its_timeout() {
    needs!(Mounts);
    let stage = Stage::on_disk();
    let mut holder = ScriptedWorker::start_in_another_pid_namespace(WORKER);
    holder.lock(&stage.path("elsewhere"), "timeout_ms=1000");
    assert_eq!(holder.number("pid"), 1, "it is in a PID namespace of its own");
    let mut waiter = stage.worker("elsewhere", "timeout_ms=30000 patience_ms=20000");

    let before = clock::now();
    let held = holder.hold("acquire");
    holder.order("exit");
    holder.wait();
    let died = clock::now();
    let next = waiter.hold("acquire");

    assert_eq!(next.how, "after-expiry");
    assert!(died < held.moment + 500_000_000, "it died long before its timeout");
    let waited = Duration::from_nanos(next.moment - before);
    println!("a dead holder in another PID namespace, timeout 1 s: followed after {waited:.3?}");
    assert_followed(waited, Duration::from_secs(1));
    assert_eq!(waiter.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_stopped_holder_does_not_count_as_dead() {
    let stage = Stage::on_disk();
    let mut holder = stage.worker("sleeping", "timeout_ms=30000");
    let mut waiter = stage.worker("sleeping", "timeout_ms=30000 patience_ms=700");
    holder.hold("acquire");

    holder.signal(Signal::STOP);
    let answer = waiter.ask("acquire");
    holder.signal(Signal::CONT);

    assert_eq!(answer, "patience-over");
    assert_eq!(holder.ask("is-held"), "true");
    assert_eq!(holder.ask("release"), "ok");
    stage.assert_empty();
}
