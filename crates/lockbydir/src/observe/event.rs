//! The events that an observer reports, and the processes they are about.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lockbydir_protocol::{Entry, Origin, Process, Ticket as QueueTicket};

use crate::status::{Holder, Status, Ticket};

/// Something that happened to a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Event {
    /// When the event was seen.
    pub at: SystemTime,
    /// The lock directory; for a name that is a URL, the URL without secrets. For an engine that is
    /// out of reach, the URL that is observed.
    pub path: PathBuf,
    /// The kind of event.
    pub what: What,
}

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum What {
    /// The lock was seen for the first time. What was there before is reported as if it happened
    /// now.
    Appeared,
    /// A process or key holds it now.
    Acquired {
        /// The new holder.
        by: Contender,
        /// The number of this holding.
        token: u64,
        /// How long it lasts unless it is renewed.
        timeout: Duration,
        /// The time until it may expire, as far as is known now.
        remaining: Duration,
        /// The time since its last renewal, as far as is known now.
        age: Duration,
        /// How it was acquired.
        how: Gained,
    },
    /// Its holder renewed it.
    Renewed {
        /// The holder.
        by: Contender,
        /// How often since the last look; `None` if that is unknown.
        times: Option<u32>,
        /// How long it lasts from now on.
        timeout: Duration,
    },
    /// Its holder's timeout has passed.
    Expired(Contender),
    /// Its holder is dead.
    Died(Contender),
    /// It is free: its holder released it, perhaps after its timeout.
    Released(Contender),
    /// The lock was removed by a process that did not take it. Its holder was dead, or expired
    /// without a process that is known to live.
    Broken(Contender),
    /// In its place is a plain directory, as `mkdir` creates it. Its holder is unknown, and holds
    /// it until the directory is older than the timeout of the process that looks.
    Bare,
    /// In its place is something that is not ours, so that nobody can acquire the lock; this is the
    /// reason.
    Foreign(String),
    /// What was [bare](What::Bare) or [foreign](What::Foreign) is gone, or is our lock now.
    Cleared,
    /// A process began to wait.
    Joined(Contender),
    /// A process stopped waiting.
    Left {
        /// Who.
        who: Contender,
        /// And why.
        why: Departure,
        /// How long before this report it left.
        ago: Duration,
    },
    /// This many holdings began and ended without being seen.
    Missed(u64),
    /// The lock changes hands too fast for a report of each holding: about this often per second,
    /// as counted in a short time. Until it is [calm](What::Calm), only holdings that a look meets
    /// are reported.
    Busy(u32),
    /// From now on each holding is reported again.
    Calm,
    /// The [engine](crate::engine) is out of reach, for this reason. It is queried repeatedly, and
    /// nothing is seen until it [answers](What::Reachable).
    Unreachable(String),
    /// The engine answers again. What happened meanwhile is reported as far as the present state
    /// shows it.
    Reachable,
}

/// How a lock was acquired, as far as an observer can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Gained {
    /// It was there already when the lock was first seen.
    Before,
    /// The lock was free; or it was [bare](What::Bare): from outside it cannot be seen whether its
    /// creator removed it, or its successor did so for its age.
    Free,
    /// From a holder that released it.
    HandedOver,
    /// From a holder whose timeout had passed.
    AfterExpiry,
    /// From a holder that was dead.
    AfterDeath,
}

/// Why a process stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Departure {
    /// It has the lock.
    Served,
    /// It gave up.
    GaveUp,
    /// It died.
    Died,
    /// For an unknown reason: it gave up, or died, or even had the lock for a moment. For a waiter
    /// of another host nothing else is known.
    Gone,
}

/// A process that waits for a lock, or holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Contender {
    /// An identifier: the same for one process as long as it lives, and for a wait and the holding
    /// that results from it. It has no other meaning.
    pub id: u64,
    /// Its host.
    pub host: String,
    /// Its process; `None` for a lock that no process holds.
    pub pid: Option<u32>,
    /// What its process runs, if we can see that.
    pub command: Option<String>,
    /// Its label: what it wants the lock for.
    pub label: Option<String>,
    /// Since when it waits or holds, as it recorded; by its own clock, if it is of another host.
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

    pub(super) fn waiting(ticket: &QueueTicket) -> Contender {
        let id = number(&ticket.origin, ticket.process);
        Contender { id, ..Contender::in_queue(&Ticket::of(ticket)) }
    }

    /// Returns the contender for a holder about which only this is known.
    pub(super) fn named(holder: &Holder) -> Contender {
        let Holder { host, pid, command, label, since, .. } = holder.clone();
        Contender { id: by_name(&host, pid), host, pid, command, label, since }
    }

    /// Returns the contender for a waiter about which only this is known.
    pub(super) fn in_queue(ticket: &Ticket) -> Contender {
        let Ticket { host, pid, command, label, waiting } = ticket.clone();
        let since = SystemTime::now().checked_sub(waiting).unwrap_or(SystemTime::UNIX_EPOCH);
        Contender { id: by_name(&host, pid), host, pid, command, label, since }
    }

    /// Returns the holder of a lock of which only the status is known.
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

/// Hashes several numbers to one (FNV-1a). Different inputs give the same result only with a chance
/// of one in 2^64.
fn fold(numbers: [u64; 4]) -> u64 {
    numbers.into_iter().fold(0xCBF2_9CE4_8422_2325, |folded, number| {
        number
            .to_le_bytes()
            .into_iter()
            .fold(folded, |folded, byte| (folded ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
    })
}
