//! The verdict on a holder: alive, expired or dead. Every verdict of expired or dead has its evidence.
//! In doubt, the holder is alive.

use core::time::Duration;

use crate::entry::{Entry, Origin, Owner};
use crate::text::Host;
use crate::ticket::Ticket;
use crate::time::{Now, Stamp, is_older};

/// How much older than its timeout a lock must be before the file system's clock alone shows its
/// expiry: a minute, since that clock may have been set forward meanwhile.
pub const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// What the judge of an entry knows about itself: boot, namespaces, host and file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalContext {
    /// The judge's own boot and namespaces.
    pub origin: Origin,
    /// Whether the file system is local, that is, this kernel alone owns it. Then every process that
    /// wrote before this boot died with the earlier kernel, and an error proves that a call was not
    /// performed.
    pub is_local: bool,
    /// When this kernel was booted, by the wall clock; none where that is unknown.
    pub booted: Option<Stamp>,
    /// The judge's own host.
    pub host: Host,
    /// The longest name on the lock's file system, in bytes.
    pub longest_name: usize,
}

impl LocalContext {
    /// Returns true if this ticket was made before our kernel was booted.
    #[must_use]
    pub fn is_before_boot(&self, ticket: &Ticket) -> bool {
        let booted = self.booted.and_then(|booted| u64::try_from(booted.0 / 1000).ok());
        booted.is_some_and(|booted| ticket.order < booted)
    }
}

/// Whether the processes of an owner are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// At least one of the owner's processes is alive, or that is unknown.
    Alive,
    /// All of the owner's processes are certainly gone.
    Gone,
}

/// The name that is watched, and since when it was seen unchanged, on the watcher's own boot clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    /// The watched name.
    pub entry: Entry,
    /// When the watch began.
    pub since: Duration,
}

impl Watch {
    /// Continues to watch the same name, or begins anew with another; returns for how long the name
    /// was watched.
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

/// The facts that a judge has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The time.
    pub now: Now,
    /// For how long this very name was watched.
    pub watched: Duration,
    /// D's change time.
    pub modified: Stamp,
    /// The answer to [`Question::Liveness`], once asked.
    pub life: Option<Liveness>,
    /// The answer to [`Question::FileClock`], once asked.
    pub file_clock: Option<Stamp>,
}

/// A fact that the judge needs before its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Whether the owner's processes are alive.
    Liveness(Owner),
    /// The time of the file system's clock.
    FileClock,
}

/// Why a holder was judged expired or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Its processes are gone.
    ProcessGone,
    /// It was written under an earlier boot, on a local file system.
    EarlierBoot,
    /// Its timeout has passed on the boot clock that it shares with us.
    BootClock,
    /// It was seen unchanged for its whole timeout.
    Watched,
    /// It is older than its timeout plus [`CLOCK_SLACK`] by the file system's own clock.
    FileClock,
}

/// The verdict on a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is no verdict before this question is answered.
    Ask(Question),
    /// The holder is alive; its lock may be judged expired from `until` on.
    Live {
        /// A time of our boot clock.
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
    // A local file system may be exported: an entry that another kernel wrote since our boot is of a
    // client, which may be alive. And a wall clock that was set forward makes our boot look late, and
    // a client's entry older than it: so the entry must also have our host's name.
    let is_old = here.booted.is_some_and(|booted| facts.modified < booted);
    let is_ours = here.is_local && entry.host == here.host;
    if both_known && !origin.is_same_boot(&here.origin) && is_ours && is_old {
        return Verdict::Dead(Evidence::EarlierBoot);
    }
    // A stamp from the future of our own clock is false: such an entry is watched, like one of another
    // clock.
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
