//! Finds out whether a waiter and those whom it waits for wait for each other. Looks only.
//!
//! A lock is *stuck* if its holder cannot release it before some wait of the following kinds ends: each
//! process that the entry names, with all its descendants, either waits in the queue of a stuck lock,
//! or waits for its children and for nothing else. Whatever is not certain is not stuck: a process that does
//! anything else, that has a second thread, that we may not examine, that is on another kernel or in
//! another PID namespace; a lock without a process; a shared one.
//!
//! A look takes time, so what it saw need not have been true at once. Each fact has a name that never
//! returns: an entry's nonce, a ticket's nonce, a process by PID and start time. So what two looks show
//! alike was true all the time between the end of the first and the beginning of the second. Then it was
//! true at one moment, and it remains true, because none of these processes can do anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Entry, Inspect, Nonce, Observation, Process, State, Ticket, Verdict};

use crate::directory::executor::{Directory, EXTENSION};
use crate::directory::queue::SUFFIX;
use crate::error::Error;
use crate::hold;
use crate::os;
use crate::os::{clock, process, simulated};
use crate::status::{Holder, printable};

/// How long a waiter has waited when it looks for the first time. Most waits are shorter.
const FIRST: Duration = Duration::from_secs(1);
/// The time until it looks again: at first, processes may still be on their way to what they wait for.
const SECOND: Duration = Duration::from_millis(250);
/// The time between the two looks that must agree.
const CONFIRM: Duration = Duration::from_millis(100);
/// Limits the duration of one look, whose result is unknown then.
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// Limits the numbers of locks and processes of one look.
const MAX_LOCKS: usize = 32;
const MAX_PROCESSES: usize = 128;
/// The threads of this library that run no code of the program and do not wait for a task, by name.
/// A renewal (`lockbydir-call`) may call the program's `on_lost`, so it is none of them.
const OWN_THREADS: [&str; 5] =
    ["lockbydir-renew", "lockbydir-linge", "lockbydir-etcd", "lockbydir-wait", "lockbydir-note"];
/// The process between `lockbydir run` and its command, which waits for its children.
const SUPERVISOR: &str = "run-supervisor";

/// The looks of one wait.
pub(crate) struct DeadlockWatch {
    started: Duration,
    /// When the next look is due, on the boot clock.
    next: Duration,
    /// What the last look saw, if it must be confirmed.
    seen: Option<Look>,
}

impl DeadlockWatch {
    /// Begins a wait; it looks for nothing if `is_enabled` is false.
    pub(crate) fn new(is_enabled: bool) -> DeadlockWatch {
        let started = clock::boot();
        let is_real = is_enabled && simulated::world().is_none();
        let next = if is_real { started + FIRST } else { Duration::MAX };
        DeadlockWatch { started, next, seen: None }
    }

    /// Returns when the next look is due.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// Looks, if that is due. Returns the error if this waiter is in a deadlock, and is the one that ends
    /// it: the one with the youngest ticket.
    pub(crate) fn look(&mut self, directory: &Directory, own: Option<&Ticket>) -> Option<Error> {
        let now = clock::boot();
        if now < self.next {
            return None;
        }
        let found = own.and_then(|own| Look::begin(directory, own));
        match (self.seen.take(), found.filter(Look::is_ours)) {
            (Some(before), Some(look)) if before.facts == look.facts => {
                return Some(look.error(directory.path()));
            }
            (None, Some(look)) => {
                self.seen = Some(look);
                self.next = clock::boot() + CONFIRM;
            }
            // The longer the wait, the rarer the looks.
            _ => {
                let waited = now.saturating_sub(self.started);
                self.next = now + if waited < FIRST + SECOND { SECOND } else { waited };
            }
        }
        None
    }
}

/// A waiter: its ticket, and the lock that it waits for.
struct Waiter {
    ticket: Ticket,
    lock: PathBuf,
}

/// A stuck lock, as one look found it.
struct Lock {
    entry: Entry,
    /// The waiters among the processes of its holder, by their nonces.
    waiters: Vec<Nonce>,
}

/// What one look found out.
struct Look {
    own: Ticket,
    until: Duration,
    /// Everything that must be the same in a second look.
    facts: BTreeSet<String>,
    locks: BTreeMap<PathBuf, Lock>,
    waiters: BTreeMap<Nonce, Waiter>,
    processes: BTreeSet<u32>,
}

impl Look {
    /// Looks at everything that the waiter with this ticket waits for; `None` if it is not stuck.
    fn begin(directory: &Directory, own: &Ticket) -> Option<Look> {
        let mut look = Look {
            own: own.clone(),
            until: clock::boot() + LONGEST_LOOK,
            facts: BTreeSet::new(),
            locks: BTreeMap::new(),
            waiters: BTreeMap::new(),
            processes: BTreeSet::new(),
        };
        let ours = look.wait_of(process::here().1)??;
        let mut open = vec![ours.lock];
        while let Some(path) = open.pop() {
            if look.locks.contains_key(&path) {
                continue;
            }
            let entry = entry_of(directory, &path)?;
            // A lock of our own that nobody renews ends by itself: a fixed lease, or one whose guard is gone.
            let is_ours = entry.owner.processes().any(|process| process == process::here().1);
            if is_ours && hold::is_renewed(entry.nonce) != Some(true) {
                return None;
            }
            look.facts.insert(format!("{} {}", path.display(), entry.nonce));
            let mut waiters = Vec::new();
            let mut processes: Vec<Process> = entry.owner.processes().collect();
            if processes.is_empty() {
                return None;
            }
            let mut seen = BTreeSet::new();
            while let Some(process) = processes.pop() {
                if !seen.insert(process.pid) {
                    continue;
                }
                look.count(process)?;
                match look.wait_of(process)? {
                    Some(waiter) => {
                        let nonce = waiter.ticket.nonce;
                        open.push(waiter.lock.clone());
                        waiters.push(nonce);
                        look.waiters.insert(nonce, waiter);
                    }
                    None => processes.extend(look.children_waited_for(process)?),
                }
            }
            look.locks.insert(path, Lock { entry, waiters });
            if look.locks.len() > MAX_LOCKS {
                return None;
            }
        }
        // Whoever has the lock by now is about to leave its queue.
        let has_it = |waiter: &Waiter| {
            look.locks.get(&waiter.lock).is_some_and(|lock| lock.entry.nonce == waiter.ticket.nonce)
        };
        (!look.waiters.values().any(has_it)).then_some(look)
    }

    fn count(&mut self, process: Process) -> Option<()> {
        self.processes.insert(process.pid);
        let is_known = process.start != 0 && os::start_of(process.pid) == Some(process.start);
        let is_soon = clock::boot() < self.until && self.processes.len() <= MAX_PROCESSES;
        (is_known && is_soon).then_some(())
    }

    /// Returns which lock a process waits for, if it has a ticket and does nothing else.
    fn wait_of(&mut self, process: Process) -> Option<Option<Waiter>> {
        let ticket_in = |path: &OsStr| {
            let ticket = Ticket::parse(Path::new(path).file_name()?.to_str()?)?;
            let is_here = ticket.origin.is_same_pids(&process::here().0);
            (is_here && ticket.process == process).then_some(ticket)
        };
        let found = os::open_file_of(process.pid, |path| ticket_in(path).is_some())?;
        let Some(path) = found else { return Some(None) };
        let ticket = ticket_in(path.as_os_str())?;
        let queue = path.parent()?.as_os_str().as_bytes();
        let lock = queue.strip_suffix(SUFFIX.as_bytes())?;
        if !lock.ends_with(EXTENSION.as_bytes()) || !has_one_thread(process.pid)? {
            return None;
        }
        self.facts.insert(format!("{process} waits {ticket}"));
        Some(Some(Waiter { ticket, lock: PathBuf::from(OsStr::from_bytes(lock)) }))
    }

    /// Returns the children of a process that waits for them and does nothing else.
    fn children_waited_for(&mut self, process: Process) -> Option<Vec<Process>> {
        let children = os::children_of(process.pid)?;
        let is_supervisor =
            |pid: u32| os::threads_of(pid).is_some_and(|names| names == [SUPERVISOR]);
        let only_waits = is_supervisor(process.pid)
            || children.iter().any(|&child| is_supervisor(child))
            || has_one_thread(process.pid)? && os::waits_for_children(process.pid);
        if children.is_empty() || !only_waits {
            return None;
        }
        self.facts.insert(format!("{process} parent of {children:?}"));
        Some(children.into_iter().map(process::process).collect())
    }

    /// Returns true if we wait for ourselves, and are the youngest of those who do. The others go on.
    fn is_ours(&self) -> bool {
        let own = self.own.nonce;
        self.waiters.contains_key(&own)
            && self.waiters.values().all(|waiter| waiter.ticket <= self.own)
    }

    /// Returns the locks from the one that we wait for to one that we hold, each with its number of the
    /// waiter that leads to the next.
    fn steps(&self) -> Vec<(&Path, &Lock)> {
        let Some(own) = self.waiters.get(&self.own.nonce) else { return Vec::new() };
        let mut from: BTreeMap<&Path, Option<&Path>> = BTreeMap::from([(&*own.lock, None)]);
        let mut next = vec![&*own.lock];
        let mut at = 0;
        while let Some(&path) = next.get(at) {
            at += 1;
            let Some(lock) = self.locks.get(path) else { continue };
            if lock.waiters.contains(&self.own.nonce) {
                let back = std::iter::successors(Some(path), |path| from.get(path).copied()?);
                let mut steps: Vec<_> =
                    back.filter_map(|path| Some((path, self.locks.get(path)?))).collect();
                steps.reverse();
                return steps;
            }
            for waiter in lock.waiters.iter().filter_map(|nonce| self.waiters.get(nonce)) {
                if !from.contains_key(&*waiter.lock) {
                    from.insert(&waiter.lock, Some(path));
                    next.push(&waiter.lock);
                }
            }
        }
        Vec::new()
    }

    fn error(&self, path: &Path) -> Error {
        let steps = self.steps();
        let name = |path: &Path| printable(path.with_extension(""));
        let said: Vec<_> = steps
            .windows(2)
            .map(|pair| {
                let ((held, lock), (wanted, _)) = (pair[0], pair[1]);
                let holder = who(&lock.entry);
                format!("; {holder} holds {} and waits for {}", name(held), name(wanted))
            })
            .collect();
        let (first, last) = (steps.first(), steps.last());
        let (wanted, held) = (first.map(|(path, _)| name(path)), last.map(|(path, _)| name(path)));
        let holder = first.map(|(_, lock)| Holder::of(&lock.entry));
        Error::deadlock(
            path,
            &held.unwrap_or_default(),
            &wanted.unwrap_or_default(),
            &said.concat(),
            holder,
        )
    }
}

/// Returns a holder in a few words.
fn who(entry: &Entry) -> String {
    let holder = Holder::of(entry);
    let what = holder.label.or(holder.command).map(|what| format!(" `{what}`")).unwrap_or_default();
    holder.pid.map_or_else(|| "a key".into(), |pid| format!("pid {pid}{what}"))
}

/// Returns the entry of a lock that one holder of our PID namespace has now.
fn entry_of(ours: &Directory, path: &Path) -> Option<Entry> {
    let directory = Directory::new(path.to_owned(), ours.mode(), None).only_looking();
    let here = directory.here();
    let view = directory.run(&mut Inspect::new(here));
    let Observation::Directory(listing) = view.sight else { return None };
    let is_held = listing.stranger.is_none()
        && !matches!(view.verdict, Some(Verdict::Expired(_) | Verdict::Dead(_)));
    let [entry] = listing.entries.as_slice() else { return None };
    let is_held = is_held && entry.state == State::Held;
    (is_held && entry.origin.is_same_pids(&here.origin)).then(|| entry.clone())
}

/// Returns true if a process has one thread besides those of this library.
fn has_one_thread(pid: u32) -> Option<bool> {
    let threads = os::threads_of(pid)?;
    Some(threads.iter().filter(|name| !OWN_THREADS.contains(&name.as_str())).count() == 1)
}
