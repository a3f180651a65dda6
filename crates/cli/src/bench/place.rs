//! The place of the measures: a fresh folder in the user's folder, removed at the end; and a
//! description of the machine. Nothing is measured here.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use lockbydir::printable;
use rustix::fs::{Mode, OFlags};

use crate::exit::{CANNOT_MAKE, DENIED, Failure, IO};

/// The folder of one run, which contains everything that the run makes.
pub(super) struct Place {
    /// The folder that the user named, as an absolute path.
    parent: PathBuf,
    folder: PathBuf,
    /// Opened when it was made: if others may move directories here, another may be in its place by now.
    made: fs::File,
}

impl Place {
    pub(super) fn new(dir: &Path) -> Result<Place, Failure> {
        let cannot = |error: io::Error| {
            let code = match error.kind() {
                ErrorKind::PermissionDenied => DENIED,
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::InvalidInput => CANNOT_MAKE,
                _ => IO,
            };
            let hint = match error.kind() {
                ErrorKind::NotFound => "; make the folder first, or name another one",
                ErrorKind::NotADirectory => "; name a folder, not a file",
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    "; name a folder that you may write in"
                }
                _ => "",
            };
            Failure::new(code, format!("cannot measure in {}: {error}{hint}", printable(dir)))
        };
        let parent = fs::canonicalize(dir).map_err(cannot)?;
        for nth in 0..1000 {
            let folder = parent.join(format!("lockbydir-bench.{}.{nth}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    let made = just_made(&folder).map_err(cannot)?;
                    return Ok(Place { parent, folder, made });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        Err(cannot(ErrorKind::AlreadyExists.into()))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    /// Removes the folder and its contents. All workers in it must have ended.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match empty(&self.made).and_then(|()| fs::remove_dir(&self.folder)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::new(
                IO,
                format!("cannot remove {}: {error}; remove it", printable(&self.folder)),
            )),
            _ => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Opens the folder that was just made. Fails unless it belongs to this user and is empty.
fn just_made(folder: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::File::from(rustix::fs::open(folder, flags, Mode::empty())?);
    let is_ours = made.metadata()?.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || fs::read_dir(by_handle(&made))?.next().is_some() {
        return Err(io::Error::other("another process replaced our folder"));
    }
    Ok(made)
}

/// Returns a path to the open folder, whatever its name is by now.
fn by_handle(made: &fs::File) -> PathBuf {
    format!("/proc/self/fd/{}", made.as_raw_fd()).into()
}

/// Removes the contents of the folder.
fn empty(made: &fs::File) -> io::Result<()> {
    for entry in fs::read_dir(by_handle(made))? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

pub(super) fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
