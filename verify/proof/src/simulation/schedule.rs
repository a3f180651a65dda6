//! Schedules: which processes run, on which machines, with which actions, and how the file system behaves,
//! all drawn by one seed.

use std::time::Duration;

use super::faults::FaultRates;
use super::mutant::Mutant;
use super::plot::{Action, Plot, SimulatedProcess};
use crate::chance::Dice;

fn one_of<T: Copy>(dice: &mut Dice, all: &[T]) -> T {
    all[dice.below(all.len() as u64) as usize]
}

const fn millis(all: u64) -> Duration {
    Duration::from_millis(all)
}

const TIMEOUTS: [Duration; 4] = [millis(100), millis(200), millis(500), millis(2_000)];
const PATIENCES: [Duration; 4] = [Duration::ZERO, millis(50), millis(700), millis(5_000)];
const WORKS: [Duration; 5] = [millis(1), millis(9), millis(90), millis(300), millis(3_000)];

/// Returns the schedule of this seed.
#[must_use]
pub fn of(seed: u64) -> Plot {
    let dice = &mut Dice::seeded(seed);
    let is_local = dice.below(2) == 0;
    let lies = one_of(dice, &[0, 5, 20, 60, 200]);
    let mood = FaultRates { lies, turns: one_of(dice, &[5, 40, 200, 500]) };
    // Another machine cannot write to a local file system.
    let hosts = if is_local { 1 } else { 1 + dice.below(3) };
    let lingers = dice.below(4) == 0;
    let fenced = dice.below(4) == 0;
    let bare = dice.below(12) == 0;
    let count = 2 + dice.below(3);
    let mut parts: Vec<SimulatedProcess> = (0..count)
        .map(|_| SimulatedProcess {
            host: dice.below(hosts),
            timeout: one_of(dice, &TIMEOUTS),
            fenced: fenced && dice.below(3) != 0,
            lingers: lingers && dice.below(2) == 0,
            is_nobodys: dice.below(4) == 0,
            shares: dice.below(5) == 0,
            deeds: deeds(dice),
            ..SimulatedProcess::new(Duration::ZERO, Vec::new())
        })
        .collect();
    if bare {
        // Before any other action: a program that locks with `mkdir` has no part in what is promised among
        // processes of ours.
        parts[0].deeds.insert(0, Action::MakeBare);
    }
    // The last process waits, or starts later and tries once.
    let deeds = if dice.below(2) == 0 { Vec::new() } else { vec![Action::Look] };
    let host = dice.below(hosts);
    parts.push(SimulatedProcess { host, ..SimulatedProcess::new(one_of(dice, &TIMEOUTS), deeds) });
    Plot { is_local, is_mistaken: false, parts, spells: Vec::new(), mood, seed }
}

/// Returns the same schedule, in which each process sometimes renews another's holding by its key.
#[must_use]
pub fn with_keys(seed: u64) -> Plot {
    let mut plot = of(seed);
    let dice = &mut Dice::seeded(!seed);
    let next = plot.parts.len() - 1;
    for part in &mut plot.parts[..next] {
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(part.deeds.len() as u64 + 1) as usize;
            let pause = Action::Work(one_of(dice, &WORKS[..3]));
            part.deeds.splice(at..at, [pause, Action::RenewAnothers]);
        }
    }
    plot
}

fn deeds(dice: &mut Dice) -> Vec<Action> {
    let mut deeds = Vec::new();
    for _ in 0..1 + dice.below(3) {
        deeds.extend(match dice.below(20) {
            0 => Some(Action::BreakStale),
            1 => Some(Action::BreakByForce),
            2 => Some(Action::Look),
            3..=6 => Some(Action::Work(one_of(dice, &WORKS))),
            _ => None,
        });
        deeds.push(Action::Acquire(one_of(dice, &PATIENCES)));
        for _ in 0..dice.below(3) {
            deeds.push(match dice.below(8) {
                0..=2 => Action::Renew,
                3 => Action::SetTimeout(one_of(dice, &TIMEOUTS)),
                4 => Action::Keep,
                _ => Action::Work(one_of(dice, &WORKS)),
            });
        }
        deeds.push(match dice.below(12) {
            0 => Action::Drop,
            1 => Action::Die,
            _ => Action::Release,
        });
    }
    if dice.below(4) == 0 {
        deeds.push(Action::Forget);
    }
    deeds
}

impl Mutant {
    /// Returns the schedule of this seed, with this mutant among its processes, and no other fault.
    #[must_use]
    pub fn in_schedule(self, seed: u64) -> Plot {
        let mut plot = of(seed);
        plot.mood.lies = 0;
        let part = &mut plot.parts[0];
        part.mutant = Some(self);
        let misdeed = [Action::Work(Duration::from_millis(50)), Action::Misbehave];
        part.deeds.splice(0..0, misdeed);
        part.deeds.push(Action::Misbehave);
        plot
    }
}
