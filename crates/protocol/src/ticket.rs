//! Tickets: places in the queue beside a lock directory, one file name each. Only this module
//! formats or parses them.
//!
//! `t1.ORDER.NONCE.STAMP.BOOT.TIMENS.PIDNS.PID-START.HOST.LABEL`

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;
use core::time::Duration;

use crate::entry::{MAX_NAME, MAX_STAMP, MAX_TOKEN, Nonce, Origin, Process, whole_millis};
use crate::text::{Host, Label};
use crate::time::Now;

/// A waiter's place in the queue. [`Display`](fmt::Display) and [`Ticket::parse`] are its file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The place: the ticket with the smaller order is first; among equal orders the nonce decides.
    pub order: u64,
    /// Random bits that make this ticket unique.
    pub nonce: Nonce,
    /// The waiter's boot clock when it made the ticket; whole milliseconds.
    pub stamp: Duration,
    /// The boot and the namespaces that the stamp and the PID belong to.
    pub origin: Origin,
    /// The process that waits.
    pub process: Process,
    /// The waiter's host, for people.
    pub host: Host,
    /// What it waits for, for people.
    pub label: Label,
}

impl Ticket {
    /// Returns a ticket of the same waiter at the end of this queue.
    #[must_use]
    pub fn behind(&self, queue: &[Ticket], now: Now) -> Ticket {
        let micros = u64::try_from(now.wall.as_micros()).unwrap_or(u64::MAX);
        let last = queue.iter().map(|ticket| ticket.order).max().unwrap_or(0);
        Ticket {
            order: micros.max(last.saturating_add(1)).min(MAX_TOKEN),
            stamp: whole_millis(now.boot),
            ..self.clone()
        }
    }

    /// Returns the same ticket with as much of label and host as a name of `longest` bytes has room
    /// for, whatever order and stamp it gets.
    #[must_use]
    pub fn fit(self, longest: usize) -> Ticket {
        let stamp = whole_millis(Duration::MAX);
        let shortest = Ticket {
            order: MAX_TOKEN,
            stamp,
            host: self.host.cut(1),
            label: Label::default(),
            ..self.clone()
        };
        let room = longest.saturating_sub(alloc::format!("{shortest}").len());
        let host = self.host.cut(room + 1);
        let label = self.label.cut((room + 2).saturating_sub(host.as_str().len()));
        Ticket { host, label, ..self }
    }

    /// Parses a name. Returns `None` unless [`Display`](fmt::Display) would print the same name, byte
    /// for byte.
    #[must_use]
    pub fn parse(name: &str) -> Option<Ticket> {
        if name.len() > MAX_NAME || !name.is_ascii() {
            return None;
        }
        let mut parts = name.splitn(10, '.');
        let mut part = || parts.next();
        if part()? != "t1" {
            return None;
        }
        // A queue may be long: each field is checked for its one spelling here, which is cheaper than
        // to format the ticket and compare.
        let (order, nonce, stamp) = (part()?, part()?, part()?);
        let (boot, time, pids) = (part()?, part()?, part()?);
        let (pid, start) = part()?.split_once('-')?;
        let (host, label) = (part()?, part()?);
        let ticket = Ticket {
            order: decimal(order).filter(|&order| order <= MAX_TOKEN)?,
            nonce: Nonce::parse(nonce)?,
            stamp: Duration::from_millis(decimal(stamp).filter(|&stamp| stamp < MAX_STAMP)?),
            origin: Origin {
                boot: hexadecimal(boot, 16)?,
                time: u32::try_from(hexadecimal(time, 8)?).ok()?,
                pids: u32::try_from(hexadecimal(pids, 8)?).ok()?,
            },
            process: Process { pid: u32::try_from(decimal(pid)?).ok()?, start: decimal(start)? },
            host: Host::parse(host)?,
            label: Label::parse(label)?,
        };
        // The label is in a name, so it had room there: `spell` must give it back whole.
        (ticket.label.spell(MAX_NAME) == label).then_some(ticket)
    }
}

/// Parses a decimal number as it is printed: no sign, no leading zero.
fn decimal(text: &str) -> Option<u64> {
    let is_printed = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_printed)
}

/// Parses a number of exactly `digits` lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u64> {
    let is_printed = text.len() == digits
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    u64::from_str_radix(text, 16).ok().filter(|_| is_printed)
}

impl PartialOrd for Ticket {
    fn partial_cmp(&self, other: &Ticket) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ticket {
    fn cmp(&self, other: &Ticket) -> Ordering {
        (self.order, self.nonce, self.stamp).cmp(&(other.order, other.nonce, other.stamp))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut name = String::with_capacity(MAX_NAME);
        write!(
            name,
            "t1.{}.{}.{}.{}.{}.{}.",
            self.order,
            self.nonce,
            self.stamp.as_millis(),
            self.origin,
            self.process,
            self.host.as_str(),
        )?;
        let room = MAX_NAME.saturating_sub(name.len());
        name.push_str(&self.label.spell(room));
        f.write_str(&name)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::{origin, process};

    prop_compose! {
        fn ticket()(
            order in 0..=MAX_TOKEN, nonce: u128, stamp in 0..MAX_STAMP, origin in origin(),
            process in process(), host in "[a-zA-Z0-9.\\-]{0,40}", label in "[ -~]{0,40}",
        ) -> Ticket {
            Ticket {
                order, nonce: Nonce(nonce), stamp: Duration::from_millis(stamp), origin, process,
                host: Host::new(&host), label: Label::new(&label).unwrap(),
            }
        }
    }

    proptest! {
        #[test]
        fn every_ticket_prints_a_portable_name_and_parses_back(ticket in ticket()) {
            let name = ticket.to_string();
            prop_assert!(name.len() <= MAX_NAME, "{} bytes", name.len());
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()
                || b"-_.=".contains(&b)), "{name}");
            let back = Ticket::parse(&name).expect("our own name");
            prop_assert_eq!(Ticket { label: back.label.clone(), ..ticket }, back);
        }

        #[test]
        fn no_hostile_name_panics_or_has_two_spellings(name in "(t1\\.)?[0-9a-z.\\-=]{0,220}|.{0,300}") {
            if let Some(ticket) = Ticket::parse(&name) {
                prop_assert_eq!(ticket.to_string(), name);
            }
        }

        #[test]
        fn a_new_ticket_is_behind_all_that_it_sees(queue in proptest::collection::vec(ticket(), 0..5), me in ticket(), micros in 0..10u64.pow(17)) {
            prop_assume!(queue.iter().all(|ticket| ticket.order < MAX_TOKEN));
            let now = Now { boot: Duration::ZERO, wall: Duration::from_micros(micros) };
            let mine = me.behind(&queue, now);
            prop_assert!(queue.iter().all(|ticket| *ticket < mine));
        }
    }
}
