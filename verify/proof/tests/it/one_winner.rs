//! The central race of locks that expire: many processes judge the same expired lock at once, and exactly one
//! may remove it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lockbydir_proof::{ROUNDS, clock, scripted_worker::ScriptedWorker};

use crate::stage::{Stage, make_expired, make_older};

const JUDGES: usize = 8;
/// The time from the command to the common moment, in nanoseconds: long enough for all to receive it.
const NOTICE: u64 = 400_000;
/// The rival is tried in up to this many times as many rounds.
const PATIENCE: u64 = 20;
/// The number of locks that expire together.
const BATCH: u64 = 50;

fn judges(stage: &Stage) -> Vec<ScriptedWorker> {
    (0..JUDGES).map(|_| stage.worker("unused", "")).collect()
}

/// Lets all try at the same moment; returns the answers of the winners.
fn all_at_once(judges: &mut [ScriptedWorker], command: impl Fn(u64) -> String) -> Vec<String> {
    let command = command(clock::now() + NOTICE);
    for judge in judges.iter_mut() {
        judge.order(&command);
    }
    let answers = judges.iter_mut().map(|judge| judge.answer().expect("an answer"));
    let (won, rest): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.starts_with("held"));
    assert!(rest.iter().all(|answer| answer == "no"), "{rest:?}");
    won
}

#[test]
fn exactly_one_of_eight_takes_over_an_expired_lock() {
    let stage = Stage::on_disk();
    let mut judges = judges(&stage);
    let rounds = ROUNDS.number();

    for first in (0..rounds).step_by(BATCH as usize) {
        let numbers = first..rounds.min(first + BATCH);
        let locks: Vec<PathBuf> =
            numbers.map(|number| stage.path(&format!("expired-{number}"))).collect();
        make_expired(&locks);
        for lock in &locks {
            for judge in &mut judges {
                judge.lock(lock, "timeout_ms=30000");
            }

            let won = all_at_once(&mut judges, |moment| format!("try-at {moment}"));

            assert_eq!(won.len(), 1, "{}: {won:?}", lock.display());
            assert!(won[0].ends_with("after-expiry"), "{won:?}");
        }
    }

    println!(
        "{rounds} expired locks, {JUDGES} judges, one winner each, in {:.1?}",
        stage.elapsed()
    );
    drop(judges);
    stage.sweep();
    stage.assert_empty();
}

fn make_old(directory: &Path) {
    fs::create_dir(directory).expect("a rival's lock");
    make_older(directory, Duration::from_secs(3600));
}

#[test]
fn eight_with_the_first_versions_break_make_two_winners() {
    let stage = Stage::on_disk();
    let mut judges = judges(&stage);
    let directory = stage.path("rival.lockdir");
    let rounds = ROUNDS.number();

    // On a busy machine they may run one after the other: repeat until it has happened.
    let found = (1..=rounds * PATIENCE).find(|_| {
        make_old(&directory);
        let won = all_at_once(&mut judges, |moment| {
            format!("rival-at {moment}\t{}", directory.display())
        });
        fs::remove_dir(&directory).expect("somebody made it anew");
        won.len() > 1
    });

    println!("the first version's break: two winners in round {found:?}");
    assert!(found.is_some(), "the test would not find the fault");
    stage.assert_empty();
}
