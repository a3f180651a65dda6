//! A machine under test, with one scripted answer at a time; and the entries, tickets and listings that
//! the tests use.

use std::fmt::Debug;
use std::time::Duration;

use lockbydir_protocol::*;

/// When each test begins, in seconds of the boot clock; the wall clock shows `WALL` then.
pub(crate) const BEGIN: u64 = 1000;
/// The wall clock at the beginning, in seconds since 1970.
pub(crate) const WALL: u64 = 1_700_000_000;
pub(crate) const DONE: Answer = Answer::Done(None);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A machine under test, at one point of its verb.
pub(crate) struct Play<M: Machine> {
    machine: M,
    now: Now,
    step: Step<M::Outcome>,
}

impl<M: Machine> Play<M>
where
    M::Outcome: Debug + PartialEq,
{
    /// Starts the machine.
    pub(crate) fn of(machine: M) -> Play<M> {
        Play::from(machine, now())
    }

    pub(crate) fn from(mut machine: M, now: Now) -> Play<M> {
        let step = machine.start(now);
        Play { machine, now, step }
    }

    /// Moves both clocks on by this much.
    pub(crate) fn after(mut self, time: Duration) -> Play<M> {
        self.now = later(self.now, time);
        self
    }

    /// Asserts that the machine asks for this operation.
    #[track_caller]
    pub(crate) fn asks(self, operation: Operation) -> Play<M> {
        assert_eq!(self.step, Step::Perform(operation));
        self
    }

    /// Gives the machine this answer.
    pub(crate) fn answer(mut self, answer: Answer) -> Play<M> {
        self.step = self.machine.resume(self.now, answer);
        self
    }

    /// Answers a release that nobody waits and that it may remove D.
    #[track_caller]
    pub(crate) fn nobody_waits(self) -> Play<M> {
        self.answer(Answer::Somebody(false))
            .asks(Operation::AskRemovable)
            .answer(Answer::Removable(true))
    }

    /// Repeats `turn` this many times.
    #[track_caller]
    pub(crate) fn times(mut self, count: usize, turn: impl Fn(Play<M>) -> Play<M>) -> Play<M> {
        for _ in 0..count {
            self = turn(self);
        }
        self
    }

    /// Asserts that the machine has ended with this outcome.
    #[track_caller]
    pub(crate) fn ends(self, outcome: M::Outcome) -> Play<M> {
        assert_eq!(self.step, Step::Finished(outcome));
        self
    }

    /// Starts the machine once more.
    pub(crate) fn again(mut self) -> Play<M> {
        self.step = self.machine.start(self.now);
        self
    }

    pub(crate) fn machine(&self) -> &M {
        &self.machine
    }
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Returns the time at which each test begins.
pub(crate) fn now() -> Now {
    Now { boot: secs(BEGIN), wall: secs(WALL) }
}

pub(crate) fn later(now: Now, time: Duration) -> Now {
    Now { boot: now.boot + time, wall: now.wall + time }
}

/// Converts a time of the wall clock to the stamp of a file.
pub(crate) fn stamp(wall: Duration) -> Stamp {
    Stamp(i128::try_from(wall.as_nanos()).unwrap())
}

/// Converts a time of the wall clock to a token or an order.
pub(crate) fn micros(wall: Duration) -> u64 {
    u64::try_from(wall.as_micros()).unwrap()
}

pub(crate) const ORIGIN: Origin = Origin { boot: 1, time: 1, pids: 1 };
/// The origin of another kernel.
pub(crate) const ELSEWHERE: Origin = Origin { boot: 2, time: 1, pids: 1 };
pub(crate) const OWNER: Owner = Owner::One(Process { pid: 42, start: 7 });

/// The context on a local file system.
pub(crate) fn here() -> LocalContext {
    let booted = Some(stamp(secs(WALL - BEGIN)));
    LocalContext { origin: ORIGIN, is_local: true, booted, host: Host::new("h"), longest_name: 255 }
}

/// The context on a file system that other kernels may change.
pub(crate) fn shared() -> LocalContext {
    LocalContext { is_local: false, ..here() }
}

/// An entry of this kernel, stamped a second ago with a timeout of ten seconds.
pub(crate) fn held(nonce: u128) -> Entry {
    Entry {
        state: State::Held,
        fenced: false,
        token: 100,
        nonce: Nonce(nonce),
        renewals: 3,
        timeout: secs(10),
        stamp: secs(BEGIN - 1),
        origin: ORIGIN,
        owner: OWNER,
        host: Host::new("h"),
        label: Label::new("theirs").unwrap(),
    }
}

pub(crate) fn open(nonce: u128) -> Entry {
    Entry { state: State::Open, ..held(nonce) }
}

/// An entry of another kernel and host.
pub(crate) fn remote(nonce: u128) -> Entry {
    Entry { origin: ELSEWHERE, host: Host::new("far"), ..held(nonce) }
}

/// When D was changed, in most tests: a second before they begin.
pub(crate) fn changed() -> Stamp {
    // Not a whole second, since that would be the stamp of a file system that rounds.
    stamp(secs(WALL - 1) + Duration::from_nanos(1))
}

pub(crate) fn listing(entries: &[Entry]) -> Listing {
    Listing {
        entries: entries.to_vec(),
        foreign: None,
        litter: None,
        modified: changed(),
        stranger: None,
    }
}

/// The answer to a look: a directory with these entries.
pub(crate) fn seen(entries: &[Entry]) -> Answer {
    found(listing(entries))
}

pub(crate) fn found(listing: Listing) -> Answer {
    Answer::Seen(Observation::Directory(listing))
}

/// A directory with a foreign name in it, beside these entries.
pub(crate) fn cluttered(entries: &[Entry]) -> Listing {
    Listing { foreign: Some(Foreign::Holds("thing".into())), ..listing(entries) }
}

/// A directory of another user, with these entries.
pub(crate) fn strange(entries: &[Entry]) -> Listing {
    Listing { stranger: Some(1000), ..listing(entries) }
}

pub(crate) fn absent() -> Answer {
    Answer::Seen(Observation::Absent)
}

pub(crate) fn failed(fault: Fault) -> Answer {
    Answer::Failed(fault)
}

pub(crate) const DENIED: Fault = Fault::Denied { code: 13 };
pub(crate) const BROKEN: Fault = Fault::Broken { code: 5 };
pub(crate) const FULL: Fault = Fault::Full { code: 28 };
/// How often a torn listing is read again.
pub(crate) const TORN: usize = 8;

/// A ticket of this kernel.
pub(crate) fn ticket(order: u64, nonce: u128) -> Ticket {
    Ticket {
        order,
        nonce: Nonce(nonce),
        stamp: secs(BEGIN),
        origin: ORIGIN,
        process: Process { pid: 50, start: 5 },
        host: Host::new("h"),
        label: Label::default(),
    }
}
