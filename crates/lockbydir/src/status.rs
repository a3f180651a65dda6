//! What people are told of a lock: its state, its holder, how it was got. Facts only; the
//! command line decides how they look.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockbydir_protocol::{
    AcquiredFrom, Entry, Listing, LocalContext, Now, Observation, Stamp, State as EntryState,
    Verdict, View, timestamp_granularity,
};

use crate::error::{foreign_reason, stranger_reason};
use crate::os::process;
use crate::os::syscalls::is_mount;
pub use crate::printable::printable;
pub(crate) use crate::printable::printable_bytes;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its host.
    pub host: String,
    /// Its process, by the PID in its own namespace; none for a lock without a process.
    pub pid: Option<u32>,
    /// The child that it runs under the lock.
    pub child: Option<u32>,
    /// What its child or else its process runs, where we can see it.
    pub command: Option<String>,
    /// What it says it holds the lock for.
    pub label: Option<String>,
    /// Since when, by its own wall clock.
    pub since: SystemTime,
}

impl Holder {
    /// For [engines](crate::engine): a holder of whom nothing else is known yet.
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

    /// One who held the lock before: what runs under its PID now is not asked.
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
    /// For [engines](crate::engine): one of whom nothing else is known yet.
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

/// How a lock was got. Exactly one successor is told of a predecessor that did not release; of a bare
/// lock that was removed for its age at most one: whoever removed it, if it is also the next holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// There was none.
    Free,
    /// From a predecessor that released it in place.
    HandedOver(Predecessor),
    /// The predecessor's timeout had passed: its work may be half done. Of a bare lock, which a plain
    /// `mkdir` makes and which has no timeout of its own, that is the waiter's timeout: the
    /// predecessor is [unknown](Predecessor::holder), and may live and work on.
    AfterExpiry(Predecessor),
    /// The predecessor had died: its work may be half done.
    AfterDeath(Predecessor),
}

impl How {
    pub(crate) fn of(came: &AcquiredFrom) -> How {
        let predecessor = |entry: &Entry| Predecessor::new(Holder::past(entry), entry.token);
        match came {
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
#[non_exhaustive]
pub struct Predecessor {
    /// Who it was; its `command` is not known any more. None for a bare lock: nobody knows who made it.
    pub holder: Option<Holder>,
    /// Its token; a bare lock has none.
    pub token: Option<u64>,
    /// How old a bare lock was, at least, when it was removed: since the last change of its directory.
    pub age: Option<Duration>,
}

impl Predecessor {
    /// For [engines](crate::engine).
    #[must_use]
    pub fn new(holder: Holder, token: u64) -> Predecessor {
        Predecessor { holder: Some(holder), token: Some(token), age: None }
    }

    /// The maker of a bare lock of this age.
    pub(crate) fn unknown(age: Duration) -> Predecessor {
        Predecessor { holder: None, token: None, age: Some(age) }
    }
}

impl fmt::Display for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.holder, self.age) {
            (Some(holder), _) => write!(f, "{holder}"),
            (None, Some(age)) => {
                write!(f, "an unknown holder (a plain directory, {} old)", people_duration(age))
            }
            (None, None) => f.write_str("an unknown holder"),
        }
    }
}

/// How breaking a lock ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// A hold was ended; of a bare directory nobody is known.
    Removed(Option<Predecessor>),
    /// There was nothing to break.
    WasFree,
    /// Its holder lives, so nothing was done; of a bare directory nobody is known.
    StillHeld(Option<Holder>),
}

/// The state of a lock; [`Display`](fmt::Display) is its one lower-case word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No directory.
    Free,
    /// Free, the directory kept.
    Open,
    /// Held by a living holder.
    Held,
    /// Its holder's timeout has passed: the next one may take it.
    Expired,
    /// Its holder is dead: the next one may take it.
    Dead,
    /// A plain directory, as an `mkdir` lock makes it.
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

/// One who queues.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// Its process.
    pub pid: Option<u32>,
    /// Its host.
    pub host: String,
    /// What its process runs, where we can see it.
    pub command: Option<String>,
    /// What it waits for.
    pub label: Option<String>,
    /// How long already.
    pub waiting: Duration,
}

/// All that can be seen of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The name, as given.
    pub name: PathBuf,
    /// The lock directory.
    pub path: PathBuf,
    /// Its state.
    pub state: State,
    /// The number of the present or last holding, where it is known.
    pub token: Option<u64>,
    /// How long a renewal lasts.
    pub timeout: Option<Duration>,
    /// Since the last renewal.
    pub age: Option<Duration>,
    /// Until it may expire; zero when it has.
    pub remaining: Option<Duration>,
    /// Who holds it, or held it when it expired or died.
    pub holder: Option<Holder>,
    /// Who waits, in the order in which they will be served.
    pub queue: Vec<Ticket>,
    /// A word on what is odd about it.
    pub note: Option<String>,
}

impl Status {
    /// For [engines](crate::engine): a free lock, of which nothing else is known yet.
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
            queue: Vec::new(),
            note: None,
        }
    }

    pub(crate) fn of(
        name: &Path,
        path: &Path,
        view: &View,
        now: Now,
        here: &LocalContext,
        bare_timeout: Duration,
    ) -> Status {
        let mut status = Status::new(name, path);
        match &view.sight {
            Observation::Absent => {}
            Observation::Foreign(why) => {
                status.state = State::Foreign;
                status.note = Some(foreign_reason(why));
            }
            Observation::Directory(listing) => status.fill(listing, view, now, here, bare_timeout),
        }
        status
    }

    fn fill(
        &mut self,
        listing: &Listing,
        view: &View,
        now: Now,
        here: &LocalContext,
        bare_timeout: Duration,
    ) {
        let wall = Stamp(i128::try_from(now.wall.as_nanos()).unwrap_or(i128::MAX));
        let clock = view.file_clock.unwrap_or(wall);
        let by_file = u64::try_from(clock.0 - listing.modified.0).unwrap_or(0);
        let by_file = Duration::from_nanos(by_file);
        if let Some(litter) = &listing.litter {
            self.note = Some(format!("`{litter}` in it keeps it from vanishing"));
        }
        if let Some(uid) = listing.stranger {
            self.state = State::Foreign;
            self.note = Some(stranger_reason(uid));
            return;
        }
        let Some(entry) = listing.entries.first() else {
            self.state = State::Bare;
            self.age = Some(by_file);
            let timeout = bare_timeout + timestamp_granularity(listing.modified);
            self.remaining = Some(timeout.saturating_sub(by_file));
            if is_mount(&self.path).is_ok_and(|is_one| is_one) {
                let advice = "it is a mount itself and never vanishes; mount the folder it is in";
                self.note.get_or_insert_with(|| advice.into());
            }
            return;
        };
        self.token = Some(entry.token);
        let same_clock = entry.origin.is_same_clock(&here.origin) && entry.stamp <= now.boot;
        let age = if same_clock { now.boot.saturating_sub(entry.stamp) } else { by_file };
        self.age = Some(age);
        if entry.state == EntryState::Open {
            self.state = State::Open;
            return;
        }
        self.state = match view.verdict {
            Some(Verdict::Expired(_)) => State::Expired,
            Some(Verdict::Dead(_)) => State::Dead,
            _ => State::Held,
        };
        self.timeout = Some(entry.timeout);
        self.remaining = Some(match self.state {
            State::Held => entry.timeout.saturating_sub(age),
            _ => Duration::ZERO,
        });
        self.holder = Some(Holder::of(entry));
    }

    /// Is it locked: must the next one wait?
    #[must_use]
    pub fn is_locked(&self) -> bool {
        match self.state {
            State::Held => true,
            State::Bare => self.remaining != Some(Duration::ZERO),
            State::Open | State::Free => !self.queue.is_empty(),
            _ => false,
        }
    }

    /// What blocks the next one, for people.
    pub(crate) fn blocked(&self) -> String {
        match (&self.holder, self.state) {
            (Some(holder), _) => {
                let more = self.remaining.map(people_duration).unwrap_or_default();
                format!("held by {holder}; expires in {more} unless renewed")
            }
            (None, State::Bare) => match &self.note {
                Some(note) => format!("locked by a bare directory; {note}"),
                None => "locked by a plain mkdir lock, holder unknown".into(),
            },
            _ => "others are ahead in the queue".into(),
        }
    }
}

/// A duration as people say it: `0.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
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
