//! Holders that are killed, and holders that are stopped beyond their deadline.

use std::{fs, time::Duration};

use lockbydir_proof::{
    TORTURED, clock,
    torture::{self, Plan, fault::Fault},
};
use rustix::process::Signal;

use crate::stage::Stage;

fn killed_and_stopped_holders_never_overlap(stage: &Stage) {
    let faults = vec![Fault::Kill, Fault::Stop, Fault::Remove];
    let time = Duration::from_secs(600);
    let plan = Plan { faults, time, handoffs: TORTURED.number(), late: true, ..stage.plan() };

    let report = torture::run(&plan).expect("a run");

    println!("{report}");
    assert!(report.late.refused > 0, "no late write was put to the test");
    report.assert_kept();
    stage.assert_empty();
}

#[test]
fn killed_and_stopped_holders_never_overlap_on_disk() {
    killed_and_stopped_holders_never_overlap(&Stage::on_disk());
}

#[test]
fn killed_and_stopped_holders_never_overlap_on_tmpfs() {
    killed_and_stopped_holders_never_overlap(&Stage::on_tmpfs());
}

#[test]
fn a_run_with_stops_lasts_until_a_late_write_is_refused() {
    let stage = Stage::on_tmpfs();
    let time = Duration::from_secs(600);
    let plan = Plan { faults: vec![Fault::Stop], time, handoffs: 1, late: true, ..stage.plan() };

    let report = torture::run(&plan).expect("a run");

    println!("{report}");
    assert!(report.late.refused > 0, "no late write was put to the test");
    stage.assert_empty();
}

#[test]
fn a_run_lasts_until_each_fault_has_tested_something() {
    let stage = Stage::on_tmpfs();
    let faults = || vec![Fault::Stop];
    let time = Duration::from_secs(600);
    let by_handoffs = Plan { faults: faults(), time, handoffs: 1, ..stage.plan() };
    let by_time = Plan { faults: faults(), time: Duration::ZERO, ..stage.plan() };

    for plan in [by_handoffs, by_time] {
        let report = torture::run(&plan).expect("a run");

        println!("{report}");
        report.assert_kept();
        stage.assert_empty();
    }
}

#[test]
fn a_holder_stopped_beyond_its_deadline_finds_its_lock_lost() {
    let stage = Stage::on_tmpfs();
    let mut holder = stage.worker("one", "timeout_ms=100");
    let mut next = stage.worker("one", "timeout_ms=10000 patience_ms=5000");
    holder.hold("acquire");

    holder.signal(Signal::STOP);
    let got = next.hold("acquire");
    holder.signal(Signal::CONT);

    assert_eq!(got.how, "after-expiry");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("renew"), "lost");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("release"), "lost");
    assert_eq!(next.ask("is-held"), "true");
    assert_eq!(next.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_late_renewal_succeeds_if_nobody_took_the_lock() {
    let stage = Stage::on_tmpfs();
    let mut holder = stage.worker("alone", "timeout_ms=300");
    let held = holder.hold("acquire");
    clock::spin_until(held.moment + 300_000_000);
    assert_eq!(holder.ask("is-held"), "false");

    let answer = holder.ask("renew");

    assert_eq!(answer, "ok");
    assert_eq!(holder.ask("is-held"), "true");
    assert_eq!(holder.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_forked_child_neither_renews_nor_releases_its_parents_lock() {
    let stage = Stage::on_tmpfs();
    let mut parent = stage.worker("forked", "timeout_ms=30000");
    let mut other = stage.worker("forked", "timeout_ms=30000");
    parent.hold("acquire");
    let entry = || fs::read_dir(stage.directory("forked")).expect("D").next().expect("an entry");
    let before = entry().expect("an entry").file_name();

    assert_eq!(parent.ask("fork"), "ok");

    assert_eq!(entry().expect("an entry").file_name(), before, "nothing was changed");
    assert_eq!(other.ask("try"), "no");
    assert_eq!(parent.ask("is-held"), "true");
    assert_eq!(parent.ask("release"), "ok");
    stage.assert_empty();
}
