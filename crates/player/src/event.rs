//! Events in the form in which they are recorded and sent, one JSON object each. Readers ignore
//! keys that they do not know; the meaning of a key never changes.

use std::path::Path;
use std::time::{Duration, SystemTime};

use lockbydir::observe::{self, Departure, Gained};
use lockbydir::printable;
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it was observed, in seconds since 1970.
    pub at: f64,
    /// The name of the lock as it is shown; empty if the event belongs to no lock or to many.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lock: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened: the same as [`lockbydir::observe::What`], and messages that were printed
/// meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the same as in `lockbydir::observe`")]
pub enum What {
    Appeared,
    Acquired {
        by: Contender,
        token: u64,
        timeout_s: f64,
        remaining_s: f64,
        how: How,
    },
    Renewed {
        by: Contender,
        times: Option<u32>,
        timeout_s: f64,
    },
    Expired {
        by: Contender,
    },
    Died {
        by: Contender,
    },
    Released {
        by: Contender,
    },
    Broken {
        by: Contender,
    },
    Joined {
        by: Contender,
    },
    Left {
        by: Contender,
        why: Why,
        /// How many seconds before `at` it left: the reason was not certain at once.
        #[serde(default, skip_serializing_if = "is_zero")]
        ago_s: f64,
    },
    Bare,
    Foreign {
        why: String,
    },
    Cleared,
    Missed {
        count: u64,
    },
    Busy {
        a_second: u32,
    },
    Calm,
    Unreachable {
        servers: String,
        why: String,
    },
    Reachable {
        servers: String,
    },
    /// A message to people, such as an example's description of what it does.
    Said {
        text: String,
    },
}

/// How a lock was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the same as in `lockbydir::observe`")]
pub enum How {
    Before,
    Free,
    HandedOver,
    AfterExpiry,
    AfterDeath,
}

/// Why a waiter left the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the same as in `lockbydir::observe`")]
pub enum Why {
    Served,
    GaveUp,
    Died,
    Gone,
}

/// A process or key that waits for a lock or holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// Identifies the contender: the same for one process as long as it lives; it has no other
    /// meaning.
    pub id: String,
    /// The name of its host.
    pub host: String,
    /// The id of its process, if it is a process and not a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The command that its process runs, where that can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its label: what it says it wants the lock for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Since when it waits or holds, as far as it reports that, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// Returns a time as seconds since 1970.
#[must_use]
pub(crate) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl From<observe::Contender> for Contender {
    fn from(seen: observe::Contender) -> Contender {
        let observe::Contender { id, host, pid, command, label, since, .. } = seen;
        let (id, since) = (format!("{id:016x}"), Some(seconds(since)));
        let contender = Contender { id, host, pid, command, label, since };
        contender.printable()
    }
}

impl Contender {
    /// Makes its texts printable, so that they may be shown anywhere.
    fn printable(self) -> Contender {
        Contender {
            id: printable(self.id),
            host: printable(self.host),
            command: self.command.map(printable),
            label: self.label.map(printable),
            ..self
        }
    }
}

/// The largest valid time or duration in seconds: as a time, it is in the year 5138.
const MAX_S: f64 = 1e11;

impl Event {
    /// Creates a message that is said now. Each line is one event.
    #[must_use]
    pub fn said(text: &str) -> Event {
        let what = What::Said { text: printable(text) };
        Event { at: seconds(SystemTime::now()), lock: String::new(), what }
    }

    /// Returns the event with printable texts, or an error if a number cannot be that of an event.
    /// Events from elsewhere are not trusted in anything.
    pub(crate) fn checked(mut self) -> Result<Event, String> {
        let within = |name: &str, number: f64, least: f64| match (least..=MAX_S).contains(&number) {
            true => Ok(()),
            false => Err(format!("`{name}` is {number}; it must be within {least} and {MAX_S}")),
        };
        let number = |name: &str, number: f64| within(name, number, 0.0);
        number("at", self.at)?;
        self.lock = printable(self.lock);
        match &mut self.what {
            What::Acquired { timeout_s, remaining_s, .. } => {
                number("timeout_s", *timeout_s)?;
                // Negative if the holding had expired before the observation began.
                within("remaining_s", *remaining_s, -MAX_S)?;
            }
            What::Renewed { timeout_s, .. } => number("timeout_s", *timeout_s)?,
            What::Left { ago_s, .. } => number("ago_s", *ago_s)?,
            What::Said { text } | What::Foreign { why: text } => *text = printable(&*text),
            What::Unreachable { servers, why } => {
                *servers = printable(&*servers);
                *why = printable(&*why);
            }
            What::Reachable { servers } => *servers = printable(&*servers),
            _ => {}
        }
        if let Some(by) = self.what.by_mut() {
            number("since", by.since.unwrap_or(0.0))?;
            *by = by.clone().printable();
        }
        Ok(self)
    }
}

impl What {
    /// Returns the contender that the event is about.
    #[must_use]
    pub fn by(&self) -> Option<&Contender> {
        match self {
            What::Acquired { by, .. }
            | What::Renewed { by, .. }
            | What::Expired { by }
            | What::Died { by }
            | What::Released { by }
            | What::Broken { by }
            | What::Joined { by }
            | What::Left { by, .. } => Some(by),
            _ => None,
        }
    }

    fn by_mut(&mut self) -> Option<&mut Contender> {
        match self {
            What::Acquired { by, .. }
            | What::Renewed { by, .. }
            | What::Expired { by }
            | What::Died { by }
            | What::Released { by }
            | What::Broken { by }
            | What::Joined { by }
            | What::Left { by, .. } => Some(by),
            _ => None,
        }
    }

    /// Returns the message of an event that belongs to no single lock.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        match self {
            What::Said { text } | What::Unreachable { why: text, .. } => Some(text.clone()),
            What::Reachable { servers } => Some(format!("{servers} answers again")),
            _ => None,
        }
    }

    /// Converts an observed event at `path`; returns `None` for what this version does not know.
    #[must_use]
    pub fn of(seen: observe::What, path: &Path) -> Option<What> {
        use observe::What as Seen;
        let s = |duration: Duration| duration.as_secs_f64();
        Some(match seen {
            Seen::Appeared => What::Appeared,
            Seen::Acquired { by, token, timeout, remaining, age, how } => What::Acquired {
                by: by.into(),
                token,
                timeout_s: s(timeout),
                // Negative: it expired that long ago.
                remaining_s: match remaining {
                    Duration::ZERO => s(timeout) - s(age).max(s(timeout)),
                    _ => s(remaining),
                },
                how: How::of(how)?,
            },
            Seen::Renewed { by, times, timeout } => {
                What::Renewed { by: by.into(), times, timeout_s: s(timeout) }
            }
            Seen::Bare => What::Bare,
            Seen::Foreign(why) => What::Foreign { why: printable(why) },
            Seen::Cleared => What::Cleared,
            Seen::Expired(by) => What::Expired { by: by.into() },
            Seen::Died(by) => What::Died { by: by.into() },
            Seen::Released(by) => What::Released { by: by.into() },
            Seen::Broken(by) => What::Broken { by: by.into() },
            Seen::Joined(by) => What::Joined { by: by.into() },
            Seen::Left { who, why, ago } => {
                What::Left { by: who.into(), why: Why::of(why)?, ago_s: s(ago) }
            }
            Seen::Missed(count) => What::Missed { count },
            Seen::Busy(a_second) => What::Busy { a_second },
            Seen::Calm => What::Calm,
            Seen::Unreachable(why) => {
                What::Unreachable { servers: printable(path), why: printable(why) }
            }
            Seen::Reachable => What::Reachable { servers: printable(path) },
            _ => return None,
        })
    }
}

impl How {
    fn of(seen: Gained) -> Option<How> {
        Some(match seen {
            Gained::Before => How::Before,
            Gained::Free => How::Free,
            Gained::HandedOver => How::HandedOver,
            Gained::AfterExpiry => How::AfterExpiry,
            Gained::AfterDeath => How::AfterDeath,
            _ => return None,
        })
    }
}

impl Why {
    fn of(seen: Departure) -> Option<Why> {
        Some(match seen {
            Departure::Served => Why::Served,
            Departure::GaveUp => Why::GaveUp,
            Departure::Gone => Why::Gone,
            Departure::Died => Why::Died,
            _ => return None,
        })
    }
}
