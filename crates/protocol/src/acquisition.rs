//! What an acquisition asks for, and how it ends.

use alloc::string::String;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use crate::entry::{Entry, Nonce, Owner};
use crate::operation::{Fault, Foreign};
use crate::text::{Host, Label};
use crate::verdict::Evidence;

/// What to acquire, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcquireRequest {
    /// Random bits, fresh for this acquisition.
    pub nonce: Nonce,
    /// How long the lock lasts from each stamp.
    pub timeout: Duration,
    /// Whether the directory is kept for ever, so that tokens only grow.
    pub fenced: bool,
    /// Whether others may hold the lock at the same time, if they ask for it in the same way (a
    /// reader's holding); an exclusive holding excludes everybody.
    pub shared: bool,
    /// The processes that the lock lives by.
    pub owner: Owner,
    /// The holder's host, for people.
    pub host: Host,
    /// What the lock is held for, for people.
    pub label: Label,
    /// Whether a renewal will name a second process. Where names are short, room is kept for it.
    pub names_child: bool,
}

/// How a lock was acquired.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AcquiredFrom {
    /// There was no lock directory.
    Free,
    /// From an open lock, left by this entry.
    HandedOver(Entry),
    /// Taken over from this entry, whose timeout had passed.
    AfterExpiry(Entry, Evidence),
    /// Taken over from this entry, whose holder was dead.
    AfterDeath(Entry, Evidence),
    /// There was a bare directory, at least this old. It was older than our own timeout, so we removed
    /// it; the process that made it is unknown and may be alive.
    AfterBare(Duration),
}

/// What prevented an acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// A living holder; it may expire at `until` of our boot clock.
    Held {
        /// The holder's entry.
        entry: Entry,
        /// From when on it may be judged expired, on our boot clock.
        until: Duration,
    },
    /// Another user's directory, which is not shared with us.
    Stranger(u32),
    /// A bare directory, and the name of the litter in it, if there is any.
    Bare(Option<String>),
    /// A bare directory that is old and could not be removed.
    Remains(Fault),
    /// Others were faster, or a call failed with a fault that may pass.
    Busy(Fault),
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acquisition {
    /// The lock is ours, under this entry.
    Got(Entry, AcquiredFrom),
    /// Not now, for this reason.
    Blocked(Blocker),
    /// The directory belongs to another user.
    Stranger(u32),
    /// D is foreign: it must not be touched.
    Foreign(Foreign),
    /// Its entry could need a name of this many bytes, and the file system has no names that long.
    NameTooLong(usize),
    /// A call failed, and another try would not help.
    Failed(Fault),
}

/// How old the bare directory was that we removed; none once something else was seen there. It is only
/// reported, and no step depends on it: so two machines that differ only in it are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RemovedBare(pub(crate) Option<Duration>);

impl PartialEq for RemovedBare {
    fn eq(&self, _: &RemovedBare) -> bool {
        true
    }
}

impl Eq for RemovedBare {}

impl Hash for RemovedBare {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
