//! Contenders that do wrong, one way each: a play must find each of them out, by the name of the
//! promise that it breaks. Otherwise the plays would prove nothing.

use std::fs;
use std::time::Duration;

use lockbydir::simulated::{Call, Kind};
use lockbydir_protocol::{Entry, State, promise};

use super::contender::{Action, SimulatedProcess, booted};
use super::oracle::EVERY_CALL_ENDS;
use super::run::Plot;
use super::schedule;
use super::scheduler::Scheduler;

/// What is wrong with a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// It works on beyond its deadline.
    HoldsTooLong,
    /// It ends whatever hold it finds.
    EndsWhatItFinds,
    /// It ends a hold that is older than its own timeout.
    ObeysItsOwnTimeout,
    /// It gives a hold that it finds its own timeout, even a shorter one.
    ShortensWhatItFinds,
    /// It counts its numbers from a wall clock that was set back.
    SetsItsClockBack,
    /// It publishes an entry of an attempt that is over.
    ComesLate,
    /// It leaves a thing of its own in the lock directory.
    LeavesAThing,
    /// It removes what is not the lock's.
    TidiesUp,
    /// It panics.
    Panics,
}

/// What one of them leaves in the lock directory.
pub(super) const THING: &str = "thing";

/// All of them.
pub const ALL: [Mutant; 9] = [
    Mutant::HoldsTooLong,
    Mutant::EndsWhatItFinds,
    Mutant::ObeysItsOwnTimeout,
    Mutant::ShortensWhatItFinds,
    Mutant::SetsItsClockBack,
    Mutant::ComesLate,
    Mutant::LeavesAThing,
    Mutant::TidiesUp,
    Mutant::Panics,
];

impl Mutant {
    /// What it breaks.
    #[must_use]
    pub fn breaks(self) -> &'static str {
        match self {
            Mutant::HoldsTooLong => promise::AT_MOST_ONE_VALID_HOLDER,
            Mutant::EndsWhatItFinds => promise::ONLY_THE_HOLDER_ENDS_A_HOLD,
            Mutant::ObeysItsOwnTimeout | Mutant::ShortensWhatItFinds => {
                promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS
            }
            Mutant::SetsItsClockBack => promise::NUMBERS_GROW,
            Mutant::ComesLate => promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER,
            Mutant::LeavesAThing => promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
            Mutant::TidiesUp => promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED,
            Mutant::Panics => EVERY_CALL_ENDS,
        }
    }

    /// The schedule of this seed, with this one among its contenders, and no other fault.
    #[must_use]
    pub fn in_schedule(self, seed: u64) -> Plot {
        let mut plot = schedule::of(seed);
        plot.mood.lies = 0;
        let part = &mut plot.parts[0];
        part.mutant = Some(self);
        let misdeed = [Action::Work(Duration::from_millis(50)), Action::Misbehave];
        part.deeds.splice(0..0, misdeed);
        part.deeds.push(Action::Misbehave);
        plot
    }

    /// What it does at its misdeed.
    pub(super) fn misbehave(self, play: &Scheduler, me: usize, part: &SimulatedProcess) {
        let now = play.scene().now;
        let found = fs::read_dir(play.lockdir()).into_iter().flatten().flatten();
        let found = found.filter_map(|name| name.file_name().to_str().and_then(Entry::parse));
        let mut held = found.filter(|entry| entry.state == State::Held);
        match self {
            Mutant::HoldsTooLong | Mutant::SetsItsClockBack => {}
            Mutant::EndsWhatItFinds => held.for_each(|entry| end(play, me, &entry)),
            Mutant::ObeysItsOwnTimeout => held
                .filter(|entry| booted(part.host) + entry.stamp + part.timeout <= now)
                .for_each(|entry| end(play, me, &entry)),
            Mutant::ShortensWhatItFinds => held.for_each(|entry| {
                let (timeout, renewals) = (part.timeout, entry.renewals + 1);
                let shorter = Entry { timeout, renewals, ..entry.clone() };
                rename(play, me, &entry, &shorter);
            }),
            Mutant::ComesLate => {
                let given_up = play.scene().truth.given_up.iter().next().copied();
                if let (Some(entry), Some(nonce)) = (held.next(), given_up) {
                    rename(play, me, &entry, &Entry { nonce, ..entry.clone() });
                }
            }
            Mutant::LeavesAThing => {
                let _ = fs::create_dir(play.lockdir());
                let _ = fs::write(play.lockdir().join(THING), "mine");
            }
            Mutant::TidiesUp => drop(fs::remove_file(play.folder.join("jobs.lockdir.old"))),
            Mutant::Panics => std::panic::resume_unwind(Box::new("as it was told to")),
        }
    }
}

/// By the calls that the library would make.
fn end(play: &Scheduler, me: usize, entry: &Entry) {
    let name = entry.to_string();
    let call = Call { kind: Kind::Unlink, on: name.as_ref(), to: None };
    let _ = play.call(me, &call, &mut || rustix::fs::unlink(play.lockdir().join(&name)));
}

fn rename(play: &Scheduler, me: usize, from: &Entry, to: &Entry) {
    let (from, to) = (from.to_string(), to.to_string());
    let call = Call { kind: Kind::Rename, on: from.as_ref(), to: Some(to.as_ref()) };
    let lockdir = play.lockdir();
    let _ =
        play.call(me, &call, &mut || rustix::fs::rename(lockdir.join(&from), lockdir.join(&to)));
}
