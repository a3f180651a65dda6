//! The effects of an operation on the world, lies included, and the promise that it breaks.

use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Fault, Handoff, Liveness, Operation, Owner, Wake, WakeSource, promise,
};

use crate::contender::{News, Next, Verb, owner_of};
use crate::disk::{observation_of, torn};
use crate::event::Event;
use crate::faults::Trick;
use crate::mutant::Mutant;
use crate::queue::Progress;
use crate::state::{Bare, Moment, bit};
use crate::world::{Clocks, World};

const BROKEN: Answer = Answer::Failed(Fault::Broken { code: 5 });

impl World {
    /// Lets the pending operation of a contender take effect, and delivers the answer, now or later.
    pub(crate) fn go_on(&self, id: usize, trick: Option<Trick>, pauses: bool, moment: &mut Moment) {
        let Some(answer) = self.effect(id, trick, moment) else { return };
        if pauses {
            self.events(id).note(Event::Paused);
            let answered = Next::Answered(answer, moment.time);
            moment.people[id].change(|person| person.next = answered);
        } else {
            self.deliver(id, answer, moment);
        }
    }

    /// Returns the answer, or `None` if the operation has more steps or the contender now sleeps.
    pub(crate) fn effect(
        &self,
        id: usize,
        trick: Option<Trick>,
        moment: &mut Moment,
    ) -> Option<Answer> {
        let Next::Ask(operation, step) = moment.people[id].next.clone() else { return None };
        match &operation {
            Operation::AskLiveness(owner) => Some(Answer::Liveness(self.life(*owner, moment))),
            Operation::Sleep(source, until) => {
                self.judge_a_try(id, &operation, moment);
                if self.is_hasty(&moment.people[id]) {
                    return Some(Answer::Woken(Wake::Time));
                }
                let is_ended = self.is_ended(source, moment);
                let wake = moment.queue.change(|queue| queue.begin_sleep(id, source, is_ended));
                if wake.is_none() {
                    let asleep = Next::Asleep(source.clone(), *until);
                    moment.people[id].change(|person| person.next = asleep);
                }
                wake.map(|wake| self.woken(id, wake))
            }
            Operation::HasWaiters
            | Operation::WakeFirst
            | Operation::ListQueue
            | Operation::Enter(_)
            | Operation::Leave(..)
            | Operation::Expel(..)
            | Operation::Listen
            | Operation::CloseQueue => self.on_queue(id, &operation, step, moment),
            _ => Some(self.on_disk(id, &operation, trick, moment)),
        }
    }

    fn on_queue(
        &self,
        id: usize,
        operation: &Operation,
        step: u8,
        moment: &mut Moment,
    ) -> Option<Answer> {
        if !moment.people[id].has_arrived && matches!(operation, Operation::ListQueue) {
            // Those who have found their place count; a process that is still entering may go behind others.
            let waits = |other: &usize| {
                moment.queue.ticket_of(*other).is_some()
                    && matches!(
                        &moment.people[*other].next,
                        Next::Asleep(source, _) if *source != WakeSource::Nothing
                    )
            };
            let waiting = (0..moment.people.len()).filter(waits);
            moment.came_behind[id] = waiting.map(|other| 1 << other).sum();
            moment.people[id].change(|person| person.has_arrived = true);
        }
        self.judge_a_try(id, operation, moment);
        let done = moment.queue.change(|queue| queue.perform(id, operation, step, self.mutant));
        let Progress::Done(answer) = done else {
            let next = Next::Ask(operation.clone(), step + 1);
            moment.people[id].change(|person| person.next = next);
            return None;
        };
        match (operation, &answer) {
            (Operation::Enter(_), _) => self.events(id).note(Event::Entered),
            (Operation::Leave(..), _) => self.events(id).note(Event::EnteredAnew),
            (Operation::Expel(ticket, _), Answer::Done(_)) => {
                self.events(id).note(Event::PassedOver);
                // From now on no process counts as arrived behind it.
                let owner = owner_of(ticket.nonce);
                for behind in &mut moment.came_behind {
                    *behind &= !(1 << owner);
                }
            }
            (Operation::CloseQueue, Answer::Done(_)) => self.events(id).note(Event::QueueClosed),
            (Operation::CloseQueue, _) if step > 0 => self.events(id).note(Event::QueueNotEmpty),
            _ => {}
        }
        Some(answer)
    }

    fn on_disk(
        &self,
        id: usize,
        operation: &Operation,
        trick: Option<Trick>,
        moment: &mut Moment,
    ) -> Answer {
        let at = self.at(moment);
        if let Operation::Look = operation {
            let is_foreign = moment.disk.is_foreign();
            moment.people[id].change(|person| person.saw_foreign = is_foreign);
            if self.tries_once(&moment.people[id]) {
                self.try_looks(id, moment);
            }
        }
        match trick {
            Some(Trick::NotDone) => return Answer::Done(None),
            Some(Trick::Refused) => {
                moment.is_blind |= matches!(operation, Operation::Look);
                return BROKEN;
            }
            Some(Trick::MovedInside) if moment.disk.inside.is_some() => {
                self.events(id).note(Event::MovedInside);
                let time = moment.time;
                moment.disk.change(|disk| disk.change(time, |inside| inside.litter |= 1 << id));
                return Answer::Done(None);
            }
            Some(Trick::Stale) => {
                self.events(id).note(Event::Stale);
                let before = moment.disk.before.clone().flatten();
                return Answer::Seen(observation_of(before.as_ref(), at));
            }
            Some(Trick::TornBoth | Trick::TornNone) => {
                self.events(id).note(Event::Torn);
                return Answer::Seen(torn(&moment.disk, trick == Some(Trick::TornBoth), at));
            }
            _ => {}
        }
        if let Operation::Unstage(_) = operation {
            let mine = !(1 << id);
            let time = moment.time;
            moment.disk.change(|disk| disk.change(time, |inside| inside.litter &= mine));
            return Answer::Done(None);
        }
        let before = moment.disk.clone();
        let has_handle = moment.people[id].has_emptied;
        let answer = moment.disk.change(|disk| disk.perform(id, operation, has_handle, at));
        if let (Operation::Unlink(_), Answer::Done(_), true) = (operation, &answer, self.is_local) {
            moment.people[id].change(|person| person.has_emptied = true);
        }
        if let Answer::Done(_) = answer {
            if let Some(old) = before.held() {
                self.blame_for_the_end(id, operation, old, moment);
            }
            self.blame_for_others(id, operation, &before, moment);
            self.go_with_the_time(operation, moment);
        }
        match (operation, &answer) {
            (Operation::Install(_), Answer::Failed(_)) => {
                self.events(id).note(Event::InstallRaceLost)
            }
            (Operation::Rename(..), Answer::Failed(_)) => {
                self.events(id).note(Event::RenameRaceLost)
            }
            (Operation::Rename(from, to), Answer::Done(_))
                if from.nonce == to.nonce && from.token < to.token =>
            {
                self.events(id).note(Event::NumberRaised);
            }
            (Operation::RemoveDir(_), Answer::Done(_))
                if before.inside.as_ref().is_some_and(|inside| inside.is_bare_made) =>
            {
                self.events(id).note(Event::BareRemoved);
            }
            _ => {}
        }
        match (trick, &answer) {
            (Some(Trick::DoneButMissing), Answer::Done(_)) => Answer::Failed(Fault::Missing),
            (Some(Trick::DoneButTaken), Answer::Done(_)) => Answer::Failed(Fault::Taken),
            (Some(Trick::DoneButBroken), Answer::Done(_)) => BROKEN,
            _ => answer,
        }
    }

    /// Advances the wall clock while D changes, just so far that no two holdings are alike.
    fn go_with_the_time(&self, operation: &Operation, moment: &mut Moment) {
        let token = moment.disk.entry().map_or(0, |entry| entry.token);
        moment.wall = moment.wall.max(token.saturating_sub(self.ticks_of_the_wall(moment)));
        moment.wall += u64::from(matches!(operation, Operation::Install(_)));
        if let Some(held) = moment.disk.held() {
            let owner = owner_of(held.nonce);
            for behind in &mut moment.came_behind {
                *behind &= !(1 << owner);
            }
        }
    }

    /// Checks, if the operation ended a hold, whether this contender was permitted to end it.
    fn blame_for_the_end(
        &self,
        id: usize,
        operation: &Operation,
        old: &Entry,
        moment: &mut Moment,
    ) {
        if moment.disk.held().is_some_and(|new| new.nonce == old.nonce) {
            return;
        }
        let owner = owner_of(old.nonce);
        if moment.people[id].is_forcing {
            moment.broken |= bit(old.nonce);
            return;
        }
        let counts = !moment.people[owner].is_crashed && moment.gave_up & bit(old.nonce) == 0;
        if owner == id || !counts {
            return;
        }
        let boot = self.boot(owner, moment.time);
        let timeout = self.tick * u32::from(moment.people[id].plan.timeout);
        let is_judged = matches!(operation, Operation::Rename(from, _)
            if Entry { timeout: old.timeout, ..from.clone() } == *old);
        if is_judged
            && timeout < old.timeout
            && boot < old.deadline()
            && boot >= old.stamp + timeout
        {
            moment.blame(promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS);
        }
        if boot < old.deadline() {
            moment.blame(promise::ONLY_THE_HOLDER_ENDS_A_HOLD);
        }
        if boot < old.expires_at() && self.clocks != Clocks::Drifting {
            moment.blame(promise::A_WAITERS_TIMEOUT_NEVER_SHORTENS_A_HOLDERS);
        }
    }

    /// Checks whether the operation damaged a file of others, or their bare lock.
    fn blame_for_others(
        &self,
        id: usize,
        operation: &Operation,
        before: &crate::disk::Disk,
        moment: &mut Moment,
    ) {
        let person = &moment.people[id];
        let takes = match operation {
            Operation::Rename(from, to) => from.nonce != to.nonce,
            Operation::Install(_) => true,
            _ => person.is_forcing,
        };
        let is_gone = before.is_foreign() && !moment.disk.is_foreign();
        let is_taken = before.is_foreign() && person.saw_foreign && takes;
        let forces = person.is_forcing;
        let timeout = person.plan.timeout;
        if is_gone || is_taken {
            moment.blame(promise::NAMES_OF_OTHERS_ARE_NEVER_TOUCHED);
        }
        if let (Operation::RemoveDir(_), Bare::Holds(since)) = (operation, moment.left.bare)
            && before.inside.as_ref().is_some_and(|inside| inside.is_bare_made)
            && moment.time - since < timeout
            && !forces
        {
            moment.blame(promise::ONLY_THE_HOLDER_ENDS_A_HOLD);
        }
    }

    /// Checks that a try passes over a waiter, or pauses, only as the rule permits.
    fn judge_a_try(&self, id: usize, operation: &Operation, moment: &mut Moment) {
        if self.tries_once(&moment.people[id]) && !self.may_try(id, operation, moment) {
            moment.blame(promise::THE_QUEUE_MOVES);
        }
    }

    /// Whether the processes that the lock lives by are gone.
    pub(crate) fn is_dead(&self, entry: &Entry, moment: &Moment) -> bool {
        self.life(entry.owner, moment) == Liveness::Gone
    }

    fn life(&self, owner: Owner, moment: &Moment) -> Liveness {
        let is_gone = self.mutant == Some(Mutant::SaysThatTheLivingAreGone)
            || owner != Owner::Nobody
                && owner.processes().all(|process| {
                    let person = moment.people.get(process.pid as usize - 1);
                    person.is_some_and(|person| person.is_crashed)
                });
        if is_gone { Liveness::Gone } else { Liveness::Alive }
    }

    fn may_remove(&self, id: usize, moment: &Moment) -> bool {
        let made_by = moment.disk.inside.as_ref().map(|inside| inside.made_by);
        let is_ours = made_by.is_none_or(|maker| maker == id);
        is_ours || !self.is_sticky || self.mutant == Some(Mutant::EmptiesWhatItMayNotRemove)
    }

    fn is_ended(&self, source: &WakeSource, moment: &Moment) -> bool {
        matches!(source, WakeSource::Bell(owner) if self.life(*owner, moment) == Liveness::Gone)
    }

    /// Whether a sleeper has something to read, or the holder that it watches has ended.
    pub(crate) fn is_called(&self, id: usize, source: &WakeSource, moment: &Moment) -> bool {
        moment.queue.has_wakeup(id, source) || self.is_ended(source, moment)
    }

    /// The same, or its time is over.
    pub(crate) fn is_woken(
        &self,
        id: usize,
        source: &WakeSource,
        until: Duration,
        moment: &Moment,
    ) -> bool {
        self.boot(id, moment.time) >= until || self.is_called(id, source, moment)
    }

    pub(crate) fn wake(&self, id: usize, moment: &mut Moment) {
        let Next::Asleep(source, _) = moment.people[id].next.clone() else { return };
        let is_ended = self.is_ended(&source, moment);
        let wake = moment.queue.change(|queue| queue.end_sleep(id, &source, is_ended));
        let answer = self.woken(id, wake);
        self.deliver(id, answer, moment);
    }

    fn woken(&self, id: usize, wake: Wake) -> Answer {
        match &wake {
            Wake::Notified => self.events(id).note(Event::Notified),
            Wake::HandoffReceived(Handoff::First) => self.events(id).note(Event::NotifiedFirst),
            Wake::HandoffReceived(Handoff::Behind(_)) => {
                self.events(id).note(Event::NotifiedBehind)
            }
            Wake::PeerGone => self.events(id).note(Event::Silent),
            Wake::Ended => self.events(id).note(Event::HolderEnded),
            Wake::Expelled => self.events(id).note(Event::Expelled),
            Wake::Time | Wake::Interrupted => {}
        }
        Answer::Woken(wake)
    }

    /// Delivers the answer, and performs at once what nobody else can see.
    pub(crate) fn deliver(&self, id: usize, answer: Answer, moment: &mut Moment) {
        let now = self.now(id, moment);
        let ground = self.ground(id);
        let news = moment.people[id].change(|person| person.resume(answer, now, &ground));
        self.settle(id, news, moment);
    }

    pub(crate) fn settle(&self, id: usize, mut news: News, moment: &mut Moment) {
        loop {
            self.take_note(id, news, moment);
            let answer = match &moment.people[id].next {
                Next::Ask(Operation::Stage(_), _) => Answer::Done(None),
                Next::Ask(Operation::Unstage(_), _)
                    if moment.disk.inside.as_ref().is_none_or(|at| at.litter & 1 << id == 0) =>
                {
                    Answer::Done(None)
                }
                // The answer can no longer change.
                Next::Ask(Operation::AskLiveness(owner), _) if moment.left.crashes == 0 => {
                    Answer::Liveness(self.life(*owner, moment))
                }
                Next::Ask(Operation::AskRemovable, _) => {
                    Answer::Removable(self.may_remove(id, moment))
                }
                Next::Ask(Operation::HasWaiters, _) if !self.has_queue => Answer::Somebody(false),
                Next::Ask(Operation::WakeFirst, _) if !self.has_queue => {
                    Answer::Failed(Fault::Missing)
                }
                _ => return,
            };
            let now = self.now(id, moment);
            let ground = self.ground(id);
            news = moment.people[id].change(|person| person.resume(answer, now, &ground));
        }
    }

    fn take_note(&self, id: usize, news: News, moment: &mut Moment) {
        if moment.people[id].verb.is_none() && self.has_queue {
            // Everything that a run of a machine has opened is closed when the run ends.
            moment.queue.change(|queue| queue.close_all(id));
        }
        match news {
            News::Else => {}
            News::GaveUp(nonce) => moment.gave_up |= bit(nonce),
            News::Got(entry) => {
                if !moment.is_broken(entry.nonce) {
                    if moment.largest.is_some_and(|largest| entry.token <= largest) {
                        moment.blame(promise::NUMBERS_GROW);
                    }
                    moment.largest = moment.largest.max(Some(entry.token));
                }
                moment.counter.0 = moment.counter.1[id] + 1;
                let overtaken = (0..moment.people.len()).any(|other| {
                    let waits = matches!(moment.people[other].verb, Some(Verb::Wait(_)));
                    moment.came_behind[id] >> other & 1 == 1
                        && waits
                        && moment.people[other].plan.patience.is_none()
                        && moment.queue.ticket_of(other).is_some()
                });
                if overtaken {
                    moment.blame(promise::THE_QUEUE_MOVES);
                }
            }
        }
        if self.mutant == Some(Mutant::ReadsAddsAndWritesItsNumber)
            && matches!(moment.people[id].next, Next::Ask(Operation::Look, 0))
        {
            moment.counter.1[id] = moment.counter.0;
        }
        if let (Some(held), false) = (moment.disk.held(), moment.is_blind)
            && moment.gave_up & bit(held.nonce) != 0
        {
            moment.blame(promise::WHO_GIVES_UP_NEVER_GETS_IT_LATER);
        }
    }
}
