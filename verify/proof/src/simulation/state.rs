//! What changes while a play is under way: the time, who does what, whose turn it is, and what
//! becomes of the next call.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lockbydir::simulated::Kind;
use rustix::io::Errno;

use super::faults::Lie;
use super::oracle::{EVERY_CALL_ENDS, Oracle};
use super::scheduler::BEGIN;
use crate::chance::Dice;

/// A verb that makes more calls than this does not end.
const MOST_CALLS: u32 = 20_000;

/// What is to become of some call.
#[derive(Clone, Copy, Debug)]
pub struct InjectedFault {
    /// Whose call.
    pub who: usize,
    /// In its how many-th deed, from 1.
    pub deed: usize,
    /// The how many-th call of that deed, from 1.
    pub call: u32,
    /// Does it come true for every call of the same kind from then on?
    pub persists: bool,
    /// What.
    pub lie: Lie,
}

/// What else may happen: chances in a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// Something becomes of the call.
    pub lies: u64,
    /// The turn is another's.
    pub turns: u64,
}

/// What somebody on stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for its cue.
    OffStage,
    Ready,
    /// Until then, or until it hears something; it has heard nothing since that event.
    Asleep(Duration, u64),
    Stopped(Duration),
    Gone,
}

/// One on stage, as the play sees it.
pub(super) struct Figure {
    pub(super) doing: Phase,
    pub(super) deed: usize,
    pub(super) calls: u32,
    /// It does nothing any more.
    pub(super) is_dead: bool,
    pub(super) forces: bool,
    pub(super) timeout: Duration,
    pub(super) persisting: Vec<(Kind, Lie)>,
    /// All that it was told wrongly.
    pub(super) told: Vec<Errno>,
    /// How often it was lied to.
    pub(super) lies: u32,
    /// Of its last hold.
    pub(super) deadline: Duration,
    /// The nonces of its present deed.
    pub(super) drawn: Vec<u128>,
}

/// What changes while a play is under way.
pub(super) struct SharedState {
    pub(super) now: Duration,
    pub(super) turn: usize,
    /// Grows with everything that somebody may hear.
    pub(super) events: u64,
    pub(super) figures: Vec<Figure>,
    pub(super) truth: Oracle,
    pub(super) spells: Vec<InjectedFault>,
    pub(super) mood: FaultRates,
    pub(super) dice: Dice,
    /// Whose turn it is again when the one on cue has done its part.
    pub(super) cued_by: Option<usize>,
    pub(super) story: Option<Vec<String>>,
    /// Raw calls, of all.
    pub(super) calls: u64,
    /// How often something became of a call.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The calls of each deed, where they are counted.
    pub(super) made: HashMap<(usize, usize), Vec<Kind>>,
}

impl SharedState {
    /// A holder says how much of its hold is left.
    pub(super) fn has_left(&mut self, me: usize, rest: Duration) {
        let until = self.now + rest;
        if let Some(belief) = self.truth.beliefs.get_mut(&me) {
            belief.deadline = until;
        }
    }

    pub(super) fn tell(&mut self, me: usize, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let at = self.now.saturating_sub(BEGIN);
            story.push(format!("{at:>14.6?} {me}  {}", what()));
        }
    }

    pub(super) fn story(&mut self) -> Vec<String> {
        self.story.take().unwrap_or_default()
    }

    pub(super) fn begin_call(&mut self, me: usize, kind: Kind) {
        self.events += 1;
        self.calls += 1;
        self.now += Duration::from_micros(1 + self.dice.below(30));
        let figure = &mut self.figures[me];
        figure.calls += 1;
        let deed = figure.deed;
        if figure.calls > MOST_CALLS {
            self.truth.broke(EVERY_CALL_ENDS, format!("deed {deed} of contender {me} goes on"));
        }
        if self.mood.turns == 0 {
            self.made.entry((me, deed)).or_default().push(kind);
        }
    }

    /// Who goes on: one who can, else the one whose sleep ends first, else one who was off stage.
    /// Beyond all of them when everyone is gone.
    pub(super) fn next(&mut self) -> usize {
        if let Some(by) = self.cued_by.take() {
            return by;
        }
        loop {
            let (now, events) = (self.now, self.events);
            let can = |doing: Phase| match doing {
                Phase::Ready => true,
                Phase::Asleep(until, seen) => until <= now || seen != events,
                Phase::Stopped(until) => until <= now,
                Phase::OffStage | Phase::Gone => false,
            };
            let all: Vec<usize> =
                (0..self.figures.len()).filter(|&who| can(self.figures[who].doing)).collect();
            if !all.is_empty() {
                let chosen = match self.mood.turns {
                    0 => 0,
                    _ => self.dice.below(all.len() as u64) as usize,
                };
                return all[chosen];
            }
            let ends = self.figures.iter().filter_map(|figure| match figure.doing {
                Phase::Asleep(until, _) | Phase::Stopped(until) => Some(until),
                _ => None,
            });
            if let Some(end) = ends.min() {
                self.now = end;
                continue;
            }
            let waits = |figure: &Figure| figure.doing == Phase::OffStage;
            let Some(next) = self.figures.iter().position(waits) else {
                return self.figures.len();
            };
            self.figures[next].doing = Phase::Ready;
        }
    }

    /// What becomes of this call.
    pub(super) fn lie(&mut self, me: usize, kind: Kind, is_local: bool) -> Option<Lie> {
        if kind == Kind::Thread {
            // No thread of the library's own: it would act outside of the play.
            return Some(Lie::Refused(Errno::AGAIN));
        }
        // Whoever comes last meets a file system that is well again.
        if me + 1 == self.figures.len() {
            return None;
        }
        let figure = &self.figures[me];
        let (deed, nth) = (figure.deed, figure.calls);
        let spelled = self
            .spells
            .iter()
            .find(|spell| (spell.who, spell.deed, spell.call) == (me, deed, nth))
            .copied();
        if let Some(spell) = spelled.filter(|spell| spell.persists) {
            self.figures[me].persisting.push((kind, spell.lie));
        }
        let persisting = || self.figures[me].persisting.iter().find(|(of, _)| *of == kind);
        let lie = spelled.map(|spell| spell.lie).or_else(|| persisting().map(|(_, lie)| *lie));
        let lie = lie.or_else(|| self.random_lie(kind, is_local))?;
        let figure = &mut self.figures[me];
        if lie.is_of_the_file_system() {
            figure.lies += 1;
            figure.told.extend(lie.errno());
            if lie == Lie::NotDone {
                // What was not made is missed by the next call.
                figure.told.push(Errno::NOENT);
            }
        }
        *self.counts.entry(lie.name()).or_default() += 1;
        Some(lie)
    }

    pub(super) fn random_lie(&mut self, kind: Kind, is_local: bool) -> Option<Lie> {
        const STALLS: [u64; 5] = [1, 20, 120, 600, 3000];
        if self.mood.lies == 0 || self.dice.below(1000) >= self.mood.lies {
            return None;
        }
        let stall = STALLS[self.dice.below(STALLS.len() as u64) as usize];
        let lies = Lie::all(kind, is_local, Duration::from_millis(stall));
        Some(lies[self.dice.below(lies.len() as u64) as usize])
    }
}
