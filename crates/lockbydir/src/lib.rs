//! Locking across processes by the existence and age of a directory.
//!
//! A lock is held while its directory, `NAME.lockdir`, exists and is recent. The holder's
//! **timeout** is stored in the lock, and every process obeys it; a waiter has **patience**. An
//! expired or dead holder is replaced atomically. Each holding has a growing number, its **token**.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let name = folder.path().join("jobs");
//! use std::time::Duration;
//! use lockbydir::{How, Lock};
//!
//! let lock = Lock::new(&name).timeout(Duration::from_secs(10)).label("nightly");
//! let guard = lock.acquire()?; // waits 30 s at most by default
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
//! A name like `etcd://host:2379/jobs` is a lock without a directory: another [engine] keeps it,
//! which must be registered first, like that of the crate `lockbydir-etcd`.
//!
//! # Promises
//! - There are never two valid holders: a guard counts its deadline from before the call that
//!   published it, on a clock that runs during suspend, less a margin; others take a lock over only
//!   after that.
//! - Every change of a lock is one rename or unlink of a name that is never used again.
//! - Waiters are served in arrival order; the threads and tasks of a process queue among
//!   themselves. If the first waiter does not take a free lock, the lock goes to the next: within
//!   0.3 s in a short queue, within 10.2 s in the longest one.
//! - When a holder dies, its lock is free at once for those who can see its process, and after its
//!   timeout for all others.
//!
//! # Pitfalls
//! - A timeout that is shorter than the work: renew (see [`Lock::renew_automatically`]) and check
//!   [`Guard::is_held`] before anything that must not happen twice, or pass [`Guard::token`] to the
//!   store.
//! - Breaking a lock by force makes two holders if the old one continues its work.
//! - NFS exported `async` may undo acknowledged renames in a power failure; no protocol can prevent
//!   that.
//! - A forked child does not hold its parent's lock: its copy of the guard is not held and does
//!   nothing.
//! - A process that is checkpointed and restored (CRIU) counts as dead for the locks that it held.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

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
mod trace;
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../tests/README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../tests/rust.md")]
mod book {}
mod waiter;
mod waiting;

pub use error::{Error, ErrorKind, LostReason};
pub use folder::{clean, list};
pub use foreign::{ForeignKind, ForeignThing};
pub use guard::Guard;
pub use interrupt::Interrupt;
pub use key::Key;
pub use lock::Lock;
pub use lockbydir_protocol::{MAX_TIMEOUT, MIN_TIMEOUT, Nonce};
#[doc(hidden)]
pub use os::simulated;
pub use printable::is_printable;
pub use settings::Owner;
pub use status::{Broken, Holder, How, Predecessor, State, Status, Ticket, printable};
pub use waiting::{Patience, Waiting};
