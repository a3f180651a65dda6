//! The changing state of a simulation: the time, the actions of the processes, the turn, and the faults of
//! the next calls.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lockbydir::simulated::Kind;
use rustix::io::Errno;

use super::faults::{FaultRates, InjectedFault, Lie};
use super::machines::BEGIN;
use super::oracle::{EVERY_CALL_ENDS, Oracle};
use crate::chance::Dice;

/// The number of calls after which a verb counts as endless.
const MOST_CALLS: u32 = 20_000;

/// The phase of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits to be started.
    NotStarted,
    Ready,
    /// It sleeps until this time, or until an event; it has seen all events up to this number.
    Asleep(Duration, u64),
    Stopped(Duration),
    Gone,
}

/// The state of a process.
pub(super) struct ProcessState {
    pub(super) doing: Phase,
    pub(super) deed: usize,
    pub(super) calls: u32,
    /// It does nothing any more.
    pub(super) is_dead: bool,
    pub(super) forces: bool,
    pub(super) timeout: Duration,
    pub(super) persisting: Vec<(Kind, Lie)>,
    /// All errors that were false.
    pub(super) errors: Vec<Errno>,
    /// The number of lies to it.
    pub(super) lies: u32,
    /// The deadline of its last hold.
    pub(super) deadline: Duration,
    /// The nonces of its present action.
    pub(super) drawn: Vec<u128>,
}

/// The changing state of a simulation.
pub(super) struct SharedState {
    pub(super) now: Duration,
    pub(super) turn: usize,
    /// Grows with every event that may wake a sleeper.
    pub(super) events: u64,
    pub(super) processes: Vec<ProcessState>,
    pub(super) oracle: Oracle,
    pub(super) spells: Vec<InjectedFault>,
    pub(super) mood: FaultRates,
    pub(super) dice: Dice,
    /// The process that gets the turn back when the process that it started has ended.
    pub(super) started_by: Option<usize>,
    pub(super) story: Option<Vec<String>>,
    /// The number of raw calls of all processes.
    pub(super) calls: u64,
    /// The number of each fault.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The calls of each action, where they are counted.
    pub(super) made: HashMap<(usize, usize), Vec<Kind>>,
}

impl SharedState {
    /// Records how much of its hold a holder reports to be left.
    pub(super) fn has_left(&mut self, me: usize, rest: Duration) {
        let until = self.now + rest;
        if let Some(belief) = self.oracle.beliefs.get_mut(&me) {
            belief.deadline = until;
        }
    }

    pub(super) fn log(&mut self, me: usize, what: impl FnOnce() -> String) {
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
        let process = &mut self.processes[me];
        process.calls += 1;
        let deed = process.deed;
        if process.calls > MOST_CALLS {
            self.oracle.broke(EVERY_CALL_ENDS, format!("deed {deed} of contender {me} goes on"));
        }
        if self.mood.turns == 0 {
            self.made.entry((me, deed)).or_default().push(kind);
        }
    }

    /// Returns the process that continues: a process that can, else the sleeper whose sleep ends first, else
    /// a process that was not started. Returns the number of processes when all are gone.
    pub(super) fn next(&mut self) -> usize {
        if let Some(by) = self.started_by.take() {
            return by;
        }
        loop {
            let (now, events) = (self.now, self.events);
            let can = |doing: Phase| match doing {
                Phase::Ready => true,
                Phase::Asleep(until, seen) => until <= now || seen != events,
                Phase::Stopped(until) => until <= now,
                Phase::NotStarted | Phase::Gone => false,
            };
            let all: Vec<usize> =
                (0..self.processes.len()).filter(|&who| can(self.processes[who].doing)).collect();
            if !all.is_empty() {
                let chosen = match self.mood.turns {
                    0 => 0,
                    _ => self.dice.below(all.len() as u64) as usize,
                };
                return all[chosen];
            }
            let ends = self.processes.iter().filter_map(|process| match process.doing {
                Phase::Asleep(until, _) | Phase::Stopped(until) => Some(until),
                _ => None,
            });
            if let Some(end) = ends.min() {
                self.now = end;
                continue;
            }
            let waits = |process: &ProcessState| process.doing == Phase::NotStarted;
            let Some(next) = self.processes.iter().position(waits) else {
                return self.processes.len();
            };
            self.processes[next].doing = Phase::Ready;
        }
    }

    /// Returns the fault of this call, if it gets one.
    pub(super) fn lie(&mut self, me: usize, kind: Kind, is_local: bool) -> Option<Lie> {
        if kind == Kind::Thread {
            // No thread of the library's own: it would act outside of the simulation.
            return Some(Lie::Refused(Errno::AGAIN));
        }
        // The last process uses a file system that works correctly again.
        if me + 1 == self.processes.len() {
            return None;
        }
        let process = &self.processes[me];
        let (deed, nth) = (process.deed, process.calls);
        let spelled = self
            .spells
            .iter()
            .find(|spell| (spell.who, spell.deed, spell.call) == (me, deed, nth))
            .copied();
        if let Some(spell) = spelled.filter(|spell| spell.persists) {
            self.processes[me].persisting.push((kind, spell.lie));
        }
        let persisting = || self.processes[me].persisting.iter().find(|(of, _)| *of == kind);
        let lie = spelled.map(|spell| spell.lie).or_else(|| persisting().map(|(_, lie)| *lie));
        let lie = lie.or_else(|| self.random_lie(kind, is_local))?;
        let process = &mut self.processes[me];
        if lie.is_of_the_file_system() {
            process.lies += 1;
            process.errors.extend(lie.errno());
            if lie == Lie::NotDone {
                // The next call misses what was not made.
                process.errors.push(Errno::NOENT);
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
