//! Faults on demand, only for the tests of this project: a crash or stop before the n-th change of
//! the file system, a file system without a rename that refuses to replace, and a whole [`World`]
//! between the operations of one thread and the system. Without the feature `simulated` there are no
//! faults: every call goes to the system.

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{Now, Origin, Process};

pub use crate::os::Errno;

#[cfg(feature = "simulated")]
mod faults;
#[cfg(not(feature = "simulated"))]
#[path = "simulated/no_faults.rs"]
mod faults;

pub(crate) use faults::{before_change, count, is_every_mount_known, is_no_replace_missing, world};
#[cfg(feature = "simulated")]
pub use faults::{
    calls, crash_before, force_no_replace_fallback, operations, stop_before, take_mounts_as_known,
    within,
};

/// The kind of a raw call. A test's [`World`] sees the calls up to [`RemoveDir`](Kind::RemoveDir);
/// it answers the others in ways of its own, and they are only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "simulated", expect(missing_docs, reason = "the names say it"))]
pub enum Kind {
    Open,
    List,
    Stat,
    Read,
    Write,
    Thread,
    MakeDir,
    MakeFile,
    MakePipe,
    /// A change of a mode or a group.
    Widen,
    /// A rename of a stage to the lock directory.
    Install,
    /// A rename within one directory.
    Rename,
    Unlink,
    RemoveDir,
    /// A question for the properties of a folder.
    Folder,
    Random,
    /// A sleep until something happens.
    Sleep,
    /// A question for the start time of a process: some reads in `/proc`.
    Identity,
    /// A question whether a process lives, which may give a handle on it: some calls, of which some read
    /// in `/proc`.
    Liveness,
}

impl Kind {
    /// All kinds.
    #[cfg(feature = "simulated")]
    pub const ALL: [Kind; 19] = [
        Kind::Open,
        Kind::List,
        Kind::Stat,
        Kind::Read,
        Kind::Write,
        Kind::Thread,
        Kind::MakeDir,
        Kind::MakeFile,
        Kind::MakePipe,
        Kind::Widen,
        Kind::Install,
        Kind::Rename,
        Kind::Unlink,
        Kind::RemoveDir,
        Kind::Folder,
        Kind::Random,
        Kind::Sleep,
        Kind::Identity,
        Kind::Liveness,
    ];

    /// Returns true if the call changes what others may see. Other calls are queries.
    #[must_use]
    pub fn is_change(self) -> bool {
        use Kind::{Install, MakeDir, MakeFile, MakePipe, RemoveDir, Rename, Unlink, Widen};
        matches!(
            self,
            MakeDir | MakeFile | MakePipe | Widen | Install | Rename | Unlink | RemoveDir
        )
    }
}

/// A raw call before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The path, or the name within an open directory; empty if a handle alone identifies the
    /// object.
    pub on: &'a Path,
    /// The new name of a rename.
    pub to: Option<&'a Path>,
}

/// Everything that the operations of one thread see of the system: the answers of calls, the
/// clocks, the identity of the process, and which processes live. So one thread of a test acts as
/// one process on a machine of its own.
pub trait World {
    /// Makes the call with `perform`, or does not, and returns any answer. `Ok` without a call of
    /// `perform` is a lie that only a change can tell: a query is then performed all the same.
    ///
    /// # Errors
    /// Any error that the test chooses.
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno>;

    /// Returns true if the next name is left out of a listing, as if it was renamed meanwhile.
    fn is_hidden(&self) -> bool;

    /// Returns when `is_heard` returns true, or at this time of the boot clock, or earlier.
    fn sleep(&self, until: Duration, is_heard: &mut dyn FnMut() -> bool);

    /// Returns both clocks.
    fn now(&self) -> Now;

    /// Returns fresh random bits.
    fn nonce(&self) -> u128;

    /// Returns true if this kernel alone owns the file system.
    fn is_local(&self) -> bool;

    /// Returns how many bytes a name may have on the file system.
    fn longest_name(&self) -> usize {
        crate::os::LONGEST_NAME
    }

    /// Returns the boot, namespaces and process.
    fn here(&self) -> (Origin, Process);

    /// Returns the host's name.
    fn host(&self) -> String;

    /// Returns true if this process of our own PID namespace is gone.
    fn is_gone(&self, process: Process) -> bool;
}

/// Makes a call that changes nothing.
pub(crate) fn ask<T>(
    kind: Kind,
    on: &Path,
    mut perform: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    count(kind);
    let Some(world) = world() else {
        return perform();
    };
    let mut answer = None;
    let call = Call { kind, on, to: None };
    world.call(&call, &mut || {
        answer = Some(perform()?);
        Ok(())
    })?;
    answer.map_or_else(perform, Ok)
}

/// Makes a call that changes the file system.
pub(crate) fn change(
    kind: Kind,
    on: &Path,
    to: Option<&Path>,
    mut perform: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    count(kind);
    before_change();
    match world() {
        None => perform(),
        Some(world) => world.call(&Call { kind, on, to }, &mut perform),
    }
}

pub(crate) fn is_hidden() -> bool {
    world().is_some_and(|world| world.is_hidden())
}
