//! The lock of lockbydir on etcd, for locks that several machines share: the same [`Lock`], with
//! `etcd://` in front of its name.
//!
//! ```no_run
//! use lockbydir::Lock;
//!
//! lockbydir_etcd::register(lockbydir_etcd::Access::from_env()); // once, at the program's start
//!
//! let lock = Lock::new("etcd://host1:2379,host2:2379,host3:2379/jobs");
//! let guard = lock.acquire()?; // renewed until it is released
//! println!("fenced by {}", guard.token());
//! guard.release()?;
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! # Differences from a lock directory
//! - A timeout is a lease of etcd: whole seconds, rounded up, and at least what the servers allow
//!   (2 s where their election timeout is the usual 1 s). [`Guard::timeout`](lockbydir::Guard)
//!   returns the granted timeout.
//! - The token is a revision of the cluster: it only grows, so a lock is always fenced.
//! - A holder whose process died is replaced at once by waiters on its own machine, and by all
//!   others when its lease ends.
//! - A process keeps one lease for its next acquisition, for at most 10 s. [`settle`] revokes it at
//!   the end of a program; else it expires.
//! - Waiters are in the same queue as those of `etcdctl lock NAME.lockdir`, and both exclude each
//!   other.
//! - [`Lock::linger`] and [`Lock::poll_interval`] do nothing.
//!
//! # Features
//! - `tls` (on by default): encrypted connections. Without it, a fifth of the dependencies and the C
//!   compiler for their build are not needed, and a lock whose address asks for TLS cannot be acquired.
//! - `tokio`: [`Lock::acquire_async`](lockbydir::Lock), for async code.
//!
//! # Pitfalls
//! - Servers older than 3.4.38, 3.5.23 or 3.6.5 have known faults in their leases. The lock guards
//!   against them; for that it may wait for up to one timeout more before it takes over from a holder
//!   on another machine that did not release.
//! - While a majority of the servers is gone, nobody acquires and nobody renews: the loss is reported
//!   to a holder before its deadline.
//!
//! [`Lock`]: lockbydir::Lock
//! [`Lock::linger`]: lockbydir::Lock::linger
//! [`Lock::poll_interval`]: lockbydir::Lock::poll_interval
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acquire;
mod address;
#[doc(hidden)]
pub mod api;
mod cluster;
mod contender;
mod engine;
mod error;
mod holding;
mod kept;
mod keys;
mod lease;
mod pending;
mod runtime;
mod version_check;
mod watch;

pub use address::Access;
#[doc(hidden)]
pub use engine::calls;
pub use engine::register;
pub use pending::settle;
pub use version_check::on_warning;

/// Returns fresh random bits from the kernel.
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    u128::from_ne_bytes(bytes)
}
