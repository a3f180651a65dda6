//! Races that one must win: two rename one name at once, two install one directory. Both begin each
//! round at one moment; who wins is told by both, and seen.

use std::time::{Duration, Instant};

use super::orders::{self, NEW, PLAIN, Start};
use super::peer::{Peer, ThreadHand};
use super::together::UNSEEN;
use super::{Other, Probe, ProbeError, Try};
use crate::os::clock;
use crate::os::{Errno, is_no_such_call};

pub(super) const TRIES: &[Probe] = &[RACE_THREADS, RACE, RACE_NEW, RACE_PLAIN];

/// Races of files go on for so long, or so many rounds.
const RACE_TIME: Duration = Duration::from_millis(700);
const ROUNDS: usize = 1000;
/// At once.
const BATCH: usize = 100;
const INSTALLS: usize = 20;

const RACE_THREADS: Probe = Probe {
    name: "race-threads",
    tried: "two threads rename one",
    run: |attempt, hand| {
        if hand.other() == Other::Thread {
            return Ok(()); // It is the next one.
        }
        race(attempt, &mut ThreadHand::start(attempt.room.path())?)
    },
};

const RACE: Probe =
    Probe { name: "race", tried: "both rename one file", run: |attempt, hand| race(attempt, hand) };

const RACE_NEW: Probe = Probe {
    name: "race-install",
    tried: "both install one lock",
    run: |attempt, hand| {
        let room = attempt.room;
        room.create_full("probe-may", "probe-entry")?;
        match room.install("probe-may", "probe-may-not") {
            Err(errno) if is_no_such_call(errno) => Ok(()), // It was remarked.
            _ => installs(attempt, hand, NEW),
        }
    },
};

const RACE_PLAIN: Probe = Probe {
    name: "race-install-plain",
    tried: "the same, plain rename",
    run: |attempt, hand| installs(attempt, hand, PLAIN),
};

/// Who won each round, by what both say, and by what is there.
#[derive(Default)]
struct Score {
    ours: usize,
    theirs: usize,
    both: usize,
    none: usize,
    /// What is there says otherwise.
    untrue: usize,
}

impl Score {
    /// Of one round.
    fn of(won: (bool, bool), there: (bool, bool)) -> Score {
        let mut score = Score::default();
        match won {
            (true, true) => score.both = 1,
            (true, false) => score.ours = 1,
            (false, true) => score.theirs = 1,
            (false, false) => score.none = 1,
        }
        // Nobody's may be one whose reply was lost.
        if there.0 == there.1 || won.0 != won.1 && won != there {
            score.untrue = 1;
        }
        score
    }

    fn add(&mut self, rounds: Vec<Score>) {
        for round in rounds {
            self.ours += round.ours;
            self.theirs += round.theirs;
            self.both += round.both;
            self.none += round.none;
            self.untrue += round.untrue;
        }
    }

    fn tell(&self, attempt: &Try<'_>) {
        let all = self.ours + self.theirs + self.both + self.none;
        if self.both > 0 {
            attempt.fatal(
                format!("{} of {all} were won by both", self.both),
                "Two who take one lock would both be told that they have it.",
            );
        } else if self.untrue > 0 {
            attempt.fatal(
                format!("{} of {all} show another winner than was told", self.untrue),
                "Two would hold one lock, or none would know that it does.",
            );
        } else if self.none > 0 {
            attempt.remark(
                format!("{} of {all} were done, and told to nobody", self.none),
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
                "Of all who take a lock, one gets it.",
            );
        }
    }
}

/// Looks again as long as it shows what cannot be: others' changes may be seen late.
fn seen(look: impl Fn() -> Result<Vec<Score>, Errno>) -> Result<Vec<Score>, Errno> {
    let begun = Instant::now();
    loop {
        let looked = look();
        let is_whole = looked
            .as_ref()
            .is_ok_and(|rounds| rounds.iter().all(|round| round.untrue == 0 || round.both > 0));
        if is_whole || begun.elapsed() > UNSEEN {
            return looked;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn race(attempt: &Try<'_>, hand: &mut dyn Peer) -> Result<(), ProbeError> {
    let room = attempt.room;
    let course = Course::of(hand)?;
    let begun = Instant::now();
    let mut score = Score::default();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds == 0 || begun.elapsed() < RACE_TIME) {
        let name = format!("probe-race-{rounds}");
        for nth in 0..BATCH {
            room.create(&format!("{name}-{nth}"))?;
        }
        let (ours, words) = course.start(BATCH);
        hand.tell(&format!("race,{name},{BATCH},theirs,{words}"))?;
        let ours = orders::race(room, &name, BATCH, "ours", ours);
        let theirs = won(&hand.hear()?, BATCH)?;
        let told = ours.bytes().map(is_won).zip(theirs);
        score.add(seen(|| {
            let names = room.list()?;
            let round = |(nth, told)| {
                let there = |end| names.contains(&format!("{name}-{nth}{end}"));
                let is_old_there = there("");
                let there = (there("-ours") || is_old_there, there("-theirs") || is_old_there);
                Score::of(told, there)
            };
            Ok(told.clone().enumerate().map(round).collect())
        })?);
        room.sweep(&name);
        rounds += BATCH;
    }
    score.tell(attempt);
    Ok(())
}

fn installs(attempt: &Try<'_>, hand: &mut dyn Peer, how: &str) -> Result<(), ProbeError> {
    let room = attempt.room;
    let course = Course::of(hand)?;
    let begun = Instant::now();
    let mut score = Score::default();
    let mut rounds = 0;
    while rounds < ROUNDS / 5 && (rounds == 0 || begun.elapsed() < RACE_TIME) {
        let name = format!("probe-{how}-{rounds}");
        for nth in 0..INSTALLS {
            room.create_full(&format!("{name}-{nth}-ours"), "probe-ours")?;
            room.create_full(&format!("{name}-{nth}-theirs"), "probe-theirs")?;
        }
        let (ours, words) = course.start(INSTALLS);
        hand.tell(&format!("install,{name},{INSTALLS},theirs,{how},{words}"))?;
        let ours = orders::install(room, &name, INSTALLS, "ours", how, ours);
        let theirs = won(&hand.hear()?, INSTALLS)?;
        let told = ours.bytes().map(is_won).zip(theirs);
        score.add(seen(|| {
            let round = |(nth, told)| {
                let inside = room.list_in(&format!("{name}-{nth}"))?;
                let there = (inside.contains("probe-ours"), inside.contains("probe-theirs"));
                Ok(Score::of(told, there))
            };
            told.clone().enumerate().map(round).collect()
        })?);
        room.sweep(&name);
        rounds += INSTALLS;
    }
    score.tell(attempt);
    Ok(())
}

/// When the rounds of a race begin, for both.
struct Course {
    /// From an order to the first round.
    lead: Duration,
    step: Duration,
    /// How far the two may be apart all the same.
    doubt: Duration,
    /// Both clocks, read at one moment: ours, and the other one's.
    clocks: (Duration, Duration),
}

impl Course {
    fn of(hand: &mut dyn Peer) -> Result<Course, ProbeError> {
        let now = clock::real_boot();
        let (lead, step, clocks) = match hand.other() {
            Other::Thread => (Duration::from_millis(1), Duration::from_micros(100), (now, now)),
            Other::Process => (Duration::from_millis(2), Duration::from_micros(100), (now, now)),
            Other::Host => {
                let (clocks, trip) = clocks(hand)?;
                (trip * 2 + Duration::from_millis(50), Duration::from_millis(3), clocks)
            }
        };
        let is_host = hand.other() == Other::Host;
        let doubt = if is_host { lead / 4 } else { Duration::ZERO };
        Ok(Course { lead, step, doubt, clocks })
    }

    /// Our own start, and the other one's in words.
    fn start(&self, rounds: usize) -> (Start, String) {
        let at = clock::real_boot() + self.lead;
        let theirs = (self.clocks.1 + at).saturating_sub(self.clocks.0);
        let words = format!("{},{}", theirs.as_micros(), self.step.as_micros());
        // Ours begin so much too early, and end so much too late: some rounds begin together.
        let at = at.saturating_sub(self.doubt);
        let step = self.step + self.doubt * 2 / u32::try_from(rounds).unwrap_or(1);
        (Start { at, step }, words)
    }
}

/// The clocks of two hosts at one moment, by the fastest answer of a few; and the slowest.
fn clocks(hand: &mut dyn Peer) -> Result<((Duration, Duration), Duration), ProbeError> {
    let mut trips = Vec::new();
    for _ in 0..5 {
        let asked = clock::real_boot();
        let theirs = hand.ask("clock")?.parse().map_err(|_| ProbeError::Silent("clock".into()))?;
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

/// Which rounds the other one won.
fn won(answer: &str, rounds: usize) -> Result<Vec<bool>, ProbeError> {
    let is_whole = answer.len() == rounds && answer.bytes().all(|b| matches!(b, b'0' | b'1'));
    match is_whole {
        true => Ok(answer.bytes().map(is_won).collect()),
        false => Err(ProbeError::Silent("race".into())),
    }
}
