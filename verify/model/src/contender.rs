//! One process: its machines, what it asks next, and what it believes. It changes nothing but
//! itself.

use std::time::Duration;

use lockbydir_protocol::{
    Acquire, AcquireRequest, AcquiredFrom, Acquisition, Answer, Entry, Evict, Eviction, Fault,
    Host, Label, LocalContext, Machine, Nonce, Now, Observation, Operation, Origin, Owner, Process,
    Queue, Release, Released, Renew, RenewRequest, Renewal, Step, Ticket, Waited, Wake, WakeSource,
    margin,
};

use crate::event::{Event, Events};
use crate::mutant::Mutant;
use crate::one_try::OneTry;

/// What a contender means to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// How often it acquires.
    pub acquisitions: u8,
    /// How often it renews each holding at most.
    pub renewals: u8,
    /// Its timeout, in ticks.
    pub timeout: u16,
    /// After how many ticks it may give up; it may wait for ever where there is none.
    pub patience: Option<u16>,
    /// It does not acquire but breaks: once, perhaps by force.
    pub breaks: Option<Force>,
    /// It does not acquire but gives whoever holds its own timeout: once, by the key.
    pub by_key: bool,
    /// Stands it in the queue when the world begins?
    pub arrival: Arrival,
    /// It has a command, names it in its lock, and begins it then.
    pub has_command: bool,
}

/// When one comes who queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// Some time.
    Later,
    /// It queues from the beginning.
    Before,
    /// The same, and it stands still for ever.
    Stopped,
}

/// How far one is who has a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    /// It has none, or has to name it yet.
    Unnamed,
    /// It was named too late: is the lock still ours?
    Asking,
    /// It works, as long as the deadline lets it.
    Begun,
    /// It works, and nobody has looked at the deadline.
    BegunLate,
    /// It never began.
    NotStarted,
}

/// Does a break ask who lives?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// Only what is expired or dead.
    Judged,
    /// Whoever holds.
    Forced,
}

/// One acquisition, nothing else.
impl Default for Plan {
    fn default() -> Plan {
        Plan {
            acquisitions: 1,
            renewals: 0,
            timeout: 2,
            patience: None,
            breaks: None,
            by_key: false,
            arrival: Arrival::Later,
            has_command: false,
        }
    }
}

/// What a contender believes to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) entry: Entry,
    /// Until then, on its own clock.
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

/// Where the contender is within its verb.
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Its own choice.
    Nothing,
    /// Asked for, and this many steps of it done.
    Ask(Operation, u8),
    Asleep(WakeSource, Duration),
    /// Answered at this tick, and it does not know yet.
    Told(Answer, u16),
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
    /// It was told "not now", and may give up before it tries again.
    pub(crate) is_between_tries: bool,
    /// It breaks whoever holds.
    pub(crate) is_forcing: bool,
    /// It has seen the queue.
    pub(crate) has_arrived: bool,
    /// It has the directory open that it has emptied.
    pub(crate) has_emptied: bool,
    /// Its last look found D foreign.
    pub(crate) saw_foreign: bool,
    /// What it did in its one try.
    pub(crate) one_try: OneTry,
    command: Command,
    /// Its last look, and whether it is in the queue since: for a mutant that looks too early.
    sight: Option<Observation>,
    keeper: Option<Renew>,
    pub(crate) shortcut: Option<Entry>,
    made: u8,
}

/// What has come of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It holds now, and did not before.
    Got(Entry),
    /// It was told that it does not get it.
    GaveUp(Nonce),
    Else,
}

/// What is one and the same for all on a host, and for all in this world.
pub(crate) struct Ground<'a> {
    pub(crate) events: &'a Events,
    pub(crate) here: LocalContext,
    pub(crate) tick: Duration,
    pub(crate) fenced: bool,
    pub(crate) has_queue: bool,
    pub(crate) mutant: Option<Mutant>,
}

/// Nonces say who made them.
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
            sight: None,
            keeper: None,
            shortcut: None,
            made: 0,
        }
    }

    /// Does it believe to hold, at this time of its own clock?
    pub(crate) fn is_valid(&self, boot: Duration) -> bool {
        let works_on = self.command == Command::BegunLate;
        !self.is_crashed && self.hold.as_ref().is_some_and(|hold| works_on || boot < hold.deadline)
    }

    /// Is it between verbs?
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_crashed && self.verb.is_none()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.is_crashed && (self.verb.is_some() || self.hold.is_some())
    }

    /// It has done all that it meant to.
    pub(crate) fn is_done(&self) -> bool {
        self.is_idle()
            && self.hold.is_none()
            && self.plan.acquisitions == 0
            && self.plan.breaks.is_none()
            && !self.plan.by_key
    }

    /// Forgets what it will never need.
    pub(crate) fn retire(&mut self) {
        *self = Contender::new(self.id, self.plan);
    }

    /// Nothing of it is left but what it did.
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
        let wish = AcquireRequest {
            nonce: self.nonce(ground),
            timeout: ground.tick * u32::from(self.plan.timeout),
            fenced: ground.fenced,
            owner: Owner::One(self.process()),
            host: ground.here.host,
            label: Label::default(),
            names_child: self.plan.has_command,
        };
        Acquire::new(wish, ground.here, self.shortcut.take())
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
        let machine = self.keeper.take().unwrap_or_else(fresh);
        self.renewals -= 1;
        self.go(Verb::Renew(machine), None, now, ground)
    }

    /// It has the lock, and its command is neither begun nor given up.
    pub(crate) fn wants_to_begin(&self) -> bool {
        self.plan.has_command
            && self.is_idle()
            && self.hold.is_some()
            && matches!(self.command, Command::Unnamed | Command::Asking)
    }

    /// Names its command in its lock; or asks once more whether the lock is still ours.
    pub(crate) fn name_command(&mut self, now: Now, ground: &Ground<'_>) -> News {
        let Some(hold) = &self.hold else { return News::Else };
        let child = Process { start: 2, ..self.process() };
        let owner = Some(Owner::Two(self.process(), child));
        let owner = owner.filter(|_| self.command == Command::Unnamed);
        let machine =
            Renew::new(hold.entry.clone(), RenewRequest { timeout: None, owner }, ground.here);
        self.go(Verb::Renew(machine), None, now, ground)
    }

    /// The lock names its command, and the answer may have come late.
    fn begin_command(&mut self, now: Now, ground: &Ground<'_>) {
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
        let (terms, by) = (RenewRequest { timeout, owner: None }, self.process());
        let machine = match ground.mutant {
            Some(Mutant::ShortensByKey) => Renew::by_nonce(nonce, terms, ground.here),
            _ => Renew::by_key(nonce, terms, ground.here, by),
        };
        self.go(Verb::Renew(machine), None, now, ground)
    }

    pub(crate) fn release(&mut self, stays: bool, now: Now, ground: &Ground<'_>) -> News {
        let Some(hold) = self.hold.take() else { return News::Else };
        self.keeper = None;
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

    /// Stops trying, wherever it is.
    pub(crate) fn give_up(&mut self, ground: &Ground<'_>) -> News {
        self.verb = None;
        self.next = Next::Nothing;
        self.is_between_tries = false;
        News::GaveUp(self.nonce(ground))
    }

    /// Its verb is told what came of its operation.
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
        let answer = self.mutilated(&verb, &asked, answer, ground);
        let is_change = matches!(
            asked,
            Next::Ask(Operation::Install(_) | Operation::Rename(..), _) | Next::Told(..)
        );
        if let (Verb::Acquire(_), true, Answer::Failed(Fault::Broken { .. }), true) =
            (&verb, is_change, &answer, ground.mutant == Some(Mutant::LooksNotAfterAnError))
        {
            return self.give_up(ground);
        }
        self.go(verb, Some(answer), now, ground)
    }

    /// What a mutant makes of an answer.
    fn mutilated(
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
            (Some(Mutant::LooksBeforeItHasATicket), Answer::Seen(sight)) => {
                let is_in_queue = matches!(verb, Verb::Wait(queue) if queue.ticket().is_some());
                let known = self.sight.take().filter(|_| is_in_queue);
                self.sight = Some(sight.clone());
                Answer::Seen(known.unwrap_or(sight))
            }
            (Some(Mutant::LooksNotAgainAfterItsMoment), Answer::Seen(sight))
                if self.plan.patience == Some(0) =>
            {
                Answer::Seen(self.sight.get_or_insert(sight).clone())
            }
            (Some(Mutant::TriesNotBehindAWaiter), Answer::Woken(_))
                if self.plan.patience == Some(0) =>
            {
                Answer::Woken(Wake::Interrupted)
            }
            (Some(Mutant::DoesNotQueue), Answer::Queue(_))
                if matches!(asked, Next::Ask(Operation::ListQueue, _)) && self.sight.is_none() =>
            {
                self.sight = Some(Observation::Absent);
                Answer::Queue(Vec::new())
            }
            (_, answer) => answer,
        }
    }

    fn go(&mut self, verb: Verb, answer: Option<Answer>, now: Now, ground: &Ground<'_>) -> News {
        fn step<M: Machine>(machine: &mut M, now: Now, told: Option<Answer>) -> Step<M::Outcome> {
            match told {
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
                // A guard tries once more.
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

    fn tried(&mut self, machine: Acquire, outcome: Acquisition, now: Now, on: &Ground<'_>) -> News {
        match outcome {
            Acquisition::Blocked(_) => {
                // Looks again, some time.
                let news = self.go(Verb::Acquire(machine), None, now, on);
                self.is_between_tries = self.plan.patience.is_some();
                news
            }
            outcome => self.acquired(outcome, now, on),
        }
    }

    fn waited(&mut self, outcome: Waited, now: Now, ground: &Ground<'_>) -> News {
        self.sight = None;
        let paused = std::mem::take(&mut self.one_try).pauses > 0;
        if paused {
            let got = matches!(outcome, Waited::Ended(Acquisition::Got(..)));
            ground.events.note(if got { Event::GotAfterAPause } else { Event::PausedInVain });
        }
        match outcome {
            Waited::Ended(outcome) => self.acquired(outcome, now, ground),
            Waited::Over(_) | Waited::Interrupted => {
                ground.events.note(Event::PatienceOver);
                News::GaveUp(self.nonce(ground))
            }
        }
    }

    fn acquired(&mut self, outcome: Acquisition, now: Now, ground: &Ground<'_>) -> News {
        let Acquisition::Got(entry, came) = outcome else {
            return News::GaveUp(self.nonce(ground));
        };
        ground.events.note(match came {
            AcquiredFrom::Free => Event::Free,
            AcquiredFrom::HandedOver(_) => Event::HandedOver,
            AcquiredFrom::AfterExpiry(..) => Event::AfterExpiry,
            AcquiredFrom::AfterDeath(..) => Event::AfterDeath,
            AcquiredFrom::AfterBare(_) => Event::AfterBare,
        });
        self.renewals = self.plan.renewals;
        self.believe(entry.clone(), now, ground);
        News::Got(entry)
    }

    fn believe(&mut self, entry: Entry, now: Now, ground: &Ground<'_>) {
        let deadline = match ground.mutant {
            Some(Mutant::CountsFromAfterTheCall) => {
                now.boot + entry.timeout - margin(entry.timeout)
            }
            Some(Mutant::HasNoMargin) => entry.expires_at(),
            _ => entry.deadline(),
        };
        self.hold = Some(Hold { entry, deadline });
    }

    fn renewed(&mut self, machine: Renew, outcome: Renewal, now: Now, ground: &Ground<'_>) -> News {
        if self.hold.is_none() {
            // By key: it believes nothing.
            match outcome {
                Renewal::Renewed(_) => ground.events.note(Event::RenewedByKey),
                Renewal::Shorter(_) => ground.events.note(Event::RefusedToShorten),
                Renewal::Lost(_) | Renewal::Failed(_) => {}
            }
            return News::Else;
        }
        match outcome {
            Renewal::Renewed(entry) => {
                let is_late = self.hold.as_ref().is_some_and(|hold| now.boot >= hold.deadline);
                ground.events.note(if is_late { Event::RenewedLate } else { Event::Renewed });
                self.believe(entry, now, ground);
                if self.plan.has_command
                    && matches!(self.command, Command::Unnamed | Command::Asking)
                {
                    self.begin_command(now, ground);
                }
            }
            Renewal::Lost(_) => {
                self.hold = None;
                self.command = Command::Unnamed;
                self.renewals = 0;
                ground.events.note(Event::ToldOfALoss);
            }
            Renewal::Shorter(_) => {}
            Renewal::Failed(_) if self.command == Command::Begun || !self.plan.has_command => {
                self.keeper = Some(machine);
            }
            Renewal::Failed(_) => self.command = Command::NotStarted,
        }
        News::Else
    }

    fn released(&mut self, outcome: Released, ground: &Ground<'_>) -> News {
        self.has_emptied = false;
        match outcome {
            Released::Opened(open) if self.plan.acquisitions > 0 && !open.fenced => {
                self.shortcut = Some(open);
            }
            Released::Lost(_) => ground.events.note(Event::LostAtRelease),
            Released::Remains(..) => ground.events.note(Event::Remains),
            _ => {}
        }
        News::Else
    }
}

/// Where a contender of this number stands.
pub(crate) fn here(origin: Origin, is_local: bool) -> LocalContext {
    LocalContext { origin, is_local, booted: None, host: Host::new("h"), longest_name: 255 }
}
