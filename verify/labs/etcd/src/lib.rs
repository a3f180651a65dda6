//! etcd for tests: servers and clusters that are started for one test, killed, stopped, cut off and
//! looked into, and gone when they are dropped.
//!
//! It wants `etcd` and `etcdctl` on the path (Debian: `etcd-server`, `etcd-client`), and says so
//! when they are not there. [`Server`] is one member on loopback, with TLS or users if wished;
//! [`Cluster`] is three, on loopback or each in a network namespace of its own ([`net`], root only).
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
//! Nothing here knows of locks.

mod certificates;
mod cluster;
mod metrics;
pub mod net;
mod server;

pub use certificates::Certificates;
pub use cluster::Cluster;
pub use server::{Options, Server, User};

/// What may go wrong: it says what, and says nothing about a lock.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
