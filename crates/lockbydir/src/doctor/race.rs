//! Probes with races that exactly one process must win: both rename one name at the same time, or
//! both install one directory. Both begin each round at the same moment. The result is what both
//! report, compared with what is in the directory.

use std::time::{Duration, Instant};

use super::orders::{self, NEW, PLAIN, Start};
use super::peer::{Peer, ThreadPeer};
use super::probe::{Probe, Try};
use super::probe_error::ProbeError;
use super::report::Other;
use super::together::SEE_TIMEOUT;
use crate::os::clock;
use crate::os::{Errno, is_no_such_call};

pub(super) const PROBES: &[Probe] = &[RACE_THREADS, RACE, RACE_NEW, RACE_PLAIN];

/// The limits of a race of files: its duration, and its number of rounds.
const RACE_TIME: Duration = Duration::from_millis(700);
const ROUNDS: usize = 1000;
/// Rounds of renames, or of installs, per order to the peer.
const BATCH: usize = 100;
const INSTALLS: usize = 20;

const RACE_THREADS: Probe = Probe {
    name: "race-threads",
    tried: "two threads rename one",
    run: |attempt, peer| {
        if peer.other() == Other::Thread {
            return Ok(()); // `RACE` does the same with this peer.
        }
        race(attempt, &mut ThreadPeer::start(attempt.sandbox.path())?)
    },
};

const RACE: Probe =
    Probe { name: "race", tried: "both rename one file", run: |attempt, peer| race(attempt, peer) };

const RACE_NEW: Probe = Probe {
    name: "race-install",
    tried: "both install one lock",
    run: |attempt, peer| {
        let sandbox = attempt.sandbox;
        sandbox.create_full("probe-may", "probe-entry")?;
        match sandbox.install("probe-may", "probe-may-not") {
            Err(errno) if is_no_such_call(errno) => Ok(()), // Another probe has reported that.
            _ => installs(attempt, peer, NEW),
        }
    },
};

const RACE_PLAIN: Probe = Probe {
    name: "race-install-plain",
    tried: "the same, plain rename",
    run: |attempt, peer| installs(attempt, peer, PLAIN),
};

/// How often each won, by what both report and by what is in the directory.
#[derive(Default)]
struct Score {
    ours: usize,
    theirs: usize,
    both: usize,
    none: usize,
    /// The directory contradicts what they report.
    contradicted: usize,
}

impl Score {
    /// Returns the score of one round.
    fn of(won: (bool, bool), there: (bool, bool)) -> Score {
        let mut score = Score::default();
        match won {
            (true, true) => score.both = 1,
            (true, false) => score.ours = 1,
            (false, true) => score.theirs = 1,
            (false, false) => score.none = 1,
        }
        // A round that nobody claims may be one whose reply was lost.
        if there.0 == there.1 || won.0 != won.1 && won != there {
            score.contradicted = 1;
        }
        score
    }

    fn add(&mut self, rounds: Vec<Score>) {
        for round in rounds {
            self.ours += round.ours;
            self.theirs += round.theirs;
            self.both += round.both;
            self.none += round.none;
            self.contradicted += round.contradicted;
        }
    }

    fn report(&self, attempt: &Try<'_>) {
        let all = self.ours + self.theirs + self.both + self.none;
        if self.both > 0 {
            attempt.fatal(
                format!("{} of {all} were won by both", self.both),
                "Two processes that take one lock would both believe that they hold it.",
            );
        } else if self.contradicted > 0 {
            attempt.fatal(
                format!("{} of {all} show a winner other than the one reported", self.contradicted),
                "Two would hold one lock, or no holder would know that it holds it.",
            );
        } else if self.none > 0 {
            attempt.remark(
                format!("{} of {all} were done, but reported to nobody", self.none),
                "Replies are lost: the lock looks before it believes.",
            );
        } else if self.ours == 0 || self.theirs == 0 {
            attempt.untried(
                format!("of {all}, one won all"),
                "It was no race; try again when the machine is less busy.",
            );
        } else {
            attempt.good(
                format!("{} to {}, none won by both", self.ours, self.theirs),
                "Of all processes that take a lock, one gets it.",
            );
        }
    }
}

/// Looks again as long as the result is impossible: the peer's changes may be seen late.
fn seen(look: impl Fn() -> Result<Vec<Score>, Errno>) -> Result<Vec<Score>, Errno> {
    let begun = Instant::now();
    loop {
        let looked = look();
        let is_whole = looked.as_ref().is_ok_and(|rounds| {
            rounds.iter().all(|round| round.contradicted == 0 || round.both > 0)
        });
        if is_whole || begun.elapsed() > SEE_TIMEOUT {
            return looked;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn race(attempt: &Try<'_>, peer: &mut dyn Peer) -> Result<(), ProbeError> {
    let sandbox = attempt.sandbox;
    let course = Course::of(peer)?;
    let begun = Instant::now();
    let mut score = Score::default();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds == 0 || begun.elapsed() < RACE_TIME) {
        let name = format!("probe-race-{rounds}");
        for nth in 0..BATCH {
            sandbox.create(&format!("{name}-{nth}"))?;
        }
        let (ours, words) = course.start(BATCH);
        peer.send(&format!("race,{name},{BATCH},theirs,{words}"))?;
        let ours = orders::race(sandbox, &name, BATCH, "ours", ours);
        let theirs = won(&peer.receive()?, BATCH)?;
        let claimed = ours.bytes().map(is_won).zip(theirs);
        score.add(seen(|| {
            let names = sandbox.list()?;
            let round = |(nth, claimed)| {
                let there = |end| names.contains(&format!("{name}-{nth}{end}"));
                let is_old_there = there("");
                let there = (there("-ours") || is_old_there, there("-theirs") || is_old_there);
                Score::of(claimed, there)
            };
            Ok(claimed.clone().enumerate().map(round).collect())
        })?);
        sandbox.sweep(&name);
        rounds += BATCH;
    }
    score.report(attempt);
    Ok(())
}

fn installs(attempt: &Try<'_>, peer: &mut dyn Peer, how: &str) -> Result<(), ProbeError> {
    let sandbox = attempt.sandbox;
    let course = Course::of(peer)?;
    let begun = Instant::now();
    let mut score = Score::default();
    let mut rounds = 0;
    while rounds < ROUNDS / 5 && (rounds == 0 || begun.elapsed() < RACE_TIME) {
        let name = format!("probe-{how}-{rounds}");
        for nth in 0..INSTALLS {
            sandbox.create_full(&format!("{name}-{nth}-ours"), "probe-ours")?;
            sandbox.create_full(&format!("{name}-{nth}-theirs"), "probe-theirs")?;
        }
        let (ours, words) = course.start(INSTALLS);
        peer.send(&format!("install,{name},{INSTALLS},theirs,{how},{words}"))?;
        let ours = orders::install(sandbox, &name, INSTALLS, "ours", how, ours);
        let theirs = won(&peer.receive()?, INSTALLS)?;
        let claimed = ours.bytes().map(is_won).zip(theirs);
        score.add(seen(|| {
            let round = |(nth, claimed)| {
                let inside = sandbox.list_in(&format!("{name}-{nth}"))?;
                let there = (inside.contains("probe-ours"), inside.contains("probe-theirs"));
                Ok(Score::of(claimed, there))
            };
            claimed.clone().enumerate().map(round).collect()
        })?);
        sandbox.sweep(&name);
        rounds += INSTALLS;
    }
    score.report(attempt);
    Ok(())
}

/// When the rounds of a race begin, for both sides.
struct Course {
    /// The time from an order to the first round.
    lead: Duration,
    step: Duration,
    /// How far apart both may begin nevertheless.
    doubt: Duration,
    /// Both clocks, read at the same moment: ours, and the peer's.
    clocks: (Duration, Duration),
}

impl Course {
    fn of(peer: &mut dyn Peer) -> Result<Course, ProbeError> {
        let now = clock::real_boot();
        let (lead, step, clocks) = match peer.other() {
            Other::Thread => (Duration::from_millis(1), Duration::from_micros(100), (now, now)),
            Other::Process => (Duration::from_millis(2), Duration::from_micros(100), (now, now)),
            Other::Host => {
                let (clocks, trip) = clocks(peer)?;
                (trip * 2 + Duration::from_millis(50), Duration::from_millis(3), clocks)
            }
        };
        let is_host = peer.other() == Other::Host;
        let doubt = if is_host { lead / 4 } else { Duration::ZERO };
        Ok(Course { lead, step, doubt, clocks })
    }

    /// Returns our own start, and the peer's as words of an order.
    fn start(&self, rounds: usize) -> (Start, String) {
        let at = clock::real_boot() + self.lead;
        let theirs = (self.clocks.1 + at).saturating_sub(self.clocks.0);
        let words = format!("{},{}", theirs.as_micros(), self.step.as_micros());
        // Our rounds begin this much too early and end this much too late, so that some rounds
        // begin at the same time on both sides.
        let at = at.saturating_sub(self.doubt);
        let step = self.step + self.doubt * 2 / u32::try_from(rounds).unwrap_or(1);
        (Start { at, step }, words)
    }
}

/// Returns the clocks of both hosts at the same moment, by the fastest answer of several; and the
/// time of the slowest.
fn clocks(peer: &mut dyn Peer) -> Result<((Duration, Duration), Duration), ProbeError> {
    let mut trips = Vec::new();
    for _ in 0..5 {
        let asked = clock::real_boot();
        let theirs = peer.ask("clock")?.parse().map_err(|_| ProbeError::Silent("clock".into()))?;
        let trip = clock::real_boot().saturating_sub(asked);
        trips.push((trip, asked + trip / 2, Duration::from_micros(theirs)));
    }
    trips.sort_unstable();
    let [(_, ours, theirs), .., (slowest, ..)] = trips[..] else { unreachable!("there are five") };
    Ok(((ours, theirs), slowest))
}

fn is_won(digit: u8) -> bool {
    digit == b'1'
}

/// Returns which rounds the peer won, by its answer.
fn won(answer: &str, rounds: usize) -> Result<Vec<bool>, ProbeError> {
    let is_whole = answer.len() == rounds && answer.bytes().all(|b| matches!(b, b'0' | b'1'));
    match is_whole {
        true => Ok(answer.bytes().map(is_won).collect()),
        false => Err(ProbeError::Silent("race".into())),
    }
}
