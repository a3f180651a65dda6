//! The nodes, which the kernel knows by number: handles of files, and their attributes.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use rustix::fs::{
    AtFlags, CWD, FileType as Kind, Gid, Mode, OFlags, Stat, Timespec, UTIME_NOW, UTIME_OMIT, Uid,
};

const ROOT: u64 = 1;

/// All nodes that the kernel knows.
pub(super) struct Nodes(Mutex<Table>);

struct Table {
    known: HashMap<u64, Node>,
    /// By device and inode.
    numbers: HashMap<(u64, u64), u64>,
    last: u64,
}

struct Node {
    handle: Arc<OwnedFd>,
    file: (u64, u64),
    lookups: u64,
}

/// Opens a handle of a name, whatever type of file it is.
pub(super) fn node_at(folder: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn time(seconds: i64, nanos: u64) -> SystemTime {
    let since = Duration::new(seconds.unsigned_abs(), u32::try_from(nanos).unwrap_or(0));
    if seconds >= 0 { UNIX_EPOCH + since } else { UNIX_EPOCH - since }
}

pub(super) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Symlink => FileType::Symlink,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::RegularFile | Kind::Unknown => FileType::RegularFile,
    }
}

pub(super) fn attributes(number: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(Kind::from_raw_mode(stat.st_mode)),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap_or(0),
        blksize: 4096,
        flags: 0,
    }
}

/// Returns a path that leads to the file of a handle.
pub(super) fn path_of(handle: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

impl Nodes {
    /// Returns a table that contains the root only.
    pub(super) fn new(source: &Path) -> io::Result<Self> {
        let root = node_at(CWD, source.as_os_str())?;
        let stat = rustix::fs::fstat(&root)?;
        let file = (stat.st_dev, stat.st_ino);
        let root = Node { handle: Arc::new(root), file, lookups: 1 };
        let (known, numbers) = (HashMap::from([(ROOT, root)]), HashMap::from([(file, ROOT)]));
        Ok(Self(Mutex::new(Table { known, numbers, last: ROOT })))
    }

    fn nodes(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the handle of a node, which may be forgotten meanwhile.
    pub(super) fn node(&self, number: INodeNo) -> io::Result<Arc<OwnedFd>> {
        let nodes = self.nodes();
        let node = nodes.known.get(&number.0).ok_or(rustix::io::Errno::STALE)?;
        Ok(Arc::clone(&node.handle))
    }

    /// Returns the node of a name. Every lookup makes a new node, unless it is already known.
    pub(super) fn enter(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        self.enter_file(Arc::new(node_at(self.node(parent)?, name)?))
    }

    /// Returns the node of the file of a handle.
    pub(super) fn enter_file(&self, handle: Arc<OwnedFd>) -> io::Result<FileAttr> {
        let stat = rustix::fs::fstat(&handle)?;
        let mut nodes = self.nodes();
        // While its handle is kept, no other file gets its number.
        let file = (stat.st_dev, stat.st_ino);
        let number = match nodes.numbers.get(&file) {
            Some(&number) => number,
            None => {
                nodes.last += 1;
                nodes.last
            }
        };
        nodes.numbers.insert(file, number);
        nodes.known.entry(number).or_insert(Node { handle, file, lookups: 0 }).lookups += 1;
        Ok(attributes(number, &stat))
    }

    /// Gives a new file to the user who asked for it.
    pub(super) fn give(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
    ) -> io::Result<FileAttr> {
        let (user, group) = (Uid::from_raw(request.uid()), Gid::from_raw(request.gid()));
        let parent_handle = self.node(parent)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent_handle, name, Some(user), Some(group), flags)?;
        self.enter(parent, name)
    }

    /// Records that the kernel has forgotten this number of lookups of a node.
    pub(super) fn forget(&self, number: INodeNo, lookups: u64) {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.known.get_mut(&number.0) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 && number.0 != ROOT {
                let file = node.file;
                nodes.known.remove(&number.0);
                nodes.numbers.remove(&file);
            }
        }
    }
}

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & 0o7777)
}

pub(super) fn stamp(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let tv_sec = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            Timespec { tv_sec, tv_nsec: since.subsec_nanos().into() }
        }
    }
}
