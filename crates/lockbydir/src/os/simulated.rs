//! Faults on demand, for tests of this project only: crash or stop before the n-th change of the
//! file system, a file system without a rename that refuses to replace, and a whole [`World`] that
//! stands between the verbs of one thread and the system.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lockbydir_protocol::{Now, Origin, Process};

use crate::os;
pub use crate::os::Errno;

static CHANGES: AtomicU64 = AtomicU64::new(0);
static CRASH_BEFORE: AtomicU64 = AtomicU64::new(0);
static STOP_BEFORE: AtomicU64 = AtomicU64::new(0);
static NO_REPLACE_MISSING: AtomicBool = AtomicBool::new(false);
static EVERY_MOUNT_KNOWN: AtomicBool = AtomicBool::new(false);
/// Threads that live in a world of a test's making; where there is none, nobody asks further.
static WORLDS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Kills this process before its n-th change from now on, counted from 1.
pub fn crash_before(n: u64) {
    CRASH_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// Stops this process (until somebody continues it) before its n-th change from now on.
pub fn stop_before(n: u64) {
    STOP_BEFORE.store(operations() + n, Ordering::Relaxed);
}

/// How many changes this process has asked the file system for, so far.
pub fn operations() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Behaves as on a file system without a rename that refuses to replace.
pub fn force_no_replace_fallback(on: bool) {
    NO_REPLACE_MISSING.store(on, Ordering::Relaxed);
}

pub(crate) fn is_no_replace_missing() -> bool {
    NO_REPLACE_MISSING.load(Ordering::Relaxed)
}

/// Takes every mount for one that is known to be good: to lock where the quick look would refuse.
pub fn take_mounts_as_known(on: bool) {
    EVERY_MOUNT_KNOWN.store(on, Ordering::Relaxed);
}

pub(crate) fn is_every_mount_known() -> bool {
    EVERY_MOUNT_KNOWN.load(Ordering::Relaxed)
}

/// What kind of raw call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
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
    /// A mode or a group.
    Widen,
    /// A stage renamed to D.
    Install,
    /// Within one directory.
    Rename,
    Unlink,
    RemoveDir,
}

impl Kind {
    /// Does it change what others may see? Calls that do not are questions.
    #[must_use]
    pub fn is_change(self) -> bool {
        use Kind::{Install, MakeDir, MakeFile, MakePipe, RemoveDir, Rename, Unlink, Widen};
        matches!(
            self,
            MakeDir | MakeFile | MakePipe | Widen | Install | Rename | Unlink | RemoveDir
        )
    }
}

/// A raw call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The path, or the name within an open directory; empty where a handle alone says it.
    pub on: &'a Path,
    /// What a rename renames to.
    pub to: Option<&'a Path>,
}

/// All that the verbs of one thread see of the world: what the calls answer, what the clocks say,
/// who they are and who lives. So one thread is one process of a test, on a machine of its own.
pub trait World {
    /// Makes the call by `perform`, or does not, and answers what it likes. "Done" without
    /// performing is a lie that only a change can tell: a question is asked then all the same.
    ///
    /// # Errors
    /// Whatever the test wants.
    fn call(
        &self,
        call: &Call<'_>,
        perform: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno>;

    /// Is the next name left out of a listing, as when it is renamed meanwhile?
    fn is_hidden(&self) -> bool;

    /// Comes back when `is_heard` says so, or at this time of the boot clock, or before.
    fn sleep(&self, until: Duration, is_heard: &mut dyn FnMut() -> bool);

    /// Both clocks.
    fn now(&self) -> Now;

    /// Fresh random bits.
    fn nonce(&self) -> u128;

    /// Does one kernel own the file system?
    fn is_local(&self) -> bool;

    /// How many bytes a name may have there.
    fn longest_name(&self) -> usize {
        crate::os::LONGEST_NAME
    }

    /// Boot, namespaces, process.
    fn here(&self) -> (Origin, Process);

    /// The host's name.
    fn host(&self) -> String;

    /// Is this process of our own PID namespace gone?
    fn is_gone(&self, process: Process) -> bool;
}

/// Does this in such a world; the rest of this thread is real again afterwards.
pub fn within<T>(world: Rc<dyn World>, work: impl FnOnce() -> T) -> T {
    struct End(Option<Rc<dyn World>>);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = WORLD.try_with(|known| known.replace(self.0.take()));
            WORLDS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    WORLDS.fetch_add(1, Ordering::Relaxed);
    let _end = End(WORLD.replace(Some(world)));
    work()
}

/// The world of this thread, where it is not the real one.
pub(crate) fn world() -> Option<Rc<dyn World>> {
    if WORLDS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    WORLD.try_with(|world| world.borrow().clone()).ok().flatten()
}

/// A call that changes nothing.
pub(crate) fn ask<T>(
    kind: Kind,
    on: &Path,
    mut perform: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
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

/// A change of the file system.
pub(crate) fn change(
    kind: Kind,
    on: &Path,
    to: Option<&Path>,
    mut perform: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let nth = CHANGES.fetch_add(1, Ordering::Relaxed) + 1;
    for (at, happen) in [(&CRASH_BEFORE, os::crash as fn()), (&STOP_BEFORE, os::stop)] {
        if nth == at.load(Ordering::Relaxed) {
            happen();
        }
    }
    match world() {
        None => perform(),
        Some(world) => world.call(&Call { kind, on, to }, &mut perform),
    }
}

pub(crate) fn is_hidden() -> bool {
    world().is_some_and(|world| world.is_hidden())
}
