//! What can be reported about a lock: its state, its holder, how it was acquired. Facts only; the
//! command line decides how they are displayed.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lockbydir_protocol::{AcquiredFrom, Entry};

use crate::os::process;
pub use crate::printable::printable;
pub(crate) use crate::printable::printable_bytes;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Holder {
    /// Its host.
    pub host: String,
    /// Its process, by the PID in its own namespace; `None` for a lock without a process.
    pub pid: Option<u32>,
    /// The child that it runs under the lock.
    pub child: Option<u32>,
    /// What its child, or otherwise its process, runs, if we can see that.
    pub command: Option<String>,
    /// Its label: what it holds the lock for.
    pub label: Option<String>,
    /// Since when, by its own wall clock.
    pub since: SystemTime,
}

impl Holder {
    /// For [engines](crate::engine): creates a holder about which nothing else is known yet.
    #[must_use]
    pub fn new(host: impl Into<String>, since: SystemTime) -> Holder {
        Holder { host: host.into(), pid: None, child: None, command: None, label: None, since }
    }

    pub(crate) fn of(entry: &Entry) -> Holder {
        let mut holder = Holder::past(entry);
        let visible = entry.origin.is_same_pids(&process::here().0);
        holder.command = holder.child.or(holder.pid).filter(|_| visible).and_then(process::command);
        holder
    }

    /// Describes a previous holder. The command is left out: its PID may belong to another process
    /// now.
    pub(crate) fn past(entry: &Entry) -> Holder {
        let mut pids = entry.owner.processes().map(|process| process.pid);
        let (pid, child) = (pids.next(), pids.next());
        Holder {
            pid,
            child,
            label: (!entry.label.is_empty()).then(|| entry.label.as_str().into()),
            ..Holder::new(
                entry.host.as_str(),
                SystemTime::UNIX_EPOCH + Duration::from_micros(entry.token),
            )
        }
    }
}

impl Ticket {
    /// For [engines](crate::engine): creates a ticket about which nothing else is known yet.
    #[must_use]
    pub fn new(host: impl Into<String>, waiting: Duration) -> Ticket {
        Ticket { pid: None, host: host.into(), command: None, label: None, waiting }
    }

    pub(crate) fn of(ticket: &lockbydir_protocol::Ticket) -> Ticket {
        let here = process::here().0;
        let waiting = match ticket.origin.is_same_clock(&here) {
            true => crate::os::clock::boot().saturating_sub(ticket.stamp),
            false => (SystemTime::UNIX_EPOCH + Duration::from_micros(ticket.order))
                .elapsed()
                .unwrap_or_default(),
        };
        let pid = Some(ticket.process.pid).filter(|pid| *pid != 0);
        Ticket {
            pid,
            host: ticket.host.as_str().into(),
            command: pid.filter(|_| ticket.origin.is_same_pids(&here)).and_then(process::command),
            label: (!ticket.label.is_empty()).then(|| ticket.label.as_str().into()),
            waiting,
        }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid}")?,
            None => write!(f, "somebody on {}", self.host)?,
        }
        match self.label.as_ref().or(self.command.as_ref()) {
            Some(what) => write!(f, " ({what})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "pid {pid} on {}", self.host)?,
            None => write!(f, "a key, no process, from {}", self.host)?,
        }
        if let Ok(since) = self.since.elapsed() {
            write!(f, " for {}", people_duration(since))?;
        }
        match self.label.as_ref().or(self.command.as_ref()) {
            Some(what) => write!(f, " (`{what}`)"),
            None => Ok(()),
        }
    }
}

/// How a lock was acquired. Exactly one successor is informed of a predecessor that did not
/// release. Of a bare lock that was removed for its age, at most one successor is informed: the
/// remover, if it is also the next holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum How {
    /// The lock was free, without a predecessor.
    Free,
    /// From a predecessor that released it in place.
    HandedOver(Predecessor),
    /// The predecessor's timeout had passed: its work may be half done. For a bare lock, which a
    /// plain `mkdir` creates and which has no timeout of its own, this is the waiter's timeout: the
    /// predecessor is [unknown](Predecessor::holder), and may still be alive and at work.
    AfterExpiry(Predecessor),
    /// The predecessor had died: its work may be half done.
    AfterDeath(Predecessor),
}

impl How {
    pub(crate) fn of(from: &AcquiredFrom) -> How {
        let predecessor = |entry: &Entry| Predecessor::new(Holder::past(entry), entry.token);
        match from {
            AcquiredFrom::Free => How::Free,
            AcquiredFrom::HandedOver(entry) => How::HandedOver(predecessor(entry)),
            AcquiredFrom::AfterExpiry(entry, _) => How::AfterExpiry(predecessor(entry)),
            AcquiredFrom::AfterDeath(entry, _) => How::AfterDeath(predecessor(entry)),
            AcquiredFrom::AfterBare(age) => How::AfterExpiry(Predecessor::unknown(*age)),
        }
    }
}

/// Who held the lock before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Predecessor {
    /// Who it was, without its `command`, which is no longer known. `None` for a bare lock, whose
    /// creator is unknown.
    pub holder: Option<Holder>,
    /// Its token; a bare lock has none.
    pub token: Option<u64>,
    /// The age of a bare lock when it was removed, at least: the time since the last change of its
    /// directory.
    pub age: Option<Duration>,
}

impl Predecessor {
    /// For [engines](crate::engine): creates a predecessor from its holder and token.
    #[must_use]
    pub fn new(holder: Holder, token: u64) -> Predecessor {
        Predecessor { holder: Some(holder), token: Some(token), age: None }
    }

    /// Creates the unknown predecessor of a bare lock of this age.
    pub(crate) fn unknown(age: Duration) -> Predecessor {
        Predecessor { holder: None, token: None, age: Some(age) }
    }
}

impl fmt::Display for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.holder, self.age) {
            (Some(holder), _) => write!(f, "{holder}"),
            (None, Some(age)) => {
                write!(f, "an unknown holder (a plain mkdir lock, {} old)", people_duration(age))
            }
            (None, None) => f.write_str("an unknown holder"),
        }
    }
}

/// The result of breaking a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Broken {
    /// A holding was ended; `None` for a bare directory, whose creator is unknown.
    Removed(Option<Predecessor>),
    /// There was nothing to break.
    WasFree,
    /// Its holder is alive, so nothing was done; `None` for a bare directory, whose creator is
    /// unknown.
    StillHeld(Option<Holder>),
}

/// The state of a lock; [`Display`](fmt::Display) shows it as one lower-case word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum State {
    /// There is no directory.
    Free,
    /// Nobody holds it; the directory is kept.
    Open,
    /// Held by a living holder.
    Held,
    /// Its holder's timeout has passed: the next waiter may take it.
    Expired,
    /// Its holder is dead: the next waiter may take it.
    Dead,
    /// A plain, empty directory, as an `mkdir` lock creates it.
    Bare,
    /// Not ours to touch.
    Foreign,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Free => "free",
            State::Open => "open",
            State::Held => "held",
            State::Expired => "expired",
            State::Dead => "dead",
            State::Bare => "bare",
            State::Foreign => "foreign",
        })
    }
}

/// A waiter in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Ticket {
    /// Its process.
    pub pid: Option<u32>,
    /// Its host.
    pub host: String,
    /// What its process runs, if we can see that.
    pub command: Option<String>,
    /// Its label: what it wants the lock for.
    pub label: Option<String>,
    /// How long it has waited.
    pub waiting: Duration,
}

/// The readers that hold a lock together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Readers {
    /// How many there are; more than are [known](Readers::known) if nothing is known of some.
    pub count: u32,
    /// Who they are, in the order in which they joined.
    pub known: Vec<Holder>,
}

impl Readers {
    /// For [engines](crate::engine): creates a group of readers.
    #[must_use]
    pub fn new(count: u32, known: Vec<Holder>) -> Readers {
        Readers { count, known }
    }
}

/// All that can be seen of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// The name, as given.
    pub name: PathBuf,
    /// The lock directory.
    pub path: PathBuf,
    /// Its state.
    pub state: State,
    /// The token of the present or last holding, if known.
    pub token: Option<u64>,
    /// How long a renewal lasts.
    pub timeout: Option<Duration>,
    /// The time since the last renewal.
    pub age: Option<Duration>,
    /// The time until it may expire; zero if it has expired.
    pub remaining: Option<Duration>,
    /// Who holds it, or held it when it expired or died. Of readers, the first one, as long as it
    /// is among them.
    pub holder: Option<Holder>,
    /// The readers that hold it together; `None` if it is not shared.
    #[cfg_attr(feature = "serde", serde(default))]
    pub readers: Option<Readers>,
    /// The waiters, in the order in which they will be served.
    pub queue: Vec<Ticket>,
    /// A note about something unusual, if there is something.
    pub note: Option<String>,
}

impl Status {
    /// For [engines](crate::engine): creates the status of a free lock about which nothing else is
    /// known yet.
    #[must_use]
    pub fn new(name: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Status {
        Status {
            name: name.into(),
            path: path.into(),
            state: State::Free,
            token: None,
            timeout: None,
            age: None,
            remaining: None,
            holder: None,
            readers: None,
            queue: Vec::new(),
            note: None,
        }
    }

    /// Returns true if the lock is locked: a new waiter would have to wait.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        match self.state {
            State::Held => true,
            State::Bare => self.remaining != Some(Duration::ZERO),
            State::Open | State::Free => !self.queue.is_empty(),
            _ => false,
        }
    }

    /// Returns what blocks the next waiter, for people.
    pub(crate) fn blocked(&self) -> String {
        match (&self.holder, self.state) {
            (Some(holder), _) => {
                let more = self.remaining.map(people_duration).unwrap_or_default();
                format!("held by {holder}; expires in {more} unless renewed")
            }
            (None, State::Bare) => {
                let age = self.age.map(people_duration).unwrap_or_default();
                let note = self.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
                format!("held by a plain mkdir lock, {age} old, holder unknown{note}")
            }
            _ => "others are ahead in the queue".into(),
        }
    }
}

/// Formats a duration for people: `0.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn people_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}
