//! The verdict on a holder: does it live, has its lock expired, is it dead? Every verdict names
//! its evidence. In doubt, the holder lives.

use core::time::Duration;

use crate::entry::{Entry, Origin, Owner};
use crate::operation::{Now, Stamp};
use crate::text::Host;
use crate::ticket::Ticket;

/// How much older than its timeout a lock must be by the file system's clock alone.
pub const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Where the judge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalContext {
    /// The judge's own boot and namespaces.
    pub origin: Origin,
    /// Is the file system one that this kernel alone owns? Then whoever wrote before its boot
    /// died with the kernel before, and an error says truly that a thing was not done.
    pub is_local: bool,
    /// When this kernel was booted, by the wall clock; none where that can't be told.
    pub booted: Option<Stamp>,
    /// The judge's own host.
    pub host: Host,
    /// How many bytes a name may have on the lock's file system.
    pub longest_name: usize,
}

impl LocalContext {
    /// Was this ticket made before our kernel was booted?
    #[must_use]
    pub fn is_before_boot(&self, ticket: &Ticket) -> bool {
        let booted = self.booted.and_then(|booted| u64::try_from(booted.0 / 1000).ok());
        booted.is_some_and(|booted| ticket.order < booted)
    }
}

/// Is a process there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// At least one of the owner's processes lives, or nobody can tell.
    Alive,
    /// All of the owner's processes are gone for certain.
    Gone,
}

/// Since when one name was seen unchanged, on the watcher's own boot clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    /// The name.
    pub entry: Entry,
    /// Since when.
    pub since: Duration,
}

impl Watch {
    /// Goes on watching the same name, or begins anew with another.
    pub fn on(watch: &mut Option<Watch>, entry: &Entry, now: Now) -> Duration {
        match watch {
            Some(known) if known.entry == *entry => now.boot.saturating_sub(known.since),
            _ => {
                *watch = Some(Watch { entry: entry.clone(), since: now.boot });
                Duration::ZERO
            }
        }
    }
}

/// What is known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The time.
    pub now: Now,
    /// How long this very name was watched.
    pub watched: Duration,
    /// D's change time.
    pub modified: Stamp,
    /// The answer to [`Question::Liveness`], once asked.
    pub life: Option<Liveness>,
    /// The answer to [`Question::FileClock`], once asked.
    pub file_clock: Option<Stamp>,
}

/// What must be known before a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Do the owner's processes live?
    Liveness(Owner),
    /// What does the file system's clock say?
    FileClock,
}

/// Why a holder was judged gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Its processes are gone.
    ProcessGone,
    /// It was written under an earlier boot, on a file system that one kernel owns.
    EarlierBoot,
    /// Its timeout has passed on the boot clock we share.
    BootClock,
    /// It was watched unchanged for its whole timeout.
    Watched,
    /// It is older than its timeout and a minute by the file system's own clock.
    FileClock,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// First answer this.
    Ask(Question),
    /// It lives; on our boot clock it may be judged expired from this moment on.
    Live {
        /// Boot clock.
        until: Duration,
    },
    /// Its timeout has passed.
    Expired(Evidence),
    /// Its holder is provably gone.
    Dead(Evidence),
}

/// Judges a held entry.
#[must_use]
pub fn judge(entry: &Entry, here: &LocalContext, facts: &Facts) -> Verdict {
    let origin = &entry.origin;
    if origin.is_same_pids(&here.origin) && entry.owner != Owner::Nobody {
        match facts.life {
            None => {
                // Start times are counted from the boot of a time namespace.
                let comparable = origin.is_same_clock(&here.origin);
                let owner = if comparable { entry.owner } else { entry.owner.any_start() };
                return Verdict::Ask(Question::Liveness(owner));
            }
            Some(Liveness::Gone) => return Verdict::Dead(Evidence::ProcessGone),
            Some(Liveness::Alive) => {}
        }
    }
    let both_known = origin.boot != 0 && here.origin.boot != 0;
    // A file system of ours may be exported: what another kernel wrote since our boot came from
    // a client of it, which may well live. And a wall clock that was set forward makes our boot
    // look late: so it must be our own name, too.
    let is_old = here.booted.is_some_and(|booted| facts.modified < booted);
    let is_ours = here.is_local && entry.host == here.host;
    if both_known && !origin.is_same_boot(&here.origin) && is_ours && is_old {
        return Verdict::Dead(Evidence::EarlierBoot);
    }
    // A stamp from the future of our own clock is a lie: it is watched like a stranger's.
    if origin.is_same_clock(&here.origin) && entry.stamp <= facts.now.boot {
        return if facts.now.boot >= entry.expires_at() {
            Verdict::Expired(Evidence::BootClock)
        } else {
            Verdict::Live { until: entry.expires_at() }
        };
    }
    if facts.watched >= entry.timeout {
        return Verdict::Expired(Evidence::Watched);
    }
    match facts.file_clock {
        None => Verdict::Ask(Question::FileClock),
        Some(clock) if is_older(facts.modified, clock, entry.timeout + CLOCK_SLACK) => {
            Verdict::Expired(Evidence::FileClock)
        }
        Some(_) => {
            Verdict::Live { until: facts.now.boot + entry.timeout.saturating_sub(facts.watched) }
        }
    }
}

/// How much younger a thing may be than its stamp says. One of whole seconds is from a file system
/// that rounds down, to two seconds at worst (FAT).
#[must_use]
pub fn timestamp_granularity(stamp: Stamp) -> Duration {
    const SECOND: i128 = 1_000_000_000;
    if stamp.0 % SECOND == 0 { Duration::from_secs(2) } else { Duration::ZERO }
}

/// Is `stamp` more than `age` before `clock`?
pub(crate) fn is_older(stamp: Stamp, clock: Stamp, age: Duration) -> bool {
    let age = i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
    clock.0.saturating_sub(stamp.0) > age
}

/// How old is a thing of this stamp by this clock?
pub(crate) fn age(stamp: Stamp, clock: Stamp) -> Duration {
    Duration::from_nanos(u64::try_from(clock.0.saturating_sub(stamp.0).max(0)).unwrap_or(u64::MAX))
}
