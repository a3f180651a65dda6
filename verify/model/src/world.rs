//! All contenders, D and the queue, and their bounds: whose clocks, how far time goes on, what may
//! go wrong.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lockbydir_protocol::{Now, Origin};

use crate::contender::{Contender, Ground, Plan, here};
use crate::disk::At;
use crate::event::Events;
use crate::mutant::Mutant;
use crate::state::Moment;

/// What the contenders have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clocks {
    /// One kernel: one boot clock, and all see each other's processes.
    Shared,
    /// One kernel and one boot clock, but no process is seen by another.
    Namespaces,
    /// A kernel for each: boot clocks that say different times.
    Apart,
    /// The same, and the first one's clock is slow: in one timeout by less than the margin.
    Drifting,
}

/// A world and its bounds.
#[derive(Debug)]
pub struct World {
    /// Who there is.
    pub plans: Vec<Plan>,
    /// Do they queue?
    pub has_queue: bool,
    /// Does the first one hold from the beginning?
    pub is_held: bool,
    /// How often time goes on.
    pub ticks: u16,
    /// How long a tick is.
    pub tick: Duration,
    /// Whose clocks.
    pub clocks: Clocks,
    /// Are answers to be believed?
    pub is_local: bool,
    /// Is D kept for ever? Then the wall clock stands still, too.
    pub fenced: bool,
    /// May a release leave D in place?
    pub lingers: bool,
    /// May a process stand still between a call and what it makes of the answer?
    pub pauses: bool,
    /// How many processes may crash.
    pub crashes: u8,
    /// How many answers may be lies.
    pub lies: u8,
    /// Has D's folder the sticky bit? Then only who made D may remove it.
    pub is_sticky: bool,
    /// Does a plain `mkdir` locker come by?
    pub bare: bool,
    /// Does somebody put a file into D?
    pub foreigner: bool,
    /// What is wrong with it.
    pub mutant: Option<Mutant>,
    /// What is noted on the way.
    pub notes: Notes,
}

/// What is noted while a world is walked through; no part of any moment.
#[derive(Debug, Default)]
pub struct Notes {
    /// What has happened.
    pub events: Events,
    /// What has happened to newcomers in trials.
    trials: Events,
    /// Where a newcomer was seen to get the lock; or the promise that was broken to it.
    pub(crate) known: Mutex<HashMap<u64, Option<&'static str>>>,
}

/// Two who acquire once on one kernel, and nothing goes wrong.
impl Default for World {
    fn default() -> World {
        World {
            plans: vec![Plan::default(); 2],
            has_queue: false,
            is_held: false,
            ticks: 3,
            tick: Duration::from_millis(200),
            clocks: Clocks::Shared,
            is_local: true,
            fenced: false,
            lingers: false,
            pauses: false,
            crashes: 0,
            lies: 0,
            is_sticky: false,
            bare: false,
            foreigner: false,
            mutant: None,
            notes: Notes::default(),
        }
    }
}

impl World {
    /// A contender's own boot clock.
    pub(crate) fn boot(&self, id: usize, time: u16) -> Duration {
        let start = match self.clocks {
            Clocks::Apart | Clocks::Drifting => 1000 * (id as u32 + 1),
            _ => 1000,
        };
        let slow = match (self.clocks, id) {
            (Clocks::Drifting, 0) => self.tick / 80 * u32::from(time),
            _ => Duration::ZERO,
        };
        self.tick * (start + u32::from(time)) - slow
    }

    pub(crate) fn now(&self, id: usize, moment: &Moment) -> Now {
        let boot = self.boot(id, moment.time);
        let wall = match (self.mutant, self.fenced) {
            (Some(Mutant::ReadsAddsAndWritesItsNumber), _) => moment.counter.1[id],
            (_, true) => 0,
            (_, false) => moment.wall + self.ticks_of_the_wall(moment),
        };
        // A wall clock that is set forward by an hour at the last tick.
        let is_judging = self.mutant == Some(Mutant::JudgesByTheWallClock)
            && moment.people.get(id).is_some_and(|person| person.hold.is_none());
        let step = if is_judging && moment.time == self.ticks { 3600 } else { 0 };
        // It has slept, as it says.
        let is_hasty = moment.people.get(id).is_some_and(|person| self.is_hasty(person));
        let early = if is_hasty { self.tick } else { Duration::ZERO };
        Now { boot: boot + Duration::from_secs(step) + early, wall: Duration::from_micros(wall) }
    }

    /// What the ticks so far add to the wall clock, where it matters how old a ticket is.
    pub(crate) fn ticks_of_the_wall(&self, moment: &Moment) -> u64 {
        let tick = if self.has_queue { self.tick.as_micros() } else { 0 };
        u64::try_from(tick).unwrap_or(0) * u64::from(moment.time)
    }

    pub(crate) fn ground(&self, id: usize) -> Ground<'_> {
        let number = id as u32 + 1;
        let origin = match self.clocks {
            Clocks::Shared => Origin { boot: 1, time: 1, pids: 1 },
            Clocks::Namespaces => Origin { boot: 1, time: 1, pids: number },
            Clocks::Apart | Clocks::Drifting => {
                Origin { boot: u64::from(number), time: 1, pids: 1 }
            }
        };
        let believes = self.is_local || self.mutant == Some(Mutant::BelievesItsCalls);
        Ground {
            events: self.events(id),
            here: here(origin, believes),
            tick: self.tick,
            fenced: self.fenced,
            has_queue: self.has_queue,
            mutant: self.mutant,
        }
    }

    /// What happens to this one is noted here.
    pub(crate) fn events(&self, id: usize) -> &Events {
        if id < self.plans.len() { &self.notes.events } else { &self.notes.trials }
    }

    pub(crate) fn at(&self, moment: &Moment) -> At {
        At { time: moment.time, tick: self.tick, is_sticky: self.is_sticky, mutant: self.mutant }
    }

    /// The boot clock by which this one counts its own deadline.
    pub(crate) fn holders_clock(&self, id: usize, moment: &Moment) -> Duration {
        let slept = if id == 0 { moment.slept } else { 0 };
        self.boot(id, moment.time) - self.tick * u32::from(slept)
    }

    pub(crate) fn is_valid(&self, id: usize, moment: &Moment) -> bool {
        let person = &moment.people[id];
        person.is_valid(self.holders_clock(id, moment))
            && !person.hold.as_ref().is_some_and(|hold| moment.is_broken(hold.entry.nonce))
    }

    /// Of two who mean to do the same, and have done nothing yet, the first begins: the other way
    /// round is the same with other names. (In a queue names decide who of two is first.)
    pub(crate) fn is_another(&self, id: usize, moment: &Moment) -> bool {
        id > 0
            && !self.has_queue
            && self.clocks != Clocks::Drifting
            && self.mutant.is_none()
            && self.plans[id] == self.plans[id - 1]
            && moment.began >> (id - 1) & 1 == 0
    }

    /// Begins whatever this one begins by itself.
    pub(crate) fn begin(&self, id: usize, moment: &mut Moment) {
        let person = &mut moment.people[id];
        match person.plan.breaks {
            Some(force) if person.is_idle() => {
                self.choose(id, moment, |person, now, ground| person.evict(force, now, ground));
            }
            _ if person.wants_to_acquire() && person.shortcut.is_none() => {
                self.choose(id, moment, Contender::acquire);
            }
            _ if person.wants_to_begin() => self.choose(id, moment, Contender::name_command),
            _ if person.is_done() => person.change(Contender::retire),
            _ => {}
        }
    }
}
