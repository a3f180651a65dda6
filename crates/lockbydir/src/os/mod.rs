//! The system calls: one interface, and a folder for each system with the same functions. Nothing
//! else in this library calls the system. Each function on files makes one system call; `syscalls`
//! wraps them, and passes them to a test's world first. This module decides nothing.
//!
//! Each system provides:
//!
//! | file | functions |
//! |---|---|
//! | `files.rs` | [`Handle`], [`Errno`], [`fault`], [`Names`], [`Found`], [`FileUser`], and the calls on files |
//! | `process.rs` | which processes live, and the identity of this one: [`watch`], [`start_of`], [`ProcessHandle`], [`command`], [`fork_generation`], [`boot_id`], [`time_space`], [`pid_space`], [`host`] |
//! | `clock.rs` | [`since_boot`], [`counts_from_boot`] |
//! | `alarm.rs` | [`Alarm`]: wakes a sleeping thread from outside |
//! | `place.rs` | the properties of a folder: [`mount_of`], [`mount_number`], [`is_known`], [`trust`], [`is_removable`]; and what only `doctor` uses: [`flock`] |
//! | `dependents.rs` (Linux) | what another process waits for: [`threads_of`], [`children_of`], [`waits_for_children`], [`open_file_of`] |
//! | `dir_watcher.rs`, or `unsupported.rs` | [`DirWatcher`]: notifies of names that are added to and removed from folders |
//!
//! How a waiter in the queue is woken differs between systems: see `queue`.

mod boot_local;
pub(crate) mod clock;
pub(crate) mod fork_local;
pub(crate) mod process;
pub(crate) mod random;
#[cfg_attr(
    not(feature = "simulated"),
    expect(dead_code, reason = "what describes a call is read by a test's world only")
)]
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

/// The metadata of a file or directory.
pub(crate) struct Metadata {
    pub(crate) kind: FileKind,
    /// When its content was last changed, by the file system's clock; its owner can set this.
    pub(crate) modified: Stamp,
    /// When it was last changed in any way, by the file system's clock; no process can set this.
    pub(crate) changed: Stamp,
    /// The user it belongs to; see [`owner`](Metadata::owner).
    user: FileUser,
    /// Whether users other than its owner may write to it, by its mode.
    pub(crate) is_shared: bool,
    /// Whether its mode denies something to its own owner.
    pub(crate) keeps_owner_out: bool,
    /// Whether its name was removed.
    pub(crate) is_removed: bool,
}

impl Metadata {
    /// Returns its owner. Only this asks who we are.
    pub(crate) fn owner(&self) -> FileOwner {
        self.user.owner()
    }
}

/// The type of a file.
#[cfg_attr(windows, expect(dead_code, reason = "Windows has some of them"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Directory,
    Symlink,
    /// A named pipe.
    Pipe,
    Other,
    /// Not reported: a listing need not include the type.
    Unknown,
}

/// The owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOwner {
    Ours,
    /// Users who may do anything anyway, such as root.
    Administrators,
    /// Another user, by number.
    Strangers(u32),
}

/// The length limit of a name on most file systems, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// The properties of a folder that a lock in it depends on.
pub(crate) struct Folder {
    pub(crate) file_system: FileSystem,
    /// Whether nobody but ourselves and administrators may move what we create in it.
    pub(crate) is_guarded: bool,
}

/// The properties of a file system that a lock depends on.
#[derive(Clone, Copy)]
pub(crate) struct FileSystem {
    /// Whether this kernel alone owns it.
    pub(crate) is_local: bool,
    /// The length limit of a name, in bytes, if the file system reports one.
    pub(crate) longest_name: usize,
}

/// A mounted file system, as the system describes it.
pub(crate) struct Mount {
    /// Its type: `ext4`, `nfs4`, `fuse.sshfs`, ...
    pub(crate) kind: String,
    /// Its source: a device, or a server's folder.
    pub(crate) source: String,
    pub(crate) options: String,
}

/// Who may move the entries of a folder.
pub(crate) struct Trust {
    pub(crate) owner: FileOwner,
    /// Its permissions, if the system has them.
    pub(crate) mode: Option<u32>,
    /// Whether every user may move what belongs to others.
    pub(crate) is_world_writable_without_sticky: bool,
}
