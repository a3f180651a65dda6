//! Entries: the one file name inside a lock directory that is the whole state of the lock. Only
//! this module formats or parses it.
//!
//! `v1.STATE.KIND.TOKEN.NONCE.RENEWALS.TIMEOUT.STAMP.BOOT.TIMENS.PIDNS.OWNER.HOST.LABEL`

use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use crate::text::{Host, Label};
use crate::{MAX_TIMEOUT, MIN_TIMEOUT, margin};

/// The longest name of an entry, in bytes.
pub const MAX_NAME: usize = 200;
/// The largest token (fencing number) that an entry may have: 18 digits.
pub const MAX_TOKEN: u64 = 999_999_999_999_999_999;
/// The fewest bytes that host and label take: `h.-`.
const SHORTEST_TEXTS: usize = 3;
/// The length of a nonce in a name, in bytes: 128 bits at 5 bits a digit.
const NONCE_LENGTH: usize = 26;
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 random bits, fresh for every acquisition: they make an entry's name unique.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub u128);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..NONCE_LENGTH).rev() {
            let digit = (self.0 >> (5 * place)) as usize & 31;
            fmt::Write::write_char(f, BASE32[digit] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Nonce {
    /// Parses the output of [`Display`](fmt::Display).
    #[must_use]
    pub fn parse(text: &str) -> Option<Nonce> {
        if text.len() != NONCE_LENGTH {
            return None;
        }
        let mut value: u128 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = BASE32.iter().position(|&b| b == byte)? as u128;
            if at == 0 && digit > 7 {
                return None;
            }
            value = value * 32 + digit;
        }
        Some(Nonce(value))
    }
}

/// The state of a lock that has an entry: held by somebody, or free and kept in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Held, until it expires or its holder is dead.
    Held,
    /// Free: the next acquisition takes it. It is kept for a waiter, or for its token.
    Open,
}

/// Where an entry was written: the boot of a kernel, the time namespace and the PID namespace. Zero
/// means unknown, and unknown is never equal to anything, not even to another unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The first 64 bits of the kernel's boot identity.
    pub boot: u64,
    /// The time namespace.
    pub time: u32,
    /// The PID namespace.
    pub pids: u32,
}

impl Origin {
    /// Parses three parts of a name.
    pub(crate) fn parse<'a>(mut part: impl FnMut() -> Option<&'a str>) -> Option<Origin> {
        Some(Origin {
            boot: u64::from_str_radix(part()?, 16).ok()?,
            time: u32::from_str_radix(part()?, 16).ok()?,
            pids: u32::from_str_radix(part()?, 16).ok()?,
        })
    }

    /// Returns true if both are the same boot of the same kernel.
    #[must_use]
    pub fn is_same_boot(&self, other: &Origin) -> bool {
        self.boot != 0 && self.boot == other.boot
    }

    /// Returns true if both read the same boot clock.
    #[must_use]
    pub fn is_same_clock(&self, other: &Origin) -> bool {
        self.is_same_boot(other) && self.time != 0 && self.time == other.time
    }

    /// Returns true if a PID means the same process to both.
    #[must_use]
    pub fn is_same_pids(&self, other: &Origin) -> bool {
        self.is_same_boot(other) && self.pids != 0 && self.pids == other.pids
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:08x}.{:08x}", self.boot, self.time, self.pids)
    }
}

/// A process, by its PID and its start time (clock ticks since boot; 0 = unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The PID in its own namespace.
    pub pid: u32,
    /// The start time; it distinguishes processes that had the same PID.
    pub start: u64,
}

impl Process {
    pub(crate) fn parse(text: &str) -> Option<Process> {
        let (pid, start) = text.split_once('-')?;
        Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start)
    }
}

/// The processes that a lock lives by: it is dead only when all of them are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// None: the lock lives by its timeout alone.
    Nobody,
    /// One process.
    One(Process),
    /// A process and the child that it runs under the lock.
    Two(Process, Process),
}

impl Owner {
    /// Returns the processes, first the one that took the lock.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        let (first, second) = match *self {
            Owner::Nobody => (None, None),
            Owner::One(a) => (Some(a), None),
            Owner::Two(a, b) => (Some(a), Some(b)),
        };
        first.into_iter().chain(second)
    }

    /// Returns the same PIDs, started at any time.
    #[must_use]
    pub(crate) fn any_start(self) -> Owner {
        let any = |process: Process| Process { start: 0, ..process };
        match self {
            Owner::Nobody => Owner::Nobody,
            Owner::One(a) => Owner::One(any(a)),
            Owner::Two(a, b) => Owner::Two(any(a), any(b)),
        }
    }

    fn parse(text: &str) -> Option<Owner> {
        if text == "none" {
            return Some(Owner::Nobody);
        }
        match text.split_once('+') {
            Some((a, b)) => Some(Owner::Two(Process::parse(a)?, Process::parse(b)?)),
            None => Some(Owner::One(Process::parse(text)?)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Nobody => f.write_str("none"),
            Owner::One(a) => write!(f, "{a}"),
            Owner::Two(a, b) => write!(f, "{a}+{b}"),
        }
    }
}

/// The state of a lock. [`Display`](fmt::Display) and [`Entry::parse`] are its file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Held or open.
    pub state: State,
    /// Whether the directory is kept for ever, so that its tokens only grow.
    pub fenced: bool,
    /// The fencing number of this holding.
    pub token: u64,
    /// Random bits that make this acquisition unique.
    pub nonce: Nonce,
    /// How often this acquisition has changed its name, so that it never has the same name twice.
    pub renewals: u32,
    /// How long the lock lasts from its stamp; whole milliseconds.
    pub timeout: Duration,
    /// The holder's boot clock just before it published this name; whole milliseconds.
    pub stamp: Duration,
    /// The boot and the namespaces that the stamp and the PIDs belong to.
    pub origin: Origin,
    /// The processes that the lock lives by.
    pub owner: Owner,
    /// The holder's host, for people.
    pub host: Host,
    /// What the lock is held for, for people.
    pub label: Label,
}

impl Entry {
    /// Parses a name. Returns `None` unless [`Display`](fmt::Display) would print the same name, byte
    /// for byte.
    #[must_use]
    pub fn parse(name: &str) -> Option<Entry> {
        if name.len() > MAX_NAME || !name.is_ascii() {
            return None;
        }
        let mut parts = name.splitn(14, '.');
        let mut part = || parts.next();
        if part()? != "v1" {
            return None;
        }
        let entry = Entry {
            state: match part()? {
                "held" => State::Held,
                "open" => State::Open,
                _ => return None,
            },
            fenced: match part()? {
                "f" => true,
                "p" => false,
                _ => return None,
            },
            token: part()?.parse().ok().filter(|&token| token <= MAX_TOKEN)?,
            nonce: Nonce::parse(part()?)?,
            renewals: part()?.parse().ok()?,
            timeout: millis(part()?)
                .filter(|timeout| (MIN_TIMEOUT..=MAX_TIMEOUT).contains(timeout))?,
            stamp: millis(part()?).filter(|&stamp| stamp < Duration::from_millis(MAX_STAMP))?,
            origin: Origin::parse(&mut part)?,
            owner: Owner::parse(part()?)?,
            host: Host::parse(part()?)?,
            label: Label::parse(part()?)?,
        };
        // Each state has one spelling: no leading zeros, no plus signs, no other case.
        (entry.to_string() == name).then_some(entry)
    }

    /// Returns the time of the entry's boot clock from which others may judge it expired.
    #[must_use]
    pub fn expires_at(&self) -> Duration {
        self.stamp + self.timeout
    }

    /// Returns the time from which its own holder counts the hold as over: the expiry less the
    /// [`margin`].
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.expires_at().saturating_sub(margin(self.timeout))
    }

    /// Returns the same entry with as much of label and host as a name of `longest` bytes has room
    /// for: the label is cut first. The other fields stay, so the name may still be longer; but never
    /// longer than [`MAX_NAME`], since even the largest fields leave room for the shortest texts.
    ///
    /// A machine compares the entry that it published with the entry that a look shows, so it must
    /// not keep text that the name does not have.
    #[must_use]
    pub(crate) fn fit(self, longest: usize) -> Entry {
        let room = longest.min(MAX_NAME).saturating_sub(self.fields().len());
        let host = self.host.cut(room.saturating_sub(SHORTEST_TEXTS - 1));
        let label = self.label.cut(room.saturating_sub(host.as_str().len() + 1));
        Entry { host, label, ..self }
    }

    /// Does the same for a new holding, so that its name has room to grow where names are short. The
    /// error is the number of bytes in the longest name that this holding may come to need.
    pub(crate) fn fit_to_grow(self, longest: usize, names_child: bool) -> Result<Entry, usize> {
        let needed = self.grown(names_child).fields().len() + SHORTEST_TEXTS;
        if needed > longest {
            return Err(needed);
        }
        if longest >= MAX_NAME {
            return Ok(self.fit(MAX_NAME));
        }
        let growth = needed - (self.fields().len() + SHORTEST_TEXTS);
        Ok(self.fit(longest - growth))
    }

    /// Returns the same entry with the largest values that renewals can reach in 31 years of uptime.
    fn grown(&self, names_child: bool) -> Entry {
        /// The largest stamp in 31 years of uptime: 12 digits of milliseconds.
        const STAMP: Duration = Duration::from_millis(999_999_999_999);
        /// The largest start time in 31 years: 11 digits of clock ticks, of which 100 are a second.
        const START: u64 = 99_999_999_999;
        /// The largest PID, of seven digits; the limit of Linux is 4,194,304.
        const PID: u32 = 9_999_999;
        let child =
            |first: Process| Process { pid: first.pid.max(PID), start: first.start.max(START) };
        let owner = match self.owner {
            Owner::Nobody if names_child => Owner::One(Process { pid: PID, start: START }),
            Owner::One(first) if names_child => Owner::Two(first, child(first)),
            owner => owner,
        };
        Entry { renewals: u32::MAX, stamp: self.stamp.max(STAMP), owner, ..self.clone() }
    }

    /// Returns the next name of the same acquisition, in a new state, stamped by the clock of this
    /// origin.
    ///
    /// A process that renames an entry stamps it by its own clock, so it must name its own origin. The
    /// old PIDs and start times belong to the old origin and would be wrong under the new one: where
    /// the clock differs the start times are dropped, where the boot or the PID namespace differs the owner.
    #[must_use]
    pub fn next(&self, state: State, stamp: Duration, origin: &Origin) -> Entry {
        let owner = match self.origin.is_same_pids(origin) {
            _ if self.origin == *origin => self.owner,
            true => self.owner.any_start(),
            false => Owner::Nobody,
        };
        Entry {
            state,
            stamp: whole_millis(stamp),
            renewals: self.renewals.wrapping_add(1),
            origin: *origin,
            owner,
            ..self.clone()
        }
    }
}

/// Rounds down to whole milliseconds, as times are in names: so a holder's stamp is never too late.
#[must_use]
pub(crate) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(MAX_STAMP).min(MAX_STAMP - 1))
}

/// The limit of stamps, in milliseconds: all are smaller, so they have at most 14 digits, which are
/// three thousand years of uptime.
pub(crate) const MAX_STAMP: u64 = 100_000_000_000_000;

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

impl Entry {
    /// Returns the part of the name before the host.
    fn fields(&self) -> String {
        use fmt::Write as _;
        let mut name = String::with_capacity(MAX_NAME);
        // Writing to memory does not fail.
        let _ = write!(
            name,
            "v1.{}.{}.{}.{}.{}.{}.{}.{}.{}.",
            match self.state {
                State::Held => "held",
                State::Open => "open",
            },
            if self.fenced { 'f' } else { 'p' },
            self.token,
            self.nonce,
            self.renewals,
            self.timeout.as_millis(),
            self.stamp.as_millis(),
            self.origin,
            self.owner,
        );
        name
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = self.fields();
        name.push_str(self.host.as_str());
        name.push('.');
        let room = MAX_NAME.saturating_sub(name.len());
        name.push_str(&self.label.spell(room));
        f.write_str(&name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
