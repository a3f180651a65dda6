//! The values in etcd: who is in a lock's queue, and who holds the lock. They are JSON, so that a
//! person can read them with `etcdctl get`. Users who may write there may write anything, so values are
//! trusted only for messages to people, and for a death that this machine can see itself.

use std::time::{Duration, SystemTime};

use lockbydir::engine::{boot, command, here, life};
use lockbydir::{Holder, Predecessor, Ticket};
use lockbydir_protocol::{
    AcquireRequest, CLOCK_SLACK, Host, Label, Liveness, Origin, Owner, Process,
};
use serde::{Deserialize, Serialize};

/// The longest value that is read, in bytes; ours are much shorter. Longer ones count as not ours.
const LONGEST: usize = 4096;

/// A waiter in the queue, or the holder of the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contender {
    /// The version of this format.
    lockbydir: u32,
    host: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    /// The processes that the lock lives by: none for a lock without an owner, two for a process with a
    /// child.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    processes: Vec<Pid>,
    /// Where it was written, in hexadecimal: the kernel's boot, the time namespace, the PID
    /// namespace.
    boot: String,
    clock: String,
    pids: String,
    /// How long the lock lasts unless renewed, in seconds.
    pub(crate) timeout_s: u64,
    /// When it entered the queue, by its own wall clock: microseconds since 1970.
    came_us: u64,
    /// The last part of its key's name, which no other contender has.
    pub(crate) nonce: String,
    /// What only a holder's record has.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
}

/// What a holder writes into the record, again with each renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// The token; without it the token is the revision of the record itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    /// Since when it holds the lock, by its own wall clock: microseconds since 1970.
    since_us: u64,
    /// Its last renewal, by its own wall clock and by its boot clock: microseconds.
    renewed_us: u64,
    renewed_boot_us: u64,
}

/// A process, by its PID and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pid {
    pid: u32,
    start: u64,
}

impl Contender {
    /// Creates a waiter for this request, which enters the queue now.
    pub(crate) fn new(request: &AcquireRequest, nonce: i64, timeout: Duration) -> Contender {
        let origin = here().0;
        let mut contender = Contender {
            lockbydir: 1,
            host: request.host.as_str().into(),
            label: request.label.as_str().into(),
            processes: Vec::new(),
            boot: format!("{:016x}", origin.boot),
            clock: format!("{:08x}", origin.time),
            pids: format!("{:08x}", origin.pids),
            timeout_s: timeout.as_secs(),
            came_us: wall_micros(),
            nonce: format!("{nonce:x}"),
            held: None,
        };
        contender.set_owner(request.owner);
        contender
    }

    /// Sets the timeout in force.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout_s = timeout.as_secs();
    }

    /// Sets the processes that the lock lives by.
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        let pid = |process: Process| Pid { pid: process.pid, start: process.start };
        self.processes = owner.processes().map(pid).collect();
    }

    /// Returns the processes that the lock lives by.
    pub(crate) fn owner(&self) -> Owner {
        let process = |pid: &Pid| Process { pid: pid.pid, start: pid.start };
        match self.processes.as_slice() {
            [] => Owner::Nobody,
            [one] => Owner::One(process(one)),
            [one, two, ..] => Owner::Two(process(one), process(two)),
        }
    }

    /// Returns the record of this contender as the holder, renewed now. `token` is `None` where the token
    /// is the record's own revision.
    pub(crate) fn holding(&self, token: Option<u64>) -> Contender {
        let now = wall_micros();
        let since_us = self.held.map_or(now, |held| held.since_us);
        let held = Held { token, since_us, renewed_us: now, renewed_boot_us: micros(boot()) };
        Contender { held: Some(held), ..self.clone() }
    }

    /// Returns the token that is written in the record.
    pub(crate) fn token(&self) -> Option<u64> {
        self.held?.token
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written")
    }

    /// Parses a value; `None` if it is not ours.
    pub(crate) fn parse(value: &[u8]) -> Option<Contender> {
        let value = value.get(..LONGEST.min(value.len())).filter(|_| value.len() <= LONGEST)?;
        let read: Contender = serde_json::from_slice(value).ok()?;
        (read.lockbydir == 1).then_some(read)
    }

    fn origin(&self) -> Origin {
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        let short = |text: &str| u32::try_from(number(text)).unwrap_or(0);
        Origin { boot: number(&self.boot), time: short(&self.clock), pids: short(&self.pids) }
    }

    /// Returns true if this process can see whether the contender is alive.
    pub(crate) fn is_visible(&self) -> bool {
        !self.processes.is_empty() && self.origin().is_same_pids(&here().0)
    }

    /// Returns true if it is provably gone: we can see its processes, and none of them exists.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_visible() && life(self.owner()) == Liveness::Gone
    }

    /// Returns the timeout in force.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Returns the time since its last renewal, where it shares a clock with us.
    pub(crate) fn age(&self) -> Option<Duration> {
        let stamp = Duration::from_micros(self.held?.renewed_boot_us);
        let same_clock = self.origin().is_same_clock(&here().0) && stamp <= boot();
        same_clock.then(|| boot().saturating_sub(stamp))
    }

    /// Returns true if its time is certainly over, whatever happened to its lease. `unchanged` is for how
    /// long its record was seen unchanged.
    pub(crate) fn is_over(&self, unchanged: Duration) -> bool {
        let Some(held) = self.held else { return true };
        let by_wall = Duration::from_micros(wall_micros().saturating_sub(held.renewed_us));
        self.is_dead()
            || unchanged >= self.timeout()
            || match self.age() {
                Some(age) => age >= self.timeout(),
                None => by_wall >= self.timeout().saturating_add(CLOCK_SLACK),
            }
    }

    fn host(&self) -> String {
        Host::new(&self.host).as_str().into()
    }

    /// Returns the label; `None` if it is empty or has characters that could move a cursor.
    fn label(&self) -> Option<String> {
        let label = Label::new(&self.label).ok()?;
        (!label.is_empty()).then(|| label.as_str().into())
    }

    /// Returns the holder of a lock, for people.
    pub(crate) fn to_holder(&self) -> Holder {
        let since = Duration::from_micros(self.held.map_or(self.came_us, |held| held.since_us));
        let since = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut holder = Holder::new(self.host(), since);
        holder.pid = self.processes.first().map(|process| process.pid);
        holder.child = self.processes.get(1).map(|process| process.pid);
        holder.label = self.label();
        let shown = holder.child.or(holder.pid).filter(|_| self.is_visible());
        holder.command = shown.and_then(command);
        holder
    }

    /// Returns the previous holder of the lock, for people.
    pub(crate) fn to_predecessor(&self, token: u64) -> Predecessor {
        // Its PID may belong to another process by now, so its command is unknown.
        let mut holder = self.to_holder();
        holder.command = None;
        Predecessor::new(holder, token)
    }

    /// Returns the waiter, for people.
    pub(crate) fn to_ticket(&self) -> Ticket {
        let waiting = Duration::from_micros(wall_micros().saturating_sub(self.came_us));
        let mut ticket = Ticket::new(self.host(), waiting);
        ticket.pid = self.processes.first().map(|process| process.pid);
        ticket.label = self.label();
        ticket
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn wall_micros() -> u64 {
    micros(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
