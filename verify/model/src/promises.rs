//! The properties that must hold in every state, named as in docs/protocol.md, and the events that must
//! happen in some state.

use std::time::Duration;

use lockbydir_protocol::{State, WakeSource, promise};
use stateright::Property;

use crate::contender::{Contender, Next};
use crate::disk::Inside;
use crate::event::sometimes;
use crate::keyed::{Keyed, key_of};
use crate::plan::{Arrival, Plan};
use crate::queue::Handles;
use crate::state::Moment;
use crate::world::{Clocks, World};

macro_rules! kept {
    ($($promise:ident),*) => {
        vec![$(Property::always(promise::$promise, |_: &World, moment: &Moment| {
            moment.fault != Some(promise::$promise)
        })),*]
    };
}

pub(crate) fn all() -> Vec<Property<World>> {
    let mut properties = kept!(
        AT_MOST_ONE_VALID_HOLDER,
        ONLY_THE_HOLDER_ENDS_A_HOLD,
        NUMBERS_GROW,
        A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS,
        WHO_GIVES_UP_NEVER_GETS_IT_LATER,
        THE_QUEUE_MOVES,
        A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN,
        A_LOCK_THAT_NOBODY_WANTS_LEAVES_NOTHING_BEHIND,
        NAMES_OF_OTHERS_ARE_NEVER_TOUCHED
    );
    properties.extend(sometimes());
    properties
}

/// The longest interval between two looks of the first waiter in the queue.
const FIRST_LOOKS: Duration = Duration::from_secs(1);
/// A bound on the steps of a newcomer: more than any newcomer needs.
const STEPS: u32 = 1000;

impl World {
    /// Checks the state as a whole.
    pub(crate) fn judge(&self, moment: &mut Moment) {
        let valid = (0..moment.people.len()).filter(|id| self.is_valid(*id, moment)).count();
        if valid > 1 {
            // The worst fault: it replaces any other.
            moment.fault = Some(promise::AT_MOST_ONE_VALID_HOLDER);
        }
        if self.has_queue && self.is_asleep_for_good(moment) {
            moment.blame(promise::THE_QUEUE_MOVES);
        }
        if self.is_left_behind(moment) {
            moment.blame(promise::A_LOCK_THAT_NOBODY_WANTS_LEAVES_NOTHING_BEHIND);
        }
        if let Some(promise) = self.broken_to_a_newcomer(moment) {
            moment.blame(promise);
        }
    }

    /// Whether D is still there although all have ended, and none of the reasons to keep it has occurred.
    fn is_left_behind(&self, moment: &Moment) -> bool {
        let may_stay = self.fenced || self.lingers || self.is_sticky || self.bare || self.foreigner;
        let nothing_failed = moment.left.crashes == self.crashes
            && moment.left.lies == self.lies
            && !moment.is_blind;
        let stands_still = |arrival| matches!(arrival, Arrival::Stopped);
        let has_ended = |person: &Keyed<Contender>| {
            person.is_done() && !person.is_crashed && !stands_still(person.plan.arrival)
        };
        !may_stay
            && nothing_failed
            && moment.disk.inside.is_some()
            && moment.people.iter().all(has_ended)
    }

    /// Whether a wake-up was lost: nobody has the lock, all who want it sleep, and only their periodic
    /// look will wake them. If the process that should have rung the bell is dead, that look is the remedy,
    /// and must happen within a second.
    fn is_asleep_for_good(&self, moment: &Moment) -> bool {
        let is_dead = |nonce| {
            moment.people[crate::contender::owner_of(nonce)].is_crashed
                && self.clocks == Clocks::Shared
        };
        let is_free = moment.disk.is_vacant()
            || moment
                .disk
                .entry()
                .is_some_and(|entry| entry.state == State::Held && is_dead(entry.nonce));
        let mut soonest = Duration::MAX;
        for (id, person) in moment.people.iter().enumerate() {
            match &person.next {
                Next::Asleep(WakeSource::Nothing, _) | Next::Ask(..) | Next::Answered(..) => {
                    return false;
                }
                Next::Asleep(source, _) if self.is_called(id, source, moment) => return false,
                Next::Asleep(_, until) => {
                    let rest = until.saturating_sub(self.boot(id, moment.time));
                    soonest = soonest.min(rest);
                }
                Next::Nothing if person.wants_to_acquire() => return false,
                Next::Nothing => {}
            }
        }
        let has_crashed = moment.left.crashes < self.crashes;
        let bound = if has_crashed { FIRST_LOOKS } else { Duration::ZERO };
        is_free && soonest < Duration::MAX && soonest > bound
    }

    /// Stops all others permanently and lets a newcomer wait for the lock; it must get it. Returns the
    /// promise that is broken if it does not.
    fn broken_to_a_newcomer(&self, moment: &Moment) -> Option<&'static str> {
        let inside = moment.disk.inside.as_ref();
        if inside.is_some_and(|inside| inside.foreign || inside.litter != 0) {
            return None;
        }
        // Only the process that made D may remove it, and it is about to. If it crashes here, D stays.
        if self.is_sticky && inside.is_some_and(Inside::is_being_removed) {
            return None;
        }
        let crashed: Vec<bool> = moment.people.iter().map(|person| person.is_crashed).collect();
        let key = key_of(&(&moment.disk, &moment.queue, moment.time, crashed));
        let known = self.notes.known.lock().ok().and_then(|known| known.get(&key).copied());
        known.unwrap_or_else(|| {
            let patience = (!self.has_queue).then_some(0);
            let waits = self.try_newcomer(moment.clone(), patience, Duration::MAX) == Some(true);
            let answer = if !waits {
                Some(promise::A_CRASH_LEAVES_A_LOCK_THAT_IS_FREE_AGAIN)
            } else if self.has_tries() && !self.is_had_by_a_try(moment) {
                Some(promise::THE_QUEUE_MOVES)
            } else {
                None
            };
            if let Ok(mut known) = self.notes.known.lock() {
                known.insert(key, answer);
            }
            answer
        })
    }

    /// Whether a process that tries once gets a free lock although the whole queue is stopped, and ends in
    /// time.
    fn is_had_by_a_try(&self, moment: &Moment) -> bool {
        let entry = moment.disk.entry();
        let is_free = moment.disk.inside.is_none()
            || entry.is_some_and(|entry| self.is_takable(entry, moment));
        let tried = self.try_newcomer(moment.clone(), Some(0), World::longest_try());
        tried.is_some_and(|has_it| has_it || !is_free)
    }

    /// Returns whether this newcomer gets the lock, or `None` if it does not end in time.
    fn try_newcomer(
        &self,
        mut moment: Moment,
        patience: Option<u16>,
        longest: Duration,
    ) -> Option<bool> {
        let id = moment.people.len();
        let began = moment.time;
        let plan = Plan { patience, ..Plan::default() };
        moment.people.push(Keyed::new(Contender::new(u8::try_from(id).unwrap_or(u8::MAX), plan)));
        moment.queue.change(|queue| queue.handles.push(Handles::default()));
        moment.came_behind.push(0);
        moment.counter.1.push(moment.counter.0);
        moment.left.lies = 0;
        self.choose(id, &mut moment, Contender::acquire);
        for _ in 0..STEPS {
            let person = &moment.people[id];
            if person.hold.is_some() {
                return Some(true);
            }
            moment.time += u16::from(person.is_between_tries);
            match person.next.clone() {
                Next::Ask(..) => self.go_on(id, None, false, &mut moment),
                Next::Asleep(source, until) => {
                    while !self.is_woken(id, &source, until, &moment) {
                        moment.time += 1;
                    }
                    self.wake(id, &mut moment);
                }
                Next::Answered(..) | Next::Nothing => return Some(false),
            }
            if self.tick * u32::from(moment.time - began) > longest {
                return None;
            }
        }
        None
    }
}
