//! A storm: processes join, wait with random patience, are killed, stopped, continued and
//! interrupted at random moments, and the line moves on all the same.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use lockbydir::Lock;
use lockbydir_proof::{
    STORM,
    chance::Dice,
    judge::Record,
    puppet::{is_stopped, send},
};
use rustix::process::Signal;

use crate::stage::Stage;

const TIMEOUT: Duration = Duration::from_millis(200);
/// Nobody holds for at most this long while somebody waits: a holder that is stopped in its
/// release lapses, and each first in line that is stopped has its moment and is noticed by one of
/// those behind it.
const LONGEST_GAP: Duration = Duration::from_millis(2_500);
/// These are spared, and never give up: so somebody always waits.
const SPARED: usize = 4;

fn start(stage: &Stage, name: &str, time: Duration, is_spared: bool) -> Child {
    let mut options = vec![
        format!("count={}", u64::MAX),
        format!("time_ms={}", time.as_millis()),
        format!("timeout_ms={}", TIMEOUT.as_millis()),
        "hold_us=2000".to_owned(),
        "renewing=1".to_owned(),
    ];
    if !is_spared {
        let fates = ["fate_us=30000", "kill_one_in=12", "stop_one_in=8", "interrupt_one_in=8"];
        options.extend(fates.map(str::to_owned));
        options.extend(["hasty=1", "patience_ms=2000"].map(str::to_owned));
    }
    stage.looper(name, &options, Stdio::null())
}

struct Sufferer {
    child: Child,
    number: usize,
    wake: Option<Instant>,
}

fn storm(stage: &Stage) -> Record {
    let processes = usize::try_from(STORM.0.number()).expect("a few");
    let end = Instant::now() + Duration::from_secs(STORM.1.number());
    let rest = || end.saturating_duration_since(Instant::now());
    let mut dice = Dice::default();
    let mut born = 0;
    let mut sufferers: Vec<Sufferer> = (0..processes)
        .map(|number| {
            let child = start(stage, &format!("{number}-0"), rest(), number < SPARED);
            Sufferer { child, number, wake: None }
        })
        .collect();
    while !sufferers.is_empty() {
        let mut left = Vec::new();
        for mut sufferer in sufferers {
            if let Some(status) = sufferer.child.try_wait().expect("a worker's state") {
                assert!(matches!(status.code(), Some(0) | None), "a worker failed: {status}");
                if rest() > Duration::ZERO {
                    born += 1;
                    let name = format!("{}-{born}", sufferer.number);
                    let child = start(stage, &name, rest(), sufferer.number < SPARED);
                    left.push(Sufferer { child, wake: None, ..sufferer });
                }
                continue;
            }
            match sufferer.wake {
                None if is_stopped(sufferer.child.id()) => {
                    let stop = Duration::from_millis(dice.below(1_000));
                    sufferer.wake = Some(Instant::now() + stop);
                }
                Some(moment) if moment <= Instant::now() => {
                    send(sufferer.child.id(), Signal::CONT);
                    sufferer.wake = None;
                }
                _ => {}
            }
            left.push(sufferer);
        }
        sufferers = left;
        // Not to synchronise: how finely this loop looks.
        thread::sleep(Duration::from_millis(2));
    }
    Record::read(stage.folder()).expect("the histories")
}

fn the_line_moves(stage: &Stage, place: &str) {
    let record = storm(stage);

    let verdict = record.judge();
    let gap = *record.gaps().last().expect("holds");
    println!(
        "a storm of {} processes on {place} for {} s: {} holds, {} killed, {} stopped, {} gave up or \
         were interrupted, {} lost; longest time without a holder {gap:.1?}; {verdict}",
        STORM.0.number(),
        STORM.1.number(),
        record.holds.len(),
        record.killed,
        record.stopped,
        record.gave_up,
        record.lost,
    );
    let put_to_the_test = record.killed > 0 && record.stopped > 0 && record.gave_up > 0;
    assert!(put_to_the_test, "nothing was put to the test");
    verdict.assert_clean();
    assert!(gap < LONGEST_GAP, "nobody held for {gap:?}");
    stage.remove_notes();
    // The last holder may be a dead one, and the last in line too: one more acquisition.
    let lock = Lock::new(stage.path("contended")).timeout(TIMEOUT).patience(TIMEOUT * 20);
    lock.acquire().expect("the lock after all").release().expect("its release");
    let left: Vec<String> = stage.names().into_iter().filter(|name| !is_stage(name)).collect();
    assert_eq!(left, Vec::<String>::new(), "a line or a lock was left behind");
    // What killed installers left, only cleaning removes.
    stage.clean();
    stage.assert_empty();
}

fn is_stage(name: &str) -> bool {
    name.starts_with("contended.lockdir.") && !name.ends_with(".line")
}

#[test]
fn in_a_storm_the_line_moves_on_disk() {
    the_line_moves(&Stage::on_disk(), "disk");
}

#[test]
fn in_a_storm_the_line_moves_on_tmpfs() {
    the_line_moves(&Stage::on_tmpfs(), "tmpfs");
}
