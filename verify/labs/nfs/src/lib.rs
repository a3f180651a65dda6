//! NFS between real hosts, for tests: a kernel's NFS server and two clients, which are three guests in QEMU,
//! each with its own kernel, boot id, clocks and caches.
//!
//! They share nothing but a network, which is a [`switch`](Switch) of this crate: it can drop frames and
//! cut guests off. Programs of this machine run in them ([`Process`]), because they have its libraries. A
//! guest can be killed, frozen, thawed and booted again ([`Guest`]); everything is removed when the [`Lab`]
//! is dropped.
//!
//! Needs QEMU, and the programs listed in [`parts`]: on Debian `qemu-system-x86`, `busybox-static`, `cpio`,
//! `e2fsprogs`. The guests' kernel and NFS programs are fetched by `apt-get download`, kept in
//! `target/nfs-lab`, and never installed. Neither root nor KVM is needed.
//! ```no_run
//! # fn main() -> lockbydir_nfs_lab::Outcome<()> {
//! use lockbydir_nfs_lab::{Lab, Name, Options};
//!
//! let lab = Lab::start(&Options::default())?;
//! lab.mount("vers=4.2")?;
//! lab.guest(Name::Client1).shell("touch /n/here")?;
//! assert_eq!(lab.guest(Name::Client2).shell("ls /n")?, "here\n");
//! lab.guest(Name::Server).kill()?;
//! lab.boot(Name::Server)?; // with the same disk
//! # Ok(()) }
//! ```
//!
//! This crate knows nothing of locks.

pub mod agent;
pub mod clock;
mod guest;
mod image;
mod lab;
pub mod parts;
mod remote;
mod switch;
mod wire;

pub use guest::{Guest, Name};
pub use lab::{Lab, MOUNTED, Options};
pub use remote::{Ended, Mouth, Process, Sink};
pub use switch::Switch;

/// The result of an operation of the lab. The error describes what failed, and proves nothing about a lock.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
