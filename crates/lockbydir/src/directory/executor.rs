//! The executor, which performs the protocol's operations on a real directory and decides nothing.
//! It follows no symbolic link, and removes things only by the exact name that an operation
//! carries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lockbydir_protocol::{
    Answer, Entry, Fault, Host, LocalContext, Machine, Nonce, Operation, Stamp, Step,
};

use crate::os::syscalls::{
    about, about_path, create_locally_at, createat, fchmod, fchown, folder_at, is_removable,
    list_of, mkdir, open_to_change, open_to_list, open_to_list_at, rename, rename_new, renameat,
    rmdir, rmdirat, unlink, unlinkat,
};
use crate::os::{self, Errno, FileOwner, FileSystem, Folder, Found, Handle, Metadata, fault};
use crate::os::{clock, process, simulated};

/// The ending of a lock directory's name.
pub(crate) const EXTENSION: &str = ".lockdir";

/// A lock directory: its path, and how to create it.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Permissions of what we create.
    mode: u32,
    /// Group of what we create.
    group: Option<u32>,
    /// Whether the mode that its creator gave it is enough to treat it as shared on purpose. This
    /// is enough for looking only.
    pub(crate) only_looks: bool,
    /// Determined once per value of this type, which is once per holding.
    surroundings: OnceLock<Surroundings>,
    /// Set when we have made the directory that is at the path.
    is_made_by_us: OnceLock<()>,
}

/// Where the directory is.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    here: LocalContext,
    /// Whether nobody but ourselves and administrators may move what is in its folder, and this kernel
    /// alone owns it.
    is_guarded: bool,
}

/// Handles that one run of a machine keeps open from one operation to a later one.
#[derive(Default)]
pub(crate) struct OpenHandles {
    /// The handle through which the lock directory was emptied. What it reports is true of that
    /// very directory, provided that no other kernel can change it.
    emptied: Option<Handle>,
    /// What that handle has reported since. Only for the operation that follows.
    since_emptied: Option<Metadata>,
    /// The directory that we have staged, and that is the lock directory if it is installed by now.
    staged: Option<Handle>,
    /// The bell; closing it rings it.
    #[cfg(unix)]
    pub(crate) bell: Option<Handle>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf, mode: u32, group: Option<u32>) -> Directory {
        Directory {
            path,
            mode,
            group,
            only_looks: false,
            surroundings: OnceLock::new(),
            is_made_by_us: OnceLock::new(),
        }
    }

    /// Returns the same directory, for looking only.
    pub(crate) fn only_looking(self) -> Directory {
        Directory { only_looks: true, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if there is anything at its path.
    pub(crate) fn is_there(&self) -> bool {
        about_path(&self.path).is_ok()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn surroundings(&self) -> &Surroundings {
        self.surroundings.get_or_init(|| {
            let Folder { file_system, is_guarded } = folder_at(self.folder());
            let FileSystem { is_local, longest_name } = file_system;
            let host = Host::new(&process::host());
            let origin = process::here().0;
            let booted = process::booted();
            let here = LocalContext { origin, is_local, booted, host, longest_name };
            Surroundings { here, is_guarded: is_local && is_guarded }
        })
    }

    /// Returns our context as a judge of this directory's entries.
    pub(crate) fn here(&self) -> LocalContext {
        self.surroundings().here
    }

    /// Returns the same directory with names limited to `longest` bytes, as found on its file
    /// system.
    pub(crate) fn with_names_of(self, longest: usize) -> Directory {
        let Surroundings { here, is_guarded } = *self.surroundings();
        let here = LocalContext { longest_name: here.longest_name.min(longest), ..here };
        Directory { surroundings: Surroundings { here, is_guarded }.into(), ..self }
    }

    /// Returns by how many bytes the longest name that is created beside it exceeds the file
    /// system's limit.
    pub(crate) fn excess_of_name(&self) -> usize {
        let longest = self.stage_path(Nonce(0));
        let length = longest.file_name().map_or(0, |name| name.len());
        length.saturating_sub(self.here().longest_name)
    }

    /// Runs a machine to its end.
    pub(crate) fn run<M: Machine>(&self, machine: &mut M) -> M::Outcome {
        let mut step = machine.start(clock::now());
        let mut kept = OpenHandles::default();
        loop {
            match step {
                Step::Finished(outcome) => return outcome,
                Step::Perform(operation) => {
                    let answer = self.perform(&operation, &mut kept);
                    step = machine.resume(clock::now(), answer);
                }
            }
        }
    }

    /// Performs one operation.
    pub(crate) fn perform(&self, operation: &Operation, kept: &mut OpenHandles) -> Answer {
        let since_emptied = kept.since_emptied.take();
        let done = match operation {
            Operation::Look => return self.look(),
            Operation::AskLiveness(owner) => return Answer::Liveness(process::life(*owner)),
            Operation::ReadFileClock => {
                return match self.file_clock() {
                    Ok(stamp) => Answer::FileClock(stamp),
                    Err(errno) => Answer::Failed(fault(errno)),
                };
            }
            // We could write in its folder when we made it, and it is ours.
            Operation::AskRemovable if self.is_made_by_us.get().is_some() => {
                return Answer::Removable(true);
            }
            Operation::AskRemovable => {
                return match is_removable(&self.path, self.folder()) {
                    Ok(may) => Answer::Removable(may),
                    Err(errno) => Answer::Failed(fault(errno)),
                };
            }
            // A missing folder is not a lost race.
            Operation::Stage(entry) => match self.stage(entry) {
                Err(Errno::NOENT) => return no_place(Errno::NOENT),
                done => done.map(|stage| kept.staged = self.keeps(stage)),
            },
            Operation::Install(entry) => {
                let installed = self.install(&self.stage_of(entry));
                match installed {
                    Ok(()) => drop(self.is_made_by_us.set(())),
                    Err(_) => kept.staged = None,
                }
                installed
            }
            Operation::Unstage(entry) => self.unstage(entry),
            Operation::Rename(from, to) => self.rename(from, to, kept),
            Operation::Unlink(entry) => return self.unlink(entry, kept),
            Operation::RemoveDir(stamp) => return self.remove(*stamp, kept, since_emptied),
            Operation::Reopen(entry) => self.reopen(entry, kept),
            on_queue => return self.perform_on_queue(on_queue, kept),
        };
        match done {
            Ok(()) => Answer::Done(None),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    fn stage_path(&self, nonce: Nonce) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(format!(".{nonce}"));
        PathBuf::from(path)
    }

    /// Each attempt uses a stage of its own: a stage that an earlier attempt of the same
    /// acquisition could not remove neither blocks it nor is installed in its place.
    fn stage_of(&self, entry: &Entry) -> PathBuf {
        self.stage_path(Nonce(entry.nonce.0.wrapping_add(entry.renewals.into())))
    }

    fn stage(&self, entry: &Entry) -> Result<Handle, Errno> {
        let stage = self.stage_of(entry);
        mkdir(&stage, self.mode)?;
        self.fill(&stage, entry).inspect_err(|_| {
            let _ = unlink(&stage.join(entry.to_string()));
            let _ = rmdir(&stage);
        })
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// Opens the directory that we have just made. Where any user may move directories, another one
    /// may be in its place by now, perhaps full of somebody's files: a directory that contains
    /// anything except `ours` is not used.
    pub(crate) fn open_made(&self, made: &Path, ours: fn(&Found) -> bool) -> Result<Handle, Errno> {
        let fd = open_to_list(made)?;
        let about = about(&fd)?;
        if self.other_user(&about).is_some() {
            return Err(Errno::PERM);
        }
        if about.keeps_owner_out {
            // The umask has removed our own permissions.
            fchmod(&fd, self.mode)?;
        }
        for found in list_of(&fd)? {
            if !ours(&found?) {
                return Err(Errno::PERM);
            }
        }
        Ok(fd)
    }

    /// Gives what we have just made the requested mode and group: the umask must not narrow what is
    /// shared on purpose.
    pub(crate) fn widen_open(&self, made: &Handle, mode: u32) -> Result<(), Errno> {
        if self.mode != 0o700 {
            fchmod(made, mode)?;
        }
        if let Some(group) = self.group {
            fchown(made, group)?;
        }
        Ok(())
    }

    /// Creates the entry in the stage that we have just made, and returns the stage's handle.
    fn fill(&self, stage: &Path, entry: &Entry) -> Result<Handle, Errno> {
        let create = |stage: &Handle| {
            self.widen_open(stage, self.mode)?;
            self.create_in(stage, entry)
        };
        if !self.surroundings().is_guarded {
            let stage = self.open_made(stage, |_| false)?;
            return create(&stage).map(|()| stage);
        }
        // Nobody can have put another directory in its place.
        let stage = open_to_list(stage)?;
        match create(&stage) {
            // The umask has removed our own permissions.
            Err(Errno::ACCESS) => {
                fchmod(&stage, self.mode)?;
                create(&stage)?;
            }
            done => done?,
        }
        Ok(stage)
    }

    fn create_in(&self, dir: &Handle, entry: &Entry) -> Result<(), Errno> {
        let create = if self.here().is_local { create_locally_at } else { createat };
        create(dir, entry.to_string().as_ref(), self.mode & 0o666)
    }

    /// Returns the handle of a stage if it may stay open: what it shows is true of that very
    /// directory where no other kernel can change it, and a directory that is open can be renamed.
    fn keeps(&self, stage: Handle) -> Option<Handle> {
        (self.here().is_local && os::RENAMES_OPEN_DIRECTORIES).then_some(stage)
    }

    fn install(&self, stage: &Path) -> Result<(), Errno> {
        let whole = if simulated::is_no_replace_missing() {
            Err(Errno::INVAL)
        } else {
            rename_new(stage, &self.path)
        };
        match whole {
            // The file system has no such call. A plain rename refuses to replace a directory that
            // is not empty, so it can only replace an empty one: check for that just before.
            Err(errno) if os::is_no_such_call(errno) => match about_path(&self.path) {
                Err(Errno::NOENT) => rename(stage, &self.path),
                Ok(_) => Err(Errno::EXIST),
                Err(errno) => Err(errno),
            },
            done => done,
        }
    }

    fn unstage(&self, entry: &Entry) -> Result<(), Errno> {
        let stage = self.stage_of(entry);
        let name = entry.to_string();
        match unlink(&stage.join(&name)) {
            Ok(()) => rmdir(&stage),
            Err(Errno::NOENT) => {
                // Some servers refuse the rename by moving the stage inside.
                let inside = self.path.join(stage.file_name().unwrap_or_default());
                unlink(&inside.join(&name))?;
                rmdir(&inside)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Renames an entry. The directory that we have installed need not be opened anew: if another one
    /// is at the path by now, ours is empty, and the entry is found missing.
    fn rename(&self, from: &Entry, to: &Entry, kept: &mut OpenHandles) -> Result<(), Errno> {
        let fd = kept.staged.take().map_or_else(|| open_to_change(&self.path), Ok)?;
        renameat(&fd, from.to_string().as_ref(), to.to_string().as_ref())
    }

    fn unlink(&self, entry: &Entry, kept: &mut OpenHandles) -> Answer {
        let mut unlink = || {
            let fd = open_to_change(&self.path)?;
            unlinkat(&fd, entry.to_string().as_ref())?;
            kept.since_emptied = about(&fd).ok();
            kept.emptied = Some(fd);
            Ok(kept.since_emptied.as_ref().map(|about| about.changed))
        };
        match unlink() {
            Ok(stamp) => Answer::Done(stamp),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// Looks once more through a handle, then calls `rmdir`, which the kernel refuses unless the
    /// directory is empty. What was seen after the unlink is that look, if nothing came between.
    fn remove(
        &self,
        stamp: Stamp,
        kept: &mut OpenHandles,
        since_emptied: Option<Metadata>,
    ) -> Answer {
        let remove = || {
            // If another kernel may change the lock directory, only a handle that is opened anew
            // sees the change.
            let about = match (since_emptied, &kept.emptied) {
                (Some(about), _) if self.here().is_local => about,
                (None, Some(fd)) if self.here().is_local => about(fd)?,
                _ => about(&open_to_change(&self.path)?)?,
            };
            if about.is_removed {
                return Err(Errno::NOENT);
            }
            if about.changed != stamp {
                return Err(Errno::NOTEMPTY);
            }
            rmdir(&self.path)
        };
        match remove() {
            Ok(()) => {
                // On Windows its name may remain while a handle to it is open.
                kept.emptied = None;
                Answer::Done(None)
            }
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// Creates an entry in the very directory that was emptied.
    fn reopen(&self, entry: &Entry, kept: &OpenHandles) -> Result<(), Errno> {
        let fd = kept.emptied.as_ref().ok_or(Errno::NOENT)?;
        self.create_in(fd, entry)
    }

    /// Returns the time of the file system's own clock: the stamp of something just made beside the
    /// lock.
    fn file_clock(&self) -> Result<Stamp, Errno> {
        if self.here().is_local {
            let wall = clock::now().wall.as_nanos();
            return Ok(Stamp(i128::try_from(wall).unwrap_or(i128::MAX)));
        }
        let probe = self.stage_path(crate::os::random::nonce());
        mkdir(&probe, 0o700)?;
        let made = about_path(&probe);
        rmdir(&probe)?;
        Ok(made?.changed)
    }
}

/// Removes a stage that a crashed attempt may have left beside its lock. It is judged as its lock
/// would be, and removed if its creator is gone.
pub(crate) fn remove_stage(
    parent: &Handle,
    name: &Path,
    gone: impl Fn(Option<&Entry>, Stamp) -> bool,
) -> bool {
    let removed = || {
        let fd = open_to_list_at(parent, name)?;
        let about = about(&fd)?;
        if about.owner() != FileOwner::Ours {
            return Err(Errno::PERM);
        }
        let mut inside = None;
        for found in list_of(&fd)? {
            let found = found?;
            let entry = found.text().and_then(Entry::parse);
            match entry {
                Some(entry) if inside.is_none() => inside = Some(entry),
                _ => return Err(Errno::NOTEMPTY),
            }
        }
        if !gone(inside.as_ref(), about.modified) {
            return Err(Errno::BUSY);
        }
        if let Some(entry) = &inside {
            unlinkat(&fd, entry.to_string().as_ref())?;
        }
        rmdirat(parent, name)
    };
    removed().is_ok()
}

fn no_place(errno: Errno) -> Answer {
    Answer::Failed(Fault::NoPlace { code: errno.raw_os_error() })
}
