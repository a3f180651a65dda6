//! etcd for tests: servers and clusters that are started for one test, can be killed, stopped, cut off and
//! inspected, and are removed when they are dropped.
//!
//! Needs `etcd` and `etcdctl` on the path (Debian: `etcd-server`, `etcd-client`), and reports it if they are
//! missing. [`Server`] is one member on loopback, optionally with TLS or users; [`Cluster`] is three, on
//! loopback or each in its own network namespace ([`net`], root only).
//!
//! ```no_run
//! # fn main() -> lockbydir_etcd_lab::Outcome<()> {
//! let mut server = lockbydir_etcd_lab::Server::start()?;
//! let name = server.url("jobs"); // "etcd://127.0.0.1:40123/jobs"
//! server.control(&["put", "greeting", "hello"])?;
//! server.kill()?;
//! server.restart()?; // with the same data, at the same address
//! # Ok(()) }
//! ```
//!
//! This crate knows nothing of locks.

mod certificates;
mod cluster;
mod metrics;
pub mod net;
mod server;

pub use certificates::Certificates;
pub use cluster::Cluster;
pub use server::{Options, Server, User};

/// The result of an operation of the lab. The error describes what failed, and proves nothing about a lock.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
