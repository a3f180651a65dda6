//! The steps that are possible in a world: the model that stateright walks through.

use lockbydir_protocol::{Nonce, Now, State};
use stateright::{Model, Property};

use crate::contender::{Contender, Ground, News, Next, owner_of};
use crate::disk::{Disk, Inside};
use crate::event::Event;
use crate::faults::Trick;
use crate::keyed::Keyed;
use crate::mutant::Mutant;
use crate::one_try::Front;
use crate::plan::Arrival;
use crate::queue::TicketQueue;
use crate::state::{Bare, Left, Moment};
use crate::world::World;

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Time advances.
    Tick,
    /// Time advances while the first contender's computer sleeps.
    TickAsleep,
    /// A contender takes the lock that it left open.
    Acquire(usize),
    /// A contender renews.
    Renew(usize),
    /// A contender renews any holder's lock, by the key.
    RenewByKey(usize),
    /// A contender releases, perhaps leaving D in place.
    Release(usize, bool),
    /// A contender gives up before its next try.
    GiveUp(usize),
    /// The pending operation of a contender takes effect, and the contender continues.
    Effect(usize),
    /// The same, but the contender is paused until time has advanced.
    EffectAndPause(usize),
    /// The pending operation of a contender is answered with a lie.
    Lie(usize, Trick),
    /// A paused contender continues.
    GoOn(usize),
    /// A sleeper is woken, or its time is over.
    Wake(usize),
    /// A contender crashes.
    Crash(usize),
    /// A plain `mkdir`, or the `rmdir` that follows it.
    Bare,
    /// Another program puts a file into D.
    Foreign,
}

/// Returns the nonce of the holding whose key others may have: the holder shows it after it acquired.
fn held_nonce(moment: &Moment) -> Option<Nonce> {
    let nonce = moment.disk.entry().filter(|entry| entry.state == State::Held)?.nonce;
    let hold = moment.people.get(owner_of(nonce))?.hold.as_ref()?;
    (hold.entry.nonce == nonce).then_some(nonce)
}

impl Model for World {
    type State = Moment;
    type Action = Act;

    fn init_states(&self) -> Vec<Moment> {
        let people = self.plans.len();
        let mut moment = Moment {
            time: 0,
            disk: Keyed::new(Disk { before: (self.lies > 0).then_some(None), ..Disk::default() }),
            queue: Keyed::new(TicketQueue::new(people)),
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
            front: Front::default(),
            began: 0,
            counter: (1, vec![1; people]),
            fault: None,
        };
        self.begin(0, &mut moment);
        while self.is_held && moment.people[0].hold.is_none() {
            self.go_on(0, None, false, &mut moment);
        }
        for id in 0..people {
            self.begin(id, &mut moment);
            let comes_before = self.plans[id].arrival != Arrival::Later;
            while comes_before && !matches!(moment.people[id].next, Next::Asleep(..)) {
                self.go_on(id, None, false, &mut moment);
            }
        }
        self.watch_the_front(&mut moment);
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
            if self.is_another(id, moment) || person.plan.arrival == Arrival::Stopped {
                continue;
            }
            match &person.next {
                Next::Ask(operation, _) => {
                    acts.push(Act::Effect(id));
                    if self.pauses && moment.time < self.ticks {
                        acts.push(Act::EffectAndPause(id));
                    }
                    if moment.left.lies > 0 {
                        let tricks = Trick::on(operation, self.is_local).iter();
                        acts.extend(tricks.map(|trick| Act::Lie(id, *trick)));
                    }
                    let is_caught = self.mutant == Some(Mutant::GivesUpAmidACall)
                        && person.plan.patience.is_some();
                    if person.is_between_tries || is_caught {
                        acts.push(Act::GiveUp(id));
                    }
                }
                Next::Asleep(source, until) => {
                    if self.is_woken(id, source, *until, moment) {
                        acts.push(Act::Wake(id));
                    }
                }
                Next::Answered(_, since) if moment.time > *since => acts.push(Act::GoOn(id)),
                Next::Answered(..) | Next::Nothing => {}
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
            if person.is_idle() && person.plan.by_key && held_nonce(moment).is_some() {
                acts.push(Act::RenewByKey(id));
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
            Act::RenewByKey(id) => {
                let nonce = held_nonce(moment)?;
                self.choose(id, moment, |person, now, ground| {
                    person.renew_by_key(nonce, now, ground)
                });
            }
            Act::Release(id, stays) => {
                self.choose(id, moment, |person, now, ground| person.release(stays, now, ground));
            }
            Act::GiveUp(id) => {
                if self.mutant == Some(Mutant::GivesUpAmidACall) {
                    // The operation that it asked for is still done.
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
                let Next::Answered(answer, _) = moment.people[id].next.clone() else { return None };
                self.deliver(id, answer, moment);
            }
            Act::Wake(id) => self.wake(id, moment),
            Act::Crash(id) => {
                moment.left.crashes -= 1;
                moment.began |= 1 << id;
                self.notes.events.note(Event::Crashed);
                moment.people[id].change(Contender::crash);
                moment.queue.change(|queue| queue.close_all(id));
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
        if self.has_queue {
            moment.queue.change(TicketQueue::tidy);
            self.watch_the_front(moment);
        }
        self.judge(moment);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<World>> {
        crate::promises::all()
    }
}

impl World {
    /// Starts the verb that a contender chooses.
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
