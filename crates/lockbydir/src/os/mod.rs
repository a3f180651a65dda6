//! The system's own calls: the one contract, and a folder for each system with the same functions.
//! Nothing else in this library calls the system. Each call on files is one call of the system;
//! `call` makes them, and shows them to tests first. Decides nothing.
//!
//! What a system has:
//!
//! | file | functions |
//! |---|---|
//! | `files.rs` | [`Handle`], [`Errno`], [`fault`], [`Names`], [`Found`], and the calls on files |
//! | `process.rs` | who lives and where we are: [`start_of`], [`is_gone`], [`ProcessHandle`], [`command`], [`fork_generation`], [`boot_id`], [`time_space`], [`pid_space`], [`host`] |
//! | `clock.rs` | [`since_boot`], [`counts_from_boot`] |
//! | `alarm.rs` | [`Alarm`]: wakes a sleeping thread from outside |
//! | `place.rs` | what a place is like: [`mount_of`], [`mount_number`], [`is_known`], [`trust`], [`is_removable`]; what only `doctor` tries: [`flock`] |
//! | `ears.rs`, or `deaf.rs` | [`DirWatcher`]: hears of what comes and goes in folders |
//!
//! How one who queues is woken is another matter on each system: see `queue`.

pub(crate) mod clock;
pub(crate) mod fork_local;
pub(crate) mod process;
pub mod simulated;
pub(crate) mod syscalls;

use lockbydir_protocol::Stamp;

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::*;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

/// What is known of a thing in the file system.
pub(crate) struct Metadata {
    pub(crate) kind: FileKind,
    /// When what it holds was last changed, by the file system's clock; its owner may set this.
    pub(crate) modified: Stamp,
    /// When it was last changed in any way, by the file system's clock; no process can set this.
    pub(crate) changed: Stamp,
    pub(crate) owner: FileOwner,
    /// May others than its owner write to it, as far as its mode says?
    pub(crate) is_shared: bool,
    /// Does its mode deny something to its own owner?
    pub(crate) keeps_owner_out: bool,
    /// Has it lost its name?
    pub(crate) is_removed: bool,
}

/// What kind of thing it is.
#[cfg_attr(windows, expect(dead_code, reason = "Windows has some of them"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Directory,
    Symlink,
    /// A named pipe.
    Pipe,
    Other,
    /// A listing need not tell.
    Unknown,
}

/// Whom a thing belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOwner {
    Ours,
    /// Those who may do anything anyway.
    Administrators,
    /// Another user's, and the number of that one.
    Strangers(u32),
}

/// How many bytes a name has at most on most file systems.
pub(crate) const LONGEST_NAME: usize = 255;

/// What a lock must know of a file system.
pub(crate) struct FileSystem {
    /// Does this kernel alone own it?
    pub(crate) is_local: bool,
    /// How many bytes a name may have there, as far as it says.
    pub(crate) longest_name: usize,
}

/// A file system, as the system tells of it.
pub(crate) struct Mount {
    /// What kind: `ext4`, `nfs4`, `fuse.sshfs`, ...
    pub(crate) kind: String,
    /// What it is made of: a device, a server's folder.
    pub(crate) source: String,
    pub(crate) options: String,
}

/// Who may move what is in a folder.
pub(crate) struct Trust {
    pub(crate) owner: FileOwner,
    /// Its permissions, where there are such.
    pub(crate) mode: Option<u32>,
    /// May everybody move what belongs to others?
    pub(crate) is_world_writable_without_sticky: bool,
}
