//! Entries: the one file name inside a lock directory that is the whole state of the lock. Only
//! this module prints or parses it.
//!
//! `v1.STATE.KIND.TOKEN.NONCE.RENEWALS.TIMEOUT.STAMP.BOOT.TIMENS.PIDNS.OWNER.HOST.LABEL`

use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use crate::text::{Host, Label};
use crate::{MAX_TIMEOUT, MIN_TIMEOUT, margin};

/// Longest name of an entry, in bytes.
pub const MAX_NAME: usize = 200;
/// Largest token (fencing number) an entry may carry.
pub const MAX_TOKEN: u64 = 999_999_999_999_999_999;
/// What host and label take at least: `h.-`.
const SHORTEST_TEXTS: usize = 3;
/// Bytes a nonce takes in a name.
const NONCE_LENGTH: usize = 26;
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 random bits, fresh for every acquisition: what makes an entry's name its own.
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
    /// Reads what [`Display`](fmt::Display) printed.
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

/// Held by somebody, or free and kept in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Held, until it expires or its holder is dead.
    Held,
    /// Free: offered to whoever comes, or kept for its number.
    Open,
}

/// Where an entry was written: which boot of a kernel, which time and PID namespaces. Zero means
/// unknown, and unknown is never equal to anything.
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
    /// Reads three parts of a name.
    pub(crate) fn parse<'a>(mut part: impl FnMut() -> Option<&'a str>) -> Option<Origin> {
        Some(Origin {
            boot: u64::from_str_radix(part()?, 16).ok()?,
            time: u32::from_str_radix(part()?, 16).ok()?,
            pids: u32::from_str_radix(part()?, 16).ok()?,
        })
    }

    /// Is this the same boot of the same kernel?
    #[must_use]
    pub fn is_same_boot(&self, other: &Origin) -> bool {
        self.boot != 0 && self.boot == other.boot
    }

    /// Do both read the same boot clock?
    #[must_use]
    pub fn is_same_clock(&self, other: &Origin) -> bool {
        self.is_same_boot(other) && self.time != 0 && self.time == other.time
    }

    /// Do PIDs mean the same to both?
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
    /// The start time; tells a PID that was used again.
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
    /// The processes, first the one that took the lock.
    pub fn processes(&self) -> impl Iterator<Item = Process> {
        let (first, second) = match *self {
            Owner::Nobody => (None, None),
            Owner::One(a) => (Some(a), None),
            Owner::Two(a, b) => (Some(a), Some(b)),
        };
        first.into_iter().chain(second)
    }

    /// The same PIDs, started at any time.
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
    /// Is the directory kept for ever, so that its numbers only grow?
    pub fenced: bool,
    /// The fencing number of this holding.
    pub token: u64,
    /// What makes this acquisition unique.
    pub nonce: Nonce,
    /// How often the name was changed since: no name of one acquisition comes twice.
    pub renewals: u32,
    /// How long the lock lasts from its stamp; whole milliseconds.
    pub timeout: Duration,
    /// The holder's boot clock just before it published this name; whole milliseconds.
    pub stamp: Duration,
    /// Whose clocks and PIDs these are.
    pub origin: Origin,
    /// Who must live for the lock to live.
    pub owner: Owner,
    /// The holder's host, for people.
    pub host: Host,
    /// What it is for, for people.
    pub label: Label,
}

impl Entry {
    /// Reads a name. None for whatever [`Display`](fmt::Display) would not print byte for byte.
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
        // One spelling for one state: no leading zeros, no plus signs, no other case.
        (entry.to_string() == name).then_some(entry)
    }

    /// From this moment of its clock on, others may judge it expired.
    #[must_use]
    pub fn expires_at(&self) -> Duration {
        self.stamp + self.timeout
    }

    /// From this moment on its own holder counts it as over.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.expires_at().saturating_sub(margin(self.timeout))
    }

    /// The same with as much of label and host as a name of `longest` bytes has room for: the
    /// label is cut first. The other fields stay, so the name may still be longer; but never
    /// longer than [`MAX_NAME`], of which the largest fields leave room for the shortest texts.
    ///
    /// A machine compares what it published with what a look shows, so it keeps no text that the
    /// name does not have.
    #[must_use]
    pub(crate) fn fit(self, longest: usize) -> Entry {
        let room = longest.min(MAX_NAME).saturating_sub(self.fields().len());
        let host = self.host.cut(room.saturating_sub(SHORTEST_TEXTS - 1));
        let label = self.label.cut(room.saturating_sub(host.as_str().len() + 1));
        Entry { host, label, ..self }
    }

    /// The same for a new holding, so that its name has room to grow where names are short: the
    /// error is how many bytes the longest name needs that this holding can come to.
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

    /// The same with the largest values that renewals can come to in 31 years of uptime.
    fn grown(&self, names_child: bool) -> Entry {
        /// Twelve digits of milliseconds, and eleven of the hundredths in which starts are counted.
        const STAMP: Duration = Duration::from_millis(999_999_999_999);
        const START: u64 = 99_999_999_999;
        /// Seven digits; Linux ends at 4,194,304.
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

    /// The next name of the same acquisition, in a new state, stamped by the clock of this origin.
    ///
    /// Whoever renames stamps by its own clock, so it must say whose clock that is; and what was
    /// said of processes by other clocks or in other namespaces would be lies under it.
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

/// Times in names are whole milliseconds, rounded down: a holder's stamp is never too late.
#[must_use]
pub(crate) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(MAX_STAMP).min(MAX_STAMP - 1))
}

/// Stamps end here: three thousand years of uptime, 14 digits.
pub(crate) const MAX_STAMP: u64 = 100_000_000_000_000;

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

impl Entry {
    /// All of its name before the host.
    fn fields(&self) -> String {
        use fmt::Write as _;
        let mut name = String::with_capacity(MAX_NAME);
        // Nothing fails that is written to memory.
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
