//! Locking across processes by the existence and age of a directory.
//!
//! `NAME.lockdir` exists and is recent = locked. The holder's **timeout** lives in the lock and
//! all obey it; the waiter has **patience**; an expired or dead holder is replaced atomically; each
//! holding has a growing number, its **token**.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let name = folder.path().join("jobs");
//! use std::time::Duration;
//! use lockbydir::{How, Lock};
//!
//! let lock = Lock::new(&name).timeout(Duration::from_secs(10)).label("nightly");
//! let guard = lock.acquire()?; // waits 30 s at most, unless told otherwise
//! match guard.how() {
//!     How::AfterExpiry(before) | How::AfterDeath(before) => {
//!         println!("repair what {before} left half done");
//!     }
//!     _ => {}
//! }
//! println!("fenced by {}", guard.token());
//! guard.release()?; // or drop it, or keep it
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! A name like `etcd://host:2379/jobs` is a lock without a directory, kept by another
//! [engine] that was registered before, like that of the crate `lockbydir-etcd`.
//!
//! # Promises
//! - Never two valid holders: a guard counts its deadline from before the call that published
//!   it, on a clock that runs in suspend, less a margin; others take a lock over only after it.
//! - Every change of a lock is one rename or unlink of a name that never returns.
//! - Waiters are served in the order in which they came, threads and tasks of a process among
//!   themselves; a free lock that the first does not take goes to the next: within 0.3 s where few wait,
//!   within 10.2 s in the longest queue.
//! - A holder that dies frees its lock at once to those who can see its process, and to all
//!   others after its timeout.
//!
//! # Pitfalls
//! - A timeout shorter than the work: renew (see [`Lock::renew_automatically`]) and check
//!   [`Guard::is_held`] before what must not happen twice, or give [`Guard::token`] to the store.
//! - Breaking by force makes two holders if the old one goes on.
//! - NFS exported `async` undoes acknowledged renames in a power cut; no protocol helps.
//! - A forked child does not hold its parent's lock: its copy of the guard is not held and does
//!   nothing.
//! - A process that is checkpointed and restored (CRIU) counts as dead for the locks that it held.

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod directory;
pub mod doctor;
pub mod engine;
mod error;
mod folder;
mod foreign;
mod guard;
mod hold;
mod interrupt;
mod key;
mod local_queue;
mod lock;
pub mod observe;
mod os;
mod printable;
mod renewer;
mod settings;
mod status;
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
mod waiter;

pub use error::{Error, ErrorKind, LostReason};
pub use folder::{clean, list};
pub use foreign::{ForeignKind, ForeignThing};
pub use guard::Guard;
pub use interrupt::Interrupt;
pub use key::Key;
pub use lock::Lock;
pub use lockbydir_protocol::{MAX_TIMEOUT, MIN_TIMEOUT};
#[doc(hidden)]
pub use os::simulated;
pub use printable::is_printable;
pub use settings::Owner;
pub use status::{Broken, Holder, How, Predecessor, State, Status, Ticket, printable};
pub use waiter::{Patience, Waiting};
