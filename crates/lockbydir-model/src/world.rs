//! All contenders, D and the line as one model: who may do what when, and how far time goes on.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lockbydir_protocol::{Nonce, Now, Origin};
use stateright::{Model, Property};

use crate::contender::{Contender, Ground, News, Next, Plan, here};
use crate::disk::{At, Disk, Inside};
use crate::event::{Event, Events};
use crate::keyed::Keyed;
use crate::line::Line;
use crate::mutant::Mutant;
use crate::trick::Trick;

/// What the contenders have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clocks {
    /// One kernel: one boot clock, and all see each other's processes.
    Shared,
    /// One kernel and one boot clock, but no process is seen by another.
    Namespaces,
    /// A kernel for each: boot clocks that say different times.
    Apart,
    /// The same, and the first one's clock is slow: by half of the margin in one timeout.
    Drifting,
}

/// A world and its bounds.
#[derive(Debug)]
pub struct World {
    /// Who there is.
    pub plans: Vec<Plan>,
    /// Do they stand in line?
    pub has_line: bool,
    /// Does the first one hold from the beginning?
    pub is_held: bool,
    /// How often time goes on.
    pub ticks: u16,
    /// How long a tick is.
    pub tick: Duration,
    /// Whose clocks.
    pub clocks: Clocks,
    /// Are answers to be believed?
    pub one_kernel: bool,
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
    /// Where a newcomer was seen to get the lock, or not.
    pub(crate) known: Mutex<HashMap<u64, bool>>,
}

/// Two who acquire once on one kernel, and nothing goes wrong.
impl Default for World {
    fn default() -> World {
        World {
            plans: vec![Plan::default(); 2],
            has_line: false,
            is_held: false,
            ticks: 3,
            tick: Duration::from_millis(20),
            clocks: Clocks::Shared,
            one_kernel: true,
            fenced: false,
            lingers: false,
            pauses: false,
            crashes: 0,
            lies: 0,
            bare: false,
            foreigner: false,
            mutant: None,
            notes: Notes::default(),
        }
    }
}

/// The world at one moment, and what the promises must remember of earlier ones.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Moment {
    pub(crate) time: u16,
    pub(crate) disk: Keyed<Disk>,
    pub(crate) line: Keyed<Line>,
    pub(crate) people: Vec<Keyed<Contender>>,
    /// The wall clock, beside the ticks: it goes on with each install, so that no two are alike.
    pub(crate) wall: u64,
    /// The largest token of all holdings.
    pub(crate) largest: Option<u64>,
    pub(crate) left: Left,
    /// Nonces broken by force, and nonces of those who gave up: a bit each.
    pub(crate) broken: u64,
    pub(crate) gave_up: u64,
    /// A look that failed: then an install may have been done unseen.
    pub(crate) is_blind: bool,
    /// Ticks that the first contender's computer has slept.
    pub(crate) slept: u16,
    /// Who stood in line when each one came: a bit each.
    pub(crate) came_behind: Vec<u8>,
    /// Who has done something: a bit each.
    pub(crate) began: u8,
    /// Numbers as they were read at first: for a mutant.
    pub(crate) counter: (u64, Vec<u64>),
    /// The promise that is broken.
    pub(crate) fault: Option<&'static str>,
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct Left {
    pub(crate) crashes: u8,
    pub(crate) lies: u8,
    pub(crate) bare: Bare,
    pub(crate) foreigner: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bare {
    Nobody,
    MayCome,
    /// Made D at this tick.
    Holds(u16),
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Time goes on.
    Tick,
    /// Time goes on while the first contender's computer sleeps.
    TickAsleep,
    /// Takes what it left open.
    Acquire(usize),
    /// Renews.
    Renew(usize),
    /// Releases; perhaps leaving D in place.
    Release(usize, bool),
    /// Gives up before its next try.
    GiveUp(usize),
    /// Its pending operation takes effect, and it goes on.
    Effect(usize),
    /// The same, but it stands still until time has gone on.
    EffectAndPause(usize),
    /// Its pending operation meets a lie.
    Lie(usize, Trick),
    /// It goes on.
    GoOn(usize),
    /// It hears something in its sleep, or its time has come.
    Wake(usize),
    /// Ends without a word.
    Crash(usize),
    /// A plain `mkdir`, or the `rmdir` to it.
    Bare,
    /// Somebody puts a file into D.
    Foreign,
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
        Now { boot: boot + Duration::from_secs(step), wall: Duration::from_micros(wall) }
    }

    /// What the ticks so far add to the wall clock, where it matters how old a ticket is.
    pub(crate) fn ticks_of_the_wall(&self, moment: &Moment) -> u64 {
        let tick = if self.has_line { self.tick.as_micros() } else { 0 };
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
        let believes = self.one_kernel || self.mutant == Some(Mutant::BelievesItsCalls);
        Ground {
            events: self.events(id),
            here: here(origin, believes),
            tick: self.tick,
            fenced: self.fenced,
            has_line: self.has_line,
            mutant: self.mutant,
        }
    }

    /// What happens to this one is noted here.
    pub(crate) fn events(&self, id: usize) -> &Events {
        if id < self.plans.len() { &self.notes.events } else { &self.notes.trials }
    }

    pub(crate) fn at(&self, moment: &Moment) -> At {
        At { time: moment.time, tick: self.tick, mutant: self.mutant }
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
    /// round is the same with other names. (In a line names decide who of two is first.)
    fn is_another(&self, id: usize, moment: &Moment) -> bool {
        id > 0
            && !self.has_line
            && self.clocks != Clocks::Drifting
            && self.mutant.is_none()
            && self.plans[id] == self.plans[id - 1]
            && moment.began >> (id - 1) & 1 == 0
    }

    /// Begins whatever this one begins by itself.
    fn begin(&self, id: usize, moment: &mut Moment) {
        let person = &mut moment.people[id];
        match person.plan.breaks {
            Some(force) if person.is_idle() => {
                self.choose(id, moment, |person, now, ground| person.evict(force, now, ground));
            }
            _ if person.wants_to_acquire() && person.shortcut.is_none() => {
                self.choose(id, moment, Contender::acquire);
            }
            _ if person.is_done() => person.change(Contender::retire),
            _ => {}
        }
    }
}

pub(crate) fn bit(nonce: Nonce) -> u64 {
    1 << (nonce.0 & 63)
}

impl Moment {
    pub(crate) fn is_broken(&self, nonce: Nonce) -> bool {
        self.broken & bit(nonce) != 0
    }

    /// Notes the first fault; nothing comes after it.
    pub(crate) fn blame(&mut self, promise: &'static str) {
        self.fault.get_or_insert(promise);
    }
}

impl Model for World {
    type State = Moment;
    type Action = Act;

    fn init_states(&self) -> Vec<Moment> {
        let people = self.plans.len();
        let mut moment = Moment {
            time: 0,
            disk: Keyed::new(Disk { before: (self.lies > 0).then_some(None), ..Disk::default() }),
            line: Keyed::new(Line::new(people)),
            people: (0u8..)
                .zip(&self.plans)
                .map(|(id, plan)| Keyed::new(Contender::new(id, *plan)))
                .collect(),
            wall: 1,
            largest: None,
            left: Left {
                crashes: self.crashes,
                lies: self.lies,
                bare: if self.bare { Bare::MayCome } else { Bare::Nobody },
                foreigner: self.foreigner,
            },
            broken: 0,
            gave_up: 0,
            is_blind: false,
            slept: 0,
            came_behind: vec![0; people],
            began: 0,
            counter: (1, vec![1; people]),
            fault: None,
        };
        self.begin(0, &mut moment);
        while self.is_held && moment.people[0].hold.is_none() {
            self.go_on(0, None, false, &mut moment);
        }
        for id in 1..people {
            self.begin(id, &mut moment);
        }
        vec![moment]
    }

    fn actions(&self, moment: &Moment, acts: &mut Vec<Act>) {
        if moment.fault.is_some() {
            return;
        }
        if moment.time < self.ticks {
            acts.push(Act::Tick);
            if self.mutant == Some(Mutant::ClockStopsInSuspend) {
                acts.push(Act::TickAsleep);
            }
        }
        match moment.left.bare {
            Bare::MayCome if moment.disk.inside.is_none() => acts.push(Act::Bare),
            Bare::Holds(..) => acts.push(Act::Bare),
            _ => {}
        }
        if moment.left.foreigner && moment.disk.inside.is_some() {
            acts.push(Act::Foreign);
        }
        for (id, person) in moment.people.iter().enumerate() {
            if self.is_another(id, moment) {
                continue;
            }
            match &person.next {
                Next::Ask(operation, _) => {
                    acts.push(Act::Effect(id));
                    if self.pauses && moment.time < self.ticks {
                        acts.push(Act::EffectAndPause(id));
                    }
                    if moment.left.lies > 0 {
                        let tricks = Trick::on(operation, self.one_kernel).iter();
                        acts.extend(tricks.map(|trick| Act::Lie(id, *trick)));
                    }
                    let is_caught = self.mutant == Some(Mutant::GivesUpAmidACall)
                        && person.plan.patience.is_some();
                    if person.is_between_tries || is_caught {
                        acts.push(Act::GiveUp(id));
                    }
                }
                Next::Asleep(ear, until) => {
                    if self.is_woken(id, ear, *until, moment) {
                        acts.push(Act::Wake(id));
                    }
                }
                Next::Told(_, since) if moment.time > *since => acts.push(Act::GoOn(id)),
                Next::Told(..) | Next::Nothing => {}
            }
            if person.wants_to_acquire() {
                acts.push(Act::Acquire(id));
            }
            if person.is_idle() && person.hold.is_some() {
                acts.push(Act::Release(id, false));
                if self.lingers {
                    acts.push(Act::Release(id, true));
                }
                if person.renewals > 0 {
                    acts.push(Act::Renew(id));
                }
            }
            if moment.left.crashes > 0 && person.is_busy() {
                acts.push(Act::Crash(id));
            }
        }
    }

    fn next_state(&self, last: &Moment, act: Act) -> Option<Moment> {
        let mut next = last.clone();
        let moment = &mut next;
        match act {
            Act::Tick => moment.time += 1,
            Act::TickAsleep => {
                moment.time += 1;
                moment.slept += 1;
            }
            Act::Acquire(id) => self.choose(id, moment, Contender::acquire),
            Act::Renew(id) => self.choose(id, moment, Contender::renew),
            Act::Release(id, stays) => {
                self.choose(id, moment, |person, now, ground| person.release(stays, now, ground));
            }
            Act::GiveUp(id) => {
                if self.mutant == Some(Mutant::GivesUpAmidACall) {
                    // What it asked for is still done.
                    self.effect(id, None, moment);
                }
                self.notes.events.note(Event::GaveUp);
                self.choose(id, moment, |person, _, ground| person.give_up(ground));
            }
            Act::Effect(id) => {
                moment.began |= 1 << id;
                self.go_on(id, None, false, moment);
            }
            Act::EffectAndPause(id) => {
                moment.began |= 1 << id;
                self.go_on(id, None, true, moment);
            }
            Act::Lie(id, trick) => {
                moment.began |= 1 << id;
                moment.left.lies -= 1;
                self.notes.events.note(Event::Lied);
                self.go_on(id, Some(trick), false, moment);
            }
            Act::GoOn(id) => {
                let Next::Told(answer, _) = moment.people[id].next.clone() else { return None };
                self.tell(id, answer, moment);
            }
            Act::Wake(id) => self.wake(id, moment),
            Act::Crash(id) => {
                moment.left.crashes -= 1;
                moment.began |= 1 << id;
                self.notes.events.note(Event::Crashed);
                moment.people[id].change(Contender::crash);
                moment.line.change(|line| line.close_all(id));
            }
            Act::Bare => self.bare(moment),
            Act::Foreign => {
                self.notes.events.note(Event::ForeignCame);
                moment.left.foreigner = false;
                let time = moment.time;
                moment.disk.change(|disk| disk.change(time, |inside| inside.foreign = true));
            }
        }
        for id in 0..moment.people.len() {
            self.begin(id, moment);
        }
        if self.has_line {
            moment.line.change(Line::tidy);
        }
        self.judge(moment);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<World>> {
        crate::promises::all()
    }
}

impl World {
    /// It does what it chooses.
    pub(crate) fn choose(
        &self,
        id: usize,
        moment: &mut Moment,
        verb: impl FnOnce(&mut Contender, Now, &Ground<'_>) -> News,
    ) {
        let now = self.now(id, moment);
        let ground = self.ground(id);
        let news = moment.people[id].change(|person| verb(person, now, &ground));
        self.settle(id, news, moment);
    }

    fn bare(&self, moment: &mut Moment) {
        let time = moment.time;
        moment.left.bare = match moment.left.bare {
            Bare::MayCome => {
                self.notes.events.note(Event::BareCame);
                moment.disk.change(|disk| disk.change(time, |inside| inside.is_bare_made = true));
                Bare::Holds(time)
            }
            _ => {
                if moment.disk.inside.as_ref().is_some_and(Inside::is_empty) {
                    moment.disk.change(Disk::vanish);
                }
                Bare::Nobody
            }
        };
    }
}
