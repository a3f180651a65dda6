//! Locking across processes by the existence and age of a directory.
//!
//! A lock is held while its directory, `NAME.lockdir`, exists and is recent. The holder's
//! **timeout** is stored in the lock, and every process obeys it; a waiter has **patience**. An
//! expired or dead holder is replaced atomically. Each holding has a growing number, its **token**.
//!
//! # One at a time
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let name = folder.path().join("jobs");
//! use lockbydir::{How, Lock};
//!
//! let guard = Lock::new(&name).label("nightly").acquire()?; // waits 30 s at most by default
//! if let How::AfterExpiry(before) | How::AfterDeath(before) = guard.how() {
//!     println!("repair what {before} left half done");
//! }
//! println!("fenced by {}", guard.token());
//! guard.release()?; // or drop it, or keep it
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! The lock is renewed, for 10 s at a time, as long as this process and the guard live.
//!
//! # One try
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let name = folder.path().join("jobs");
//! let lock = lockbydir::Lock::new(&name);
//! match lock.try_acquire()? {
//!     Some(guard) => {
//!         assert!(guard.is_held()); // the work
//!     }
//!     None => println!("busy: {:?}", lock.status()?.holder),
//! }
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! # A fixed time, and a report when it is over
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # let name = folder.path().join("jobs");
//! use std::time::Duration;
//!
//! let lock = lockbydir::Lock::new(&name)
//!     .timeout(Duration::from_secs(60))
//!     .patience(Duration::from_secs(5))
//!     .on_lost(|error| eprintln!("stop the work: {error}"));
//! let guard = lock.acquire()?;
//! # drop(guard);
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! In async code: `Lock::acquire_async`, with the feature `tokio`.
//!
//! # Several machines
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
//! - A [timeout](Lock::timeout) that is shorter than the work: leave it out, so that the lock is
//!   renewed. Check [`Guard::is_held`] before anything that must not happen twice, or pass
//!   [`Guard::token`] to the store: a paused process may wake up after its lock was lost.
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
mod io_error;
mod key;
mod local_queue;
mod lock;
pub mod observe;
#[cfg_attr(
    not(feature = "simulated"),
    expect(unreachable_pub, reason = "exported for tests only, with `simulated`")
)]
mod os;
mod printable;
mod reentrant;
mod renewer;
mod semaphore;
mod settings;
mod several;
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
#[cfg(feature = "simulated")]
#[doc(hidden)]
pub use os::simulated;
pub use printable::is_printable;
pub use semaphore::{MAX_SLOTS, Semaphore};
pub use settings::Owner;
#[cfg(feature = "tokio")]
pub use several::acquire_all_async;
pub use several::{Guards, acquire_all};
pub use status::{Broken, Holder, How, Predecessor, Readers, State, Status, Ticket, printable};
pub use waiting::{Patience, Waiting};
