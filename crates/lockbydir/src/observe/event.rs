//! What an observer tells: events, and who they are about.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lockbydir_protocol::{Entry, Origin, Process, Ticket as Place};

use crate::status::{Holder, Status, Ticket};

/// Something that happened to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When it was seen.
    pub at: SystemTime,
    /// The lock directory; for a name that is a URL, that without secrets. Of an engine that is out
    /// of reach, the URL that is observed.
    pub path: PathBuf,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The lock was seen for the first time. What was there before is told as if it came now.
    Appeared,
    /// It is held.
    Acquired {
        /// By whom.
        by: Contender,
        /// The number of this holding.
        token: u64,
        /// How long it lasts unless it is renewed.
        timeout: Duration,
        /// Until it may expire, as far as can be told now.
        remaining: Duration,
        /// Since its last renewal, as far as can be told now.
        age: Duration,
        /// How it was got.
        how: Gained,
    },
    /// Its holder renewed it.
    Renewed {
        /// Whose lock it is.
        by: Contender,
        /// How often since it was looked at last; none where that cannot be told.
        times: Option<u32>,
        /// How long it lasts from now on.
        timeout: Duration,
    },
    /// Its holder's timeout has passed.
    Expired(Contender),
    /// Its holder is dead.
    Died(Contender),
    /// It is free; its holder let it go, perhaps after its timeout.
    Released(Contender),
    /// The lock of a dead holder, or of an expired one whose process is not known to live, was removed by
    /// somebody who did not take it.
    Broken(Contender),
    /// In its place is a plain directory, as `mkdir` makes it: somebody holds it who is not known, until
    /// it is older than the timeout of who looks.
    Bare,
    /// In its place is something that is not ours, and nobody can have it: why.
    Foreign(String),
    /// What was [bare](What::Bare) or [foreign](What::Foreign) is gone, or ours now.
    Cleared,
    /// Somebody waits.
    Joined(Contender),
    /// Somebody waits no more.
    Left {
        /// Who.
        who: Contender,
        /// And why.
        why: Departure,
        /// How long before this was told it left.
        ago: Duration,
    },
    /// So many holdings came and went without being seen.
    Missed(u64),
    /// The lock changes hands too fast to be told each time, about so often a second, as was counted
    /// in a short while. Until it is [calm](What::Calm) only that is told which a look meets.
    Busy(u32),
    /// From now on each holding is told again.
    Calm,
    /// The [engine](crate::engine) is out of reach: why. It is asked again and again, and nothing is
    /// seen until it [answers](What::Reachable).
    Unreachable(String),
    /// The engine answers again. What happened meanwhile is told by what is seen now.
    Reachable,
}

/// How a lock was got, as far as an observer can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gained {
    /// It was there already when the lock was first seen.
    Before,
    /// The lock was free. Or it was a [bare](What::Bare) one: whether its maker removed that, or its
    /// successor did so for its age, cannot be seen from outside.
    Free,
    /// From one who released it.
    HandedOver,
    /// From one whose timeout had passed.
    AfterExpiry,
    /// From one who was dead.
    AfterDeath,
}

/// Why somebody waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// It has the lock.
    Served,
    /// It gave up.
    GaveUp,
    /// It died.
    Died,
    /// For a reason that was not seen: it gave up, or died, or even had the lock for a moment. Of
    /// another host nothing else is known.
    Gone,
}

/// Who waits for a lock, or holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Contender {
    /// The same for one process as long as it lives, and for one wait and the holding that came of
    /// it; of no other meaning.
    pub id: u64,
    /// Its host.
    pub host: String,
    /// Its process; none for a lock that no process holds.
    pub pid: Option<u32>,
    /// What its process runs, where we can see it.
    pub command: Option<String>,
    /// What it says it wants the lock for.
    pub label: Option<String>,
    /// Since when it waits or holds, as far as it told; by its own clock, if it is of another host.
    pub since: SystemTime,
}

impl Contender {
    pub(super) fn holding(entry: &Entry) -> Contender {
        let first = entry.owner.processes().next();
        let id = first.map_or_else(
            || fold([(entry.nonce.0 >> 64) as u64, entry.nonce.0 as u64, 0, 0]),
            |process| number(&entry.origin, process),
        );
        Contender { id, ..Contender::named(&Holder::of(entry)) }
    }

    pub(super) fn waiting(place: &Place) -> Contender {
        let id = number(&place.origin, place.process);
        Contender { id, ..Contender::in_queue(&Ticket::of(place)) }
    }

    /// A holder of whom only this is known.
    pub(super) fn named(holder: &Holder) -> Contender {
        let Holder { host, pid, command, label, since, .. } = holder.clone();
        Contender { id: by_name(&host, pid), host, pid, command, label, since }
    }

    /// A waiter of whom only this is known.
    pub(super) fn in_queue(ticket: &Ticket) -> Contender {
        let Ticket { host, pid, command, label, waiting } = ticket.clone();
        let since = SystemTime::now().checked_sub(waiting).unwrap_or(SystemTime::UNIX_EPOCH);
        Contender { id: by_name(&host, pid), host, pid, command, label, since }
    }

    /// The holder of a lock of whom nothing but its status is known.
    pub(super) fn of(status: &Status) -> Option<Contender> {
        let holder = status.holder.as_ref()?;
        let named = Contender::named(holder);
        let id = match holder.pid {
            Some(_) => named.id,
            None => fold([status.token.unwrap_or(0), 1, 2, 3]),
        };
        Some(Contender { id, ..named })
    }
}

fn number(origin: &Origin, process: Process) -> u64 {
    fold([origin.boot, origin.pids.into(), process.pid.into(), process.start])
}

fn by_name(host: &str, pid: Option<u32>) -> u64 {
    host.bytes().fold(fold([0, 0, pid.unwrap_or(0).into(), 0]), |number, byte| {
        fold([number, byte.into(), 0, 0])
    })
}

/// One number of several: only the same give the same, but for a chance of one in 2^64.
fn fold(numbers: [u64; 4]) -> u64 {
    numbers.into_iter().fold(0xCBF2_9CE4_8422_2325, |folded, number| {
        number
            .to_le_bytes()
            .into_iter()
            .fold(folded, |folded, byte| (folded ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
    })
}
