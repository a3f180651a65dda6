//! One process: its machines, the operation that it asks for next, and what it believes. It changes
//! nothing but itself.

use std::time::Duration;

use lockbydir_protocol::{
    Acquire, AcquireRequest, Answer, Entry, Evict, Eviction, Fault, Host, Label, LocalContext,
    Machine, Nonce, Now, Observation, Operation, Origin, Owner, Process, Queue, Release, Released,
    Renew, RenewRequest, Step, Ticket, Wake, WakeSource,
};

use crate::event::{Event, Events};
use crate::mutant::Mutant;
use crate::one_try::OneTry;
use crate::plan::{Force, Plan};

/// How far a process has got with its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    /// It has no command, or has not named it yet.
    Unnamed,
    /// The command was named too late: the process asks whether it still has the lock.
    Asking,
    /// The command runs as long as the deadline permits.
    Begun,
    /// The command runs, and nobody has checked the deadline.
    BegunLate,
    /// The command was never started.
    NotStarted,
}

/// A holding that a contender believes to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) entry: Entry,
    /// The end of its validity, on the contender's own clock.
    pub(crate) deadline: Duration,
}

#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Acquire(Acquire),
    Wait(Queue),
    Renew(Renew),
    Release(Release, u8),
    Evict(Evict),
}

/// The position of a contender within its verb.
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Free to choose its next verb.
    Nothing,
    /// An operation that it has asked for, and the number of its steps that are done.
    Ask(Operation, u8),
    Asleep(WakeSource, Duration),
    /// An answer that was given at this tick and that the contender has not received yet.
    Answered(Answer, u16),
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contender {
    pub(crate) id: u8,
    pub(crate) is_crashed: bool,
    pub(crate) plan: Plan,
    pub(crate) renewals: u8,
    pub(crate) hold: Option<Hold>,
    pub(crate) verb: Option<Verb>,
    pub(crate) next: Next,
    /// Its last try was refused, and it may give up before the next.
    pub(crate) is_between_tries: bool,
    /// Whether it breaks the lock of any holder.
    pub(crate) is_forcing: bool,
    /// Whether it has listed the queue.
    pub(crate) has_arrived: bool,
    /// Whether it has the directory open that it has emptied.
    pub(crate) has_emptied: bool,
    /// Whether its last look found D foreign.
    pub(crate) saw_foreign: bool,
    /// Its observations and actions in its one try.
    pub(crate) one_try: OneTry,
    pub(crate) command: Command,
    /// Its last look, for mutants that look too early or not again; for `DoesNotQueue` a flag that it has
    /// listed the queue.
    pub(crate) last_look: Option<Observation>,
    pub(crate) renewer: Option<Renew>,
    pub(crate) shortcut: Option<Entry>,
    pub(crate) made: u8,
}

/// The result of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It holds the lock now, and did not before.
    Got(Entry),
    /// It knows that this acquisition does not get the lock.
    GaveUp(Nonce),
    Else,
}

/// The context that is the same for all processes of a host, or for all in this world.
pub(crate) struct Ground<'a> {
    pub(crate) events: &'a Events,
    pub(crate) here: LocalContext,
    pub(crate) tick: Duration,
    pub(crate) fenced: bool,
    pub(crate) has_queue: bool,
    pub(crate) mutant: Option<Mutant>,
}

/// The number of nonces for each contender: nonce / `NONCES` is the contender that made it.
const NONCES: u128 = 8;

pub(crate) fn owner_of(nonce: Nonce) -> usize {
    usize::try_from(nonce.0 / NONCES).unwrap_or(usize::MAX)
}

impl Contender {
    pub(crate) fn new(id: u8, plan: Plan) -> Contender {
        Contender {
            id,
            is_crashed: false,
            plan,
            renewals: 0,
            hold: None,
            verb: None,
            next: Next::Nothing,
            is_between_tries: false,
            is_forcing: false,
            has_arrived: false,
            has_emptied: false,
            saw_foreign: false,
            one_try: OneTry::default(),
            command: Command::Unnamed,
            last_look: None,
            renewer: None,
            shortcut: None,
            made: 0,
        }
    }

    /// Whether it believes to hold the lock at this time of its own clock.
    pub(crate) fn is_valid(&self, boot: Duration) -> bool {
        let works_on = self.command == Command::BegunLate;
        !self.is_crashed && self.hold.as_ref().is_some_and(|hold| works_on || boot < hold.deadline)
    }

    /// Whether it is between verbs.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_crashed && self.verb.is_none()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.is_crashed && (self.verb.is_some() || self.hold.is_some())
    }

    /// Whether it has done everything in its plan.
    pub(crate) fn is_done(&self) -> bool {
        self.is_idle()
            && self.hold.is_none()
            && self.plan.acquisitions == 0
            && self.plan.breaks.is_none()
            && !self.plan.by_key
    }

    /// Forgets all state that it will not need again.
    pub(crate) fn retire(&mut self) {
        *self = Contender::new(self.id, self.plan);
    }

    /// Crashes: only its effects on others remain.
    pub(crate) fn crash(&mut self) {
        let plan = Plan { acquisitions: 0, ..self.plan };
        *self = Contender { is_crashed: true, ..Contender::new(self.id, plan) };
    }

    pub(crate) fn wants_to_acquire(&self) -> bool {
        self.is_idle() && self.hold.is_none() && self.plan.acquisitions > 0
    }

    pub(crate) fn nonce(&self, ground: &Ground<'_>) -> Nonce {
        match ground.mutant {
            Some(Mutant::ReusesItsNonce) => Nonce(1),
            _ => Nonce(u128::from(self.id) * NONCES + u128::from(self.made)),
        }
    }

    fn process(&self) -> Process {
        Process { pid: u32::from(self.id) + 1, start: 1 }
    }

    pub(crate) fn acquire(&mut self, now: Now, ground: &Ground<'_>) -> News {
        self.plan.acquisitions -= 1;
        self.made += 1;
        self.has_arrived = false;
        match ground.has_queue {
            true => self.join_the_queue(now, ground),
            false => {
                let machine = self.acquire_machine(ground);
                self.go(Verb::Acquire(machine), None, now, ground)
            }
        }
    }

    fn acquire_machine(&mut self, ground: &Ground<'_>) -> Acquire {
        let request = AcquireRequest {
            nonce: self.nonce(ground),
            timeout: ground.tick * u32::from(self.plan.timeout),
            fenced: ground.fenced,
            shared: false,
            owner: Owner::One(self.process()),
            host: ground.here.host,
            label: Label::default(),
            names_child: self.plan.has_command,
        };
        Acquire::new(request, ground.here, self.shortcut.take())
    }

    fn join_the_queue(&mut self, now: Now, ground: &Ground<'_>) -> News {
        let machine = self.acquire_machine(ground);
        let own_ticket = Ticket {
            order: 0,
            nonce: self.nonce(ground),
            stamp: Duration::ZERO,
            origin: ground.here.origin,
            process: self.process(),
            host: ground.here.host,
            label: Label::default(),
        };
        let until = self.plan.patience.map(|ticks| now.boot + ground.tick * u32::from(ticks));
        let queue = Queue::new(machine, own_ticket, ground.here, until);
        self.go(Verb::Wait(queue), None, now, ground)
    }

    pub(crate) fn renew(&mut self, now: Now, ground: &Ground<'_>) -> News {
        let Some(hold) = &self.hold else { return News::Else };
        let fresh = || Renew::new(hold.entry.clone(), RenewRequest::default(), ground.here);
        let machine = self.renewer.take().unwrap_or_else(fresh);
        self.renewals -= 1;
        self.go(Verb::Renew(machine), None, now, ground)
    }

    /// Whether it has the lock, and its command is neither started nor given up.
    pub(crate) fn wants_to_begin(&self) -> bool {
        self.plan.has_command
            && self.is_idle()
            && self.hold.is_some()
            && matches!(self.command, Command::Unnamed | Command::Asking)
    }

    /// Names its command in its lock, or asks again whether it still has the lock.
    pub(crate) fn name_command(&mut self, now: Now, ground: &Ground<'_>) -> News {
        let Some(hold) = &self.hold else { return News::Else };
        let child = Process { start: 2, ..self.process() };
        let owner = Some(Owner::Two(self.process(), child));
        let owner = owner.filter(|_| self.command == Command::Unnamed);
        let machine =
            Renew::new(hold.entry.clone(), RenewRequest { timeout: None, owner }, ground.here);
        self.go(Verb::Renew(machine), None, now, ground)
    }

    /// Starts the command, or not, once the lock names it; the answer may have arrived late.
    pub(crate) fn begin_command(&mut self, now: Now, ground: &Ground<'_>) {
        let is_late = self.hold.as_ref().is_some_and(|hold| now.boot >= hold.deadline);
        let begins_late = ground.mutant == Some(Mutant::BeginsWithoutAsking);
        self.command = match (is_late, self.command) {
            (false, _) => {
                ground.events.note(Event::CommandBegun);
                Command::Begun
            }
            (true, _) if begins_late => Command::BegunLate,
            (true, Command::Unnamed) => {
                ground.events.note(Event::NamedLate);
                Command::Asking
            }
            (true, _) => {
                ground.events.note(Event::CommandNotStarted);
                Command::NotStarted
            }
        };
    }

    /// Renews another's holding by its key.
    pub(crate) fn renew_by_key(&mut self, nonce: Nonce, now: Now, ground: &Ground<'_>) -> News {
        self.plan.by_key = false;
        let timeout = Some(ground.tick * u32::from(self.plan.timeout));
        let (request, by) = (RenewRequest { timeout, owner: None }, self.process());
        let machine = match ground.mutant {
            Some(Mutant::ShortensByKey) => Renew::by_nonce(nonce, request, ground.here),
            _ => Renew::by_key(nonce, request, ground.here, by),
        };
        self.go(Verb::Renew(machine), None, now, ground)
    }

    pub(crate) fn release(&mut self, stays: bool, now: Now, ground: &Ground<'_>) -> News {
        let Some(hold) = self.hold.take() else { return News::Else };
        self.renewer = None;
        self.renewals = 0;
        self.command = Command::Unnamed;
        let machine = Release::new(hold.entry, stays, ground.here);
        self.go(Verb::Release(machine, 1), None, now, ground)
    }

    pub(crate) fn evict(&mut self, force: Force, now: Now, ground: &Ground<'_>) -> News {
        let timeout = ground.tick * u32::from(self.plan.timeout);
        self.plan.breaks = None;
        self.is_forcing = force == Force::Forced;
        let machine = Evict::new(ground.here, self.is_forcing, timeout);
        self.go(Verb::Evict(machine), None, now, ground)
    }

    /// Stops trying, whatever it is doing.
    pub(crate) fn give_up(&mut self, ground: &Ground<'_>) -> News {
        self.verb = None;
        self.next = Next::Nothing;
        self.is_between_tries = false;
        News::GaveUp(self.nonce(ground))
    }

    /// Passes the answer to its operation to its verb.
    pub(crate) fn resume(&mut self, answer: Answer, now: Now, ground: &Ground<'_>) -> News {
        let asked = std::mem::replace(&mut self.next, Next::Nothing);
        let Some(verb) = self.verb.take() else { return News::Else };
        self.is_between_tries = false;
        if let (Verb::Wait(_), Answer::Woken(_), Some(Mutant::TriesForEver)) =
            (&verb, &answer, ground.mutant)
            && self.plan.patience == Some(0)
        {
            return self.join_the_queue(now, ground);
        }
        let answer = self.altered_by_mutant(&verb, &asked, answer, ground);
        let is_change = matches!(
            asked,
            Next::Ask(Operation::Install(_) | Operation::Rename(..), _) | Next::Answered(..)
        );
        if let (Verb::Acquire(_), true, Answer::Failed(Fault::Broken { .. }), true) =
            (&verb, is_change, &answer, ground.mutant == Some(Mutant::LooksNotAfterAnError))
        {
            return self.give_up(ground);
        }
        self.go(verb, Some(answer), now, ground)
    }

    /// Returns the answer as a mutant understands it.
    fn altered_by_mutant(
        &mut self,
        verb: &Verb,
        asked: &Next,
        answer: Answer,
        ground: &Ground<'_>,
    ) -> Answer {
        match (ground.mutant, answer) {
            (
                Some(Mutant::JudgesByItsOwnTimeout),
                Answer::Seen(Observation::Directory(mut listing)),
            ) => {
                for entry in &mut listing.entries {
                    entry.timeout = ground.tick * u32::from(self.plan.timeout);
                }
                Answer::Seen(Observation::Directory(listing))
            }
            (Some(Mutant::LooksBeforeItHasATicket), Answer::Seen(observation)) => {
                let is_in_queue = matches!(verb, Verb::Wait(queue) if queue.ticket().is_some());
                let known = self.last_look.take().filter(|_| is_in_queue);
                self.last_look = Some(observation.clone());
                Answer::Seen(known.unwrap_or(observation))
            }
            (Some(Mutant::LooksNotAgainAfterItsMoment), Answer::Seen(observation))
                if self.plan.patience == Some(0) =>
            {
                Answer::Seen(self.last_look.get_or_insert(observation).clone())
            }
            (Some(Mutant::TriesNotBehindAWaiter), Answer::Woken(_))
                if self.plan.patience == Some(0) =>
            {
                Answer::Woken(Wake::Interrupted)
            }
            (Some(Mutant::DoesNotQueue), Answer::Queue(_))
                if matches!(asked, Next::Ask(Operation::ListQueue, _))
                    && self.last_look.is_none() =>
            {
                self.last_look = Some(Observation::Absent);
                Answer::Queue(Vec::new())
            }
            (_, answer) => answer,
        }
    }

    pub(crate) fn go(
        &mut self,
        verb: Verb,
        answer: Option<Answer>,
        now: Now,
        ground: &Ground<'_>,
    ) -> News {
        fn step<M: Machine>(machine: &mut M, now: Now, answer: Option<Answer>) -> Step<M::Outcome> {
            match answer {
                None => machine.start(now),
                Some(answer) => machine.resume(now, answer),
            }
        }
        self.next = Next::Nothing;
        let (operation, verb) = match verb {
            Verb::Acquire(mut machine) => match step(&mut machine, now, answer) {
                Step::Perform(operation) => (operation, Verb::Acquire(machine)),
                Step::Finished(outcome) => return self.tried(machine, outcome, now, ground),
            },
            Verb::Wait(mut machine) => match step(&mut machine, now, answer) {
                Step::Perform(operation) => (operation, Verb::Wait(machine)),
                Step::Finished(outcome) => return self.waited(outcome, now, ground),
            },
            Verb::Renew(mut machine) => match step(&mut machine, now, answer) {
                Step::Perform(operation) => (operation, Verb::Renew(machine)),
                Step::Finished(outcome) => return self.renewed(machine, outcome, now, ground),
            },
            Verb::Release(mut machine, tries) => match step(&mut machine, now, answer) {
                Step::Perform(operation) => (operation, Verb::Release(machine, tries)),
                // A guard tries a second time.
                Step::Finished(Released::Failed(_)) if tries > 0 => {
                    return self.go(Verb::Release(machine, tries - 1), None, now, ground);
                }
                Step::Finished(outcome) => return self.released(outcome, ground),
            },
            Verb::Evict(mut machine) => match step(&mut machine, now, answer) {
                Step::Perform(operation) => (operation, Verb::Evict(machine)),
                Step::Finished(outcome) => {
                    if let Eviction::Removed(_) = outcome {
                        ground.events.note(Event::Broken);
                    }
                    self.has_emptied = false;
                    return News::Else;
                }
            },
        };
        self.verb = Some(verb);
        self.next = Next::Ask(operation, 0);
        News::Else
    }
}

/// Returns the local context of a contender with this origin.
pub(crate) fn here(origin: Origin, is_local: bool) -> LocalContext {
    LocalContext { origin, is_local, booted: None, host: Host::new("h"), longest_name: 255 }
}
