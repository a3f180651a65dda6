//! Holders that are killed, and holders that are stopped beyond their deadline.

use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use lockbydir::Lock;
use lockbydir_proof::{
    TORTURED,
    chance::Dice,
    clock,
    judge::Record,
    puppet::{is_stopped, send},
};
use rustix::process::Signal;

use crate::stage::Stage;

const PROCESSES: usize = 16;
const TIMEOUT: Duration = Duration::from_millis(100);
/// How many timeouts a stop lasts at most.
const STOPS: u32 = 5;

/// One of the sixteen: a worker, and its successors when it is killed.
struct Victim {
    child: Child,
    name: String,
    number: usize,
    left: u64,
    /// When it is to go on, while it is stopped.
    wake: Option<Instant>,
}

impl Victim {
    fn start(stage: &Stage, number: usize, left: u64) -> Self {
        let name = format!("{number}-with-{left}-to-go");
        let options = [
            format!("count={left}"),
            format!("timeout_ms={}", TIMEOUT.as_millis()),
            "hold_us=3000".to_owned(),
            "renewing=1".to_owned(),
            "kill_one_in=10".to_owned(),
            "stop_one_in=10".to_owned(),
        ];
        Self { child: stage.looper(&name, &options, Stdio::null()), name, number, left, wake: None }
    }

    /// Its successor with the rest of its work, if it was killed before it was done.
    fn successor(&self, stage: &Stage) -> Option<Self> {
        let history = fs::read_to_string(stage.path(&format!("{}.history", self.name)));
        let history = history.unwrap_or_default();
        let done = history.lines().filter(|line| line.starts_with("start ")).count() as u64;
        (done < self.left).then(|| Self::start(stage, self.number, self.left - done))
    }

    /// Lets it go on when its stop is over.
    fn tend(&mut self, dice: &mut Dice) {
        match self.wake {
            None if is_stopped(self.child.id()) => {
                let most = u64::try_from((TIMEOUT * STOPS).as_micros()).unwrap_or(u64::MAX);
                self.wake = Some(Instant::now() + Duration::from_micros(dice.below(most)));
            }
            Some(moment) if moment <= Instant::now() => {
                send(self.child.id(), Signal::CONT);
                self.wake = None;
            }
            _ => {}
        }
    }
}

/// A tenth of the holders is killed, a tenth is stopped, until all have held as often as they
/// should.
fn torture(stage: &Stage) -> Record {
    let mut dice = Dice::default();
    let mut victims: Vec<Victim> =
        (0..PROCESSES).map(|number| Victim::start(stage, number, TORTURED.number())).collect();
    while !victims.is_empty() {
        let mut next = Vec::new();
        for mut victim in victims {
            match victim.child.try_wait().expect("a worker's state") {
                None => {
                    victim.tend(&mut dice);
                    next.push(victim);
                }
                Some(status) => {
                    // Code 0 is a worker that is done; none is one that was killed.
                    assert!(matches!(status.code(), Some(0) | None), "a worker failed: {status}");
                    next.extend(victim.successor(stage));
                }
            }
        }
        victims = next;
        // Not to synchronise: how finely this loop looks.
        thread::sleep(Duration::from_millis(2));
    }
    Record::read(stage.folder()).expect("the histories")
}

fn assert_never_two(stage: &Stage, place: &str, record: &Record) {
    let verdict = record.judge();
    println!(
        "{PROCESSES} processes x {} on {place}: {} holds in {:.1?}, {} killed, {} stopped; {} outlived \
         their deadline, {} were told of a loss; {verdict}",
        TORTURED.number(),
        record.holds.len(),
        stage.elapsed(),
        record.killed,
        record.stopped,
        record.outlived,
        record.lost,
    );
    let put_to_the_test = record.killed > 0 && record.stopped > 0 && record.lost > 0;
    assert!(put_to_the_test, "nothing was put to the test");
    stage.remove_notes();
    // The last holder may be a dead one: one more acquisition.
    let lock = Lock::new(stage.path("contended")).timeout(TIMEOUT).patience(TIMEOUT * 20);
    lock.acquire().expect("the lock after all").release().expect("its release");
    stage.clean();
    stage.assert_empty();
    verdict.assert_clean();
}

#[test]
fn killed_and_stopped_holders_never_make_two_valid_holds_on_disk() {
    let stage = Stage::on_disk();

    let record = torture(&stage);

    assert_never_two(&stage, "disk", &record);
}

#[test]
fn killed_and_stopped_holders_never_make_two_valid_holds_on_tmpfs() {
    let stage = Stage::on_tmpfs();

    let record = torture(&stage);

    assert_never_two(&stage, "tmpfs", &record);
}

#[test]
fn a_stopped_holder_that_outlived_its_deadline_finds_that_it_lost_the_lock() {
    let stage = Stage::on_tmpfs();
    let mut holder = stage.puppet("one", "timeout_ms=100");
    let mut next = stage.puppet("one", "timeout_ms=10000 patience_ms=5000");
    holder.hold("acquire");

    holder.signal(Signal::STOP);
    let got = next.hold("acquire");
    holder.signal(Signal::CONT);

    assert_eq!(got.how, "after-lapse");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("renew"), "lost");
    assert_eq!(holder.ask("is-held"), "false");
    assert_eq!(holder.ask("release"), "lost");
    assert_eq!(next.ask("is-held"), "true");
    assert_eq!(next.ask("release"), "ok");
    stage.assert_empty();
}

#[test]
fn a_holder_that_lapsed_and_that_nobody_followed_holds_again_by_a_late_renewal() {
    let stage = Stage::on_tmpfs();
    let mut holder = stage.puppet("alone", "timeout_ms=300");
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
    let mut parent = stage.puppet("forked", "timeout_ms=30000");
    let mut other = stage.puppet("forked", "timeout_ms=30000");
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
