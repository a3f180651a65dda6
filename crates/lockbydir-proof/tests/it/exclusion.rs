//! Many processes, one lock, one counter.

use std::{fs, process::Stdio, time::Duration};

use lockbydir_proof::{
    ACQUISITIONS, COUNTERS,
    judge::{Record, Verdict, lost_increments},
};

use crate::stage::Stage;

/// They all begin at one moment; how many increments were lost, and the judge's verdict.
fn many_processes_count(stage: &Stage, what: &str, options: &[&str]) -> (u64, Verdict) {
    let (processes, each) = (COUNTERS.number(), ACQUISITIONS.number());
    let mut arguments = vec![format!("count={each}"), "counting=1".to_owned()];
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    fs::write(stage.path("counter"), "0\n").expect("a counter");
    let (begin, gate) = std::io::pipe().expect("a pipe");
    let workers: Vec<_> = (0..processes)
        .map(|number| {
            let begin = begin.try_clone().expect("a pipe has many ends");
            stage.looper(&number.to_string(), &arguments, Stdio::from(begin))
        })
        .collect();

    drop(gate);
    for mut worker in workers {
        assert!(worker.wait().expect("a worker ends").success(), "a worker failed");
    }

    let counter = fs::read_to_string(stage.path("counter")).expect("the counter");
    let lost = lost_increments(&counter, processes * each);
    let record = Record::read(stage.folder()).expect("the histories");
    let verdict = record.judge();
    println!(
        "{processes} processes x {each} {what}: {} holds in {:.1?}, {lost} increments lost, {verdict}",
        record.holds.len(),
        stage.elapsed()
    );
    assert_eq!(record.holds.len() as u64, processes * each, "holds are missing");
    // A lost wake-up costs a tenth of a second: most hand-overs need no help.
    let gaps = record.gaps();
    let median = gaps[gaps.len() / 2];
    println!("  half of the hand-overs took less than {median:.1?}");
    assert!(median < Duration::from_millis(50), "half of the hand-overs took {median:?} and more");
    stage.remove_notes();
    (lost, verdict)
}

fn assert_exclusive((lost, verdict): (u64, Verdict)) {
    assert_eq!(lost, 0, "increments were lost");
    verdict.assert_clean();
}

#[test]
fn many_processes_lose_no_increment_and_never_overlap_on_disk() {
    let stage = Stage::on_disk();

    let outcome = many_processes_count(&stage, "on disk", &[]);

    stage.assert_empty();
    assert_exclusive(outcome);
}

#[test]
fn many_processes_lose_no_increment_and_never_overlap_on_tmpfs() {
    let stage = Stage::on_tmpfs();

    let outcome = many_processes_count(&stage, "on tmpfs", &[]);

    stage.assert_empty();
    assert_exclusive(outcome);
}

#[test]
fn many_processes_that_linger_lose_no_increment_and_never_overlap() {
    let stage = Stage::on_disk();

    let outcome = many_processes_count(&stage, "lingering on disk", &["linger_ms=50"]);

    stage.assert_empty();
    assert_exclusive(outcome);
}

#[test]
fn many_processes_with_a_fenced_lock_lose_no_increment_and_leave_only_its_directory() {
    let stage = Stage::on_tmpfs();

    let outcome = many_processes_count(&stage, "fenced on tmpfs", &["fenced=1"]);

    assert_eq!(stage.names(), ["contended.lockdir"]);
    assert_exclusive(outcome);
}

#[test]
fn many_processes_with_a_lock_each_lose_increments_and_overlap() {
    let stage = Stage::on_tmpfs();

    let (lost, verdict) = many_processes_count(&stage, "with a lock each", &["alone=1"]);

    stage.assert_empty();
    assert!(lost > 0, "the counter would not show an intruder");
    assert!(!verdict.overlaps.is_empty(), "the judge would not see an intruder");
}
