//! The calls of the kernel, each passed through. This module decides nothing.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType as Kind, Gid, Mode, OFlags, Stat, Timespec, Timestamps,
    Uid,
};

use super::{
    fault_config::Lack,
    mounted::Passthrough,
    nodes::{attributes, kind, mode, path_of, stamp},
};

const NEVER: Duration = Duration::ZERO;
const FIRST: Generation = Generation(0);

/// Sends one reply on success, and the error otherwise.
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

impl Passthrough {
    fn shown(&self, number: INodeNo, stat: &Stat) -> FileAttr {
        self.fault_config.shown(attributes(number.0, stat))
    }

    /// Returns the true time of a stamp that is to be set.
    fn requested(&self, time: Option<TimeOrNow>) -> Timespec {
        stamp(time.map(|time| match time {
            TimeOrNow::SpecificTime(time) => {
                TimeOrNow::SpecificTime(self.fault_config.true_time(time))
            }
            TimeOrNow::Now => TimeOrNow::Now,
        }))
    }
}

impl Filesystem for Passthrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.fault_config.lacks(Lack::Flock) {
            // Otherwise the kernel implements it alone.
            let asked = config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS);
            asked.map_err(|_| io::Error::other("this kernel does flock alone"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.find(parent, name), found => {
            reply.entry(&NEVER, &self.fault_config.shown(found), FIRST);
        });
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.nodes.forget(number, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let look = || Ok(rustix::fs::fstat(self.nodes.node(number)?)?);
        answer!(reply, look(), stat => reply.attr(&NEVER, &self.shown(number, &stat)));
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
                let (last_access, last_modification) =
                    (self.requested(accessed), self.requested(modified));
                let times = Timestamps { last_access, last_modification };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
            }
            Ok(rustix::fs::fstat(node)?)
        };
        answer!(reply, set(), stat => reply.attr(&NEVER, &self.shown(number, &stat)));
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
            if kind == Kind::Fifo && self.fault_config.lacks(Lack::NamedPipes) {
                return Err(rustix::io::Errno::PERM.into());
            }
            let name = &self.true_name(parent, name)?;
            rustix::fs::mknodat(self.nodes.node(parent)?, name, kind, mode(bits), device.into())?;
            self.nodes.give(request, parent, name)
        };
        answer!(reply, make(), made => reply.entry(&NEVER, &self.fault_config.shown(made), FIRST));
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
            let name = &self.true_name(parent, name)?;
            rustix::fs::mkdirat(self.nodes.node(parent)?, name, mode(bits))?;
            self.nodes.give(request, parent, name)
        };
        answer!(reply, make(), made => reply.entry(&NEVER, &self.fault_config.shown(made), FIRST));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let unlink = || {
            let name = self.true_name(parent, name)?;
            Ok(rustix::fs::unlinkat(self.nodes.node(parent)?, name, AtFlags::empty())?)
        };
        answer!(reply, unlink(), _done => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove_dir(parent, name), _done => reply.ok());
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
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let renamed = self.rename((parent, name), (new_parent, new_name), flags);
        answer!(reply, renamed, _done => reply.ok());
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
            let name = &self.true_name(parent, name)?;
            let file = rustix::fs::openat(self.nodes.node(parent)?, name, flags, mode(bits))?;
            Ok((self.nodes.give(request, parent, name)?, self.keep_file(file.into())))
        };
        answer!(reply, create(), made => {
            let attributes = self.fault_config.shown(made.0);
            reply.created(&NEVER, &attributes, FIRST, made.1, FopenFlags::FOPEN_DIRECT_IO);
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
            // A read from the beginning lists the directory again.
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
            u32::try_from(all.f_namemax).unwrap_or(255).min(self.fault_config.reported_longest_name()),
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
        // The kernel calls this only if the configuration lacks flock.
        reply.error(Errno::ENOLCK);
    }
}
