//! A file system in user space that passes everything through to a folder, and can be told to lack
//! things: to try a lock on FUSE, and on file systems of other manners.
//!
//! Nothing is cached: names and attributes hold for no time at all. A node is the handle of what it
//! stands for, so it stays true whatever is renamed. Needs root, for what others make becomes
//! theirs.

mod nodes;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Config, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType as Kind, Gid, Mode, OFlags, Timestamps, Uid,
};

use self::nodes::{Nodes, attributes, kind, mode, path_of, stamp};

/// What the file system lacks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// A rename that refuses to replace: it answers `EINVAL`.
    pub no_replace: bool,
    /// `flock(2)`: it answers `ENOLCK`.
    pub flock: bool,
}

/// Mounts `source` on `at`, and serves it until it is unmounted.
///
/// # Errors
/// When it cannot be mounted.
pub fn serve(source: &Path, at: &Path, lacks: Lacks) -> io::Result<()> {
    let (nodes, handles) = (Nodes::new(source)?, Mutex::default());
    let passthrough = Passthrough { lacks, nodes, handles };
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(2);
    config.clone_fd = true;
    config.mount_options = vec![
        MountOption::FSName("lockbydir-passthrough".to_owned()),
        MountOption::DefaultPermissions,
    ];
    fuser::mount(passthrough, at, &config)
}

struct Passthrough {
    lacks: Lacks,
    nodes: Nodes,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    files: HashMap<u64, File>,
    lists: HashMap<u64, Vec<(Kind, Vec<u8>)>>,
    last: u64,
}

const NEVER: Duration = Duration::ZERO;
const FIRST: Generation = Generation(0);

impl Passthrough {
    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_file(&self, file: File) -> FileHandle {
        let mut handles = self.handles();
        handles.last += 1;
        let number = handles.last;
        handles.files.insert(number, file);
        FileHandle(number)
    }

    fn file(&self, handle: FileHandle) -> io::Result<File> {
        self.handles().files.get(&handle.0).ok_or(rustix::io::Errno::BADF)?.try_clone()
    }

    fn list(&self, number: INodeNo) -> io::Result<Vec<(Kind, Vec<u8>)>> {
        let mut list = Vec::new();
        for entry in Dir::read_from(directory(self.nodes.node(number)?)?)? {
            let entry = entry?;
            list.push((entry.file_type(), entry.file_name().to_bytes().to_vec()));
        }
        Ok(list)
    }
}

/// The directory of a node, to be read.
fn directory(node: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(node, ".", flags, Mode::empty())?)
}

/// Says one thing if it went well, and else why not.
macro_rules! answer {
    ($reply:ident, $result:expr, $good:ident => $say:expr) => {
        match $result {
            Ok($good) => $say,
            Err(error) => $reply.error(errno(error)),
        }
    };
}

fn errno(error: io::Error) -> Errno {
    error.into()
}

impl Filesystem for Passthrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.lacks.flock {
            // Else the kernel does it alone.
            let asked = config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS);
            asked.map_err(|_| io::Error::other("this kernel does flock alone"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.nodes.enter(parent, name), found => reply.entry(&NEVER, &found, FIRST));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.nodes.forget(number, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let look = || Ok(rustix::fs::fstat(self.nodes.node(number)?)?);
        answer!(reply, look(), stat => reply.attr(&NEVER, &attributes(number.0, &stat)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        permissions: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let node = self.nodes.node(number)?;
            let path = path_of(node.as_fd());
            if let Some(bits) = permissions {
                rustix::fs::chmod(&path, mode(bits))?;
            }
            if user.is_some() || group.is_some() {
                rustix::fs::chown(&path, user.map(Uid::from_raw), group.map(Gid::from_raw))?;
            }
            if let Some(size) = size {
                File::options().write(true).open(&path)?.set_len(size)?;
            }
            if accessed.is_some() || modified.is_some() {
                let (last_access, last_modification) = (stamp(accessed), stamp(modified));
                let times = Timestamps { last_access, last_modification };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
            }
            Ok(rustix::fs::fstat(node)?)
        };
        answer!(reply, set(), stat => reply.attr(&NEVER, &attributes(number.0, &stat)));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        bits: u32,
        _: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            let kind = Kind::from_raw_mode(bits);
            rustix::fs::mknodat(self.nodes.node(parent)?, name, kind, mode(bits), device.into())?;
            self.nodes.give(request, parent, name)
        };
        answer!(reply, make(), made => reply.entry(&NEVER, &made, FIRST));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        bits: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            rustix::fs::mkdirat(self.nodes.node(parent)?, name, mode(bits))?;
            self.nodes.give(request, parent, name)
        };
        answer!(reply, make(), made => reply.entry(&NEVER, &made, FIRST));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let unlink = || Ok(rustix::fs::unlinkat(self.nodes.node(parent)?, name, AtFlags::empty())?);
        answer!(reply, unlink(), _done => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove =
            || Ok(rustix::fs::unlinkat(self.nodes.node(parent)?, name, AtFlags::REMOVEDIR)?);
        answer!(reply, remove(), _done => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            if self.lacks.no_replace && !flags.is_empty() {
                return Err(rustix::io::Errno::INVAL.into());
            }
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            let (from, to) = (self.nodes.node(parent)?, self.nodes.node(new_parent)?);
            Ok(rustix::fs::renameat_with(from, name, to, new_name, flags)?)
        };
        answer!(reply, rename(), _done => reply.ok());
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || {
            let node = self.nodes.node(number)?;
            let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
            let flags = flags - OFlags::NOFOLLOW - OFlags::CREATE - OFlags::EXCL;
            Ok(rustix::fs::open(path_of(node.as_fd()), flags | OFlags::CLOEXEC, Mode::empty())?)
        };
        answer!(reply, open(), file => reply.opened(self.keep_file(file.into()), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        bits: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || {
            let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CREATE;
            let flags = flags | OFlags::CLOEXEC;
            let file = rustix::fs::openat(self.nodes.node(parent)?, name, flags, mode(bits))?;
            Ok((self.nodes.give(request, parent, name)?, self.keep_file(file.into())))
        };
        answer!(reply, create(), made => {
            reply.created(&NEVER, &made.0, FIRST, made.1, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let mut data = vec![0; size as usize];
            let length = self.file(handle)?.read_at(&mut data, offset)?;
            data.truncate(length);
            Ok(data)
        };
        answer!(reply, read(), data => reply.data(&data));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || self.file(handle)?.write_at(data, offset);
        answer!(reply, write(), length => reply.written(u32::try_from(length).unwrap_or(u32::MAX)));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        bits: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(bits.cast_unsigned());
        let allocate = || Ok(rustix::fs::fallocate(self.file(handle)?, flags, offset, length)?);
        answer!(reply, allocate(), _done => reply.ok());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.handles().files.remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut handles = self.handles();
        handles.last += 1;
        reply.opened(FileHandle(handles.last), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut read = || {
            // From the beginning: a look of its own.
            if offset == 0 {
                let list = self.list(number)?;
                self.handles().lists.insert(handle.0, list);
            }
            let handles = self.handles();
            let list = handles.lists.get(&handle.0).ok_or(rustix::io::Errno::BADF)?;
            for (at, (of_kind, name)) in (1..).zip(list).skip(usize::try_from(offset).unwrap_or(0))
            {
                // The number is not used: every name is looked up.
                let name = OsStr::from_bytes(name);
                if reply.add(INodeNo(u64::MAX), at, kind(*of_kind), name) {
                    break;
                }
            }
            Ok(())
        };
        match read() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.handles().lists.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, number: INodeNo, reply: ReplyStatfs) {
        let ask = || Ok(rustix::fs::fstatvfs(self.nodes.node(number)?)?);
        answer!(reply, ask(), all => reply.statfs(
            all.f_blocks,
            all.f_bfree,
            all.f_bavail,
            all.f_files,
            all.f_ffree,
            u32::try_from(all.f_bsize).unwrap_or(4096),
            u32::try_from(all.f_namemax).unwrap_or(255),
            u32::try_from(all.f_frsize).unwrap_or(4096),
        ));
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // It is asked only if it was said to lack this.
        reply.error(Errno::ENOLCK);
    }
}
