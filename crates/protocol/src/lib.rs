//! The protocol of lockbydir, as data: entry names, verdicts, and one state machine per verb.
//!
//! A machine asks for one [`Operation`] at a time and is given its [`Answer`] and the time. It
//! uses no file, no clock and no thread: this crate has none. So one executor performs the
//! operations on a real directory, another injects faults, and a model checker runs the same
//! machines.
//!
//! ```
//! use lockbydir_protocol::{Entry, Label};
//!
//! let name = "v1.held.p.1763925000123456.00000000000000000000000007.0.10000.512345.\
//!             963d455590f24dec.effffffa.effffffc.811-12345.web1.backup.sh";
//! let entry = Entry::parse(name).expect("an entry of ours");
//! assert_eq!(entry.label.as_str(), "backup.sh");
//! assert_eq!(entry.to_string(), name);
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acquire;
mod acquisition;
mod entry;
mod evict;
mod inspect;
mod operation;
pub mod promise;
mod queue;
mod release;
mod renew;
mod text;
mod ticket;
mod time;
mod verdict;

pub use acquire::Acquire;
pub use acquisition::{AcquireRequest, AcquiredFrom, Acquisition, Blocker};
pub use entry::{Entry, MAX_NAME, MAX_TOKEN, Nonce, Origin, Owner, Process, State};
pub use evict::{Evict, Eviction};
pub use inspect::{Inspect, View};
pub use operation::{
    Answer, Fault, Foreign, Handoff, Listing, Machine, Observation, Operation, Step, Wake,
    WakeSource,
};
pub use queue::limits::{PACE, PASS_OVER_AFTER};
pub use queue::{Queue, Waited};
pub use release::{Release, Released};
pub use renew::{Renew, RenewRequest, Renewal};
pub use text::{Host, Label, LabelError};
pub use ticket::Ticket;
pub use time::{Now, Stamp, timestamp_granularity};
pub use verdict::{
    CLOCK_SLACK, Evidence, Facts, Liveness, LocalContext, Question, Verdict, Watch, judge,
};

use core::time::Duration;

/// The shortest timeout a lock may have. On a machine with more work than processors, tens of
/// milliseconds can pass between a holder's check of its deadline and the work that it then does; a
/// shorter timeout has no room for a [`margin`] of that length.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest timeout a lock may have: ten years.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Returns by how much a holder's deadline comes before the expiry: the longest of half of the timeout
/// up to 100 ms, a quarter up to 500 ms, and a twentieth up to 1 s. A holder that has read its clock may
/// lose the processor before it acts: on a loaded machine for tens of milliseconds, however short its
/// timeout is.
///
/// The holder's deadline is counted from *before* the call that published its stamp, and is this
/// much earlier than the moment from which others may judge the lock expired.
#[must_use]
pub fn margin(timeout: Duration) -> Duration {
    let part = |divisor, limit| (timeout / divisor).min(Duration::from_millis(limit));
    part(2, 100).max(part(4, 500)).max(part(20, 1000))
}
