//! All contenders, D and the queue, and their bounds: which clocks they have, how far time advances, and
//! what may fail.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lockbydir_protocol::{Now, Origin};

use crate::contender::{Contender, Ground, here};
use crate::disk::At;
use crate::event::{Events, HasEvents};
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::state::Moment;

/// The clocks, and the view of each other's processes, that the contenders share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clocks {
    /// One kernel: one boot clock, and all see each other's processes.
    Shared,
    /// One kernel and one boot clock, but no process sees another.
    Namespaces,
    /// A kernel for each: the boot clocks show different times.
    Apart,
    /// The same, and the first contender's clock is slow: in one timeout by less than the margin.
    Drifting,
}

/// A world and its bounds.
#[derive(Debug)]
pub struct World {
    /// The plans of the contenders.
    pub plans: Vec<Plan>,
    /// Whether they queue.
    pub has_queue: bool,
    /// Whether the first contender holds the lock from the beginning.
    pub is_held: bool,
    /// The number of ticks by which time advances.
    pub ticks: u16,
    /// The length of a tick.
    pub tick: Duration,
    /// Which clocks the contenders have.
    pub clocks: Clocks,
    /// Whether the file system is local, so that answers can be trusted.
    pub is_local: bool,
    /// Whether D is kept for ever. Then the wall clock does not advance either.
    pub fenced: bool,
    /// Whether a release may leave D in place.
    pub lingers: bool,
    /// Whether a process may be paused between the effect of a call and its answer.
    pub pauses: bool,
    /// The number of processes that may crash.
    pub crashes: u8,
    /// The number of answers that may be lies.
    pub lies: u8,
    /// Whether D's folder has the sticky bit. Then only the process that made D may remove it.
    pub is_sticky: bool,
    /// Whether a program that locks with a plain `mkdir` takes part.
    pub bare: bool,
    /// Whether another program puts a file into D.
    pub foreigner: bool,
    /// The rule that is broken, if any.
    pub mutant: Option<Mutant>,
    /// Notes made during the walk.
    pub notes: Notes,
}

/// Notes made during the walk through a world; no part of any state.
#[derive(Debug, Default)]
pub struct Notes {
    /// The events that have happened.
    pub events: Events,
    /// The events that have happened to newcomers in trials.
    trials: Events,
    /// The results of trials by state: `None` if a newcomer got the lock, or the promise that was broken.
    pub(crate) known: Mutex<HashMap<u64, Option<&'static str>>>,
}

/// Two contenders that acquire once on one kernel, and no failures.
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
    /// Returns the time on a contender's own boot clock.
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
        // The wall clock is set forward by an hour at the last tick.
        let is_judging = self.mutant == Some(Mutant::JudgesByTheWallClock)
            && moment.people.get(id).is_some_and(|person| person.hold.is_none());
        let step = if is_judging && moment.time == self.ticks { 3600 } else { 0 };
        // The mutant reports that it has slept.
        let is_hasty = moment.people.get(id).is_some_and(|person| self.is_hasty(person));
        let early = if is_hasty { self.tick } else { Duration::ZERO };
        Now { boot: boot + Duration::from_secs(step) + early, wall: Duration::from_micros(wall) }
    }

    /// Returns what the ticks so far add to the wall clock, where the age of a ticket matters.
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

    /// Returns the set in which the events of this contender are noted.
    pub(crate) fn events(&self, id: usize) -> &Events {
        if id < self.plans.len() { &self.notes.events } else { &self.notes.trials }
    }

    pub(crate) fn at(&self, moment: &Moment) -> At {
        At { time: moment.time, tick: self.tick, is_sticky: self.is_sticky, mutant: self.mutant }
    }

    /// Returns the time on the boot clock by which this contender counts its own deadline.
    pub(crate) fn holders_clock(&self, id: usize, moment: &Moment) -> Duration {
        let slept = if id == 0 { moment.slept } else { 0 };
        self.boot(id, moment.time) - self.tick * u32::from(slept)
    }

    pub(crate) fn is_valid(&self, id: usize, moment: &Moment) -> bool {
        let person = &moment.people[id];
        person.is_valid(self.holders_clock(id, moment))
            && !person.hold.as_ref().is_some_and(|hold| moment.is_broken(hold.entry.nonce))
    }

    /// Whether this contender must let another begin first. Of two contenders with the same plan that have
    /// done nothing yet, the first begins: the opposite order is the same with other names. (In a queue,
    /// names decide which of two is first.)
    pub(crate) fn is_another(&self, id: usize, moment: &Moment) -> bool {
        id > 0
            && !self.has_queue
            && self.clocks != Clocks::Drifting
            && self.mutant.is_none()
            && self.plans[id] == self.plans[id - 1]
            && moment.began >> (id - 1) & 1 == 0
    }

    /// Starts what this contender does without being scheduled.
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

impl HasEvents for World {
    fn events(&self) -> &Events {
        &self.notes.events
    }
}
