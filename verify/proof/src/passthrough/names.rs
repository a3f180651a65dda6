//! The lookup and the change of names: the calls about which the file system may lie.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    time::{Duration, Instant},
};

use fuser::{FileAttr, INodeNo};
use rustix::{
    fs::{AtFlags, Dir, FileType as Kind, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    fault_config::{Lack, Lie},
    mounted::Passthrough,
    nodes::path_of,
    past::List,
};

/// The age that a listing may have.
const STALE: Duration = Duration::from_secs(3);
impl Passthrough {
    /// Returns the real name of the file that is requested by `name`.
    pub(super) fn true_name(&self, parent: INodeNo, name: &OsStr) -> io::Result<OsString> {
        if u32::try_from(name.len()).unwrap_or(u32::MAX) > self.fault_config.longest_name {
            return Err(Errno::NAMETOOLONG.into());
        }
        if self.fault_config.case_insensitive {
            let names = || list(self.nodes.node(parent)?);
            let alike = |(_, other): &(Kind, Vec<u8>)| other.eq_ignore_ascii_case(name.as_bytes());
            if let Some((_, other)) = names()?.into_iter().find(alike) {
                return Ok(OsString::from_vec(other));
            }
        }
        Ok(name.to_owned())
    }

    pub(super) fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        match self.nodes.enter(parent, &self.true_name(parent, name)?) {
            Err(error)
                if is(&error, Errno::NOENT) && self.fault_config.has_lie(Lie::RenameTwice) =>
            {
                let file = self.past.renamed(parent, name).ok_or(error)?;
                self.nodes.enter_file(file)
            }
            found => found,
        }
    }

    pub(super) fn rename(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        if self.fault_config.lacks(Lack::NoReplace) && !flags.is_empty() {
            return Err(Errno::INVAL.into());
        }
        let old = self.true_name(parent, name)?;
        let replaced = self.true_name(new_parent, new_name)?;
        // Then only the case of the name may change.
        let is_same = parent == new_parent && replaced == old;
        let new = if is_same { new_name.to_owned() } else { replaced };
        let (from, to) = (self.nodes.node(parent)?, self.nodes.node(new_parent)?);
        let moved = super::nodes::node_at(&from, &old).ok();
        match rustix::fs::renameat_with(&from, &old, &to, &new, flags) {
            Ok(()) => {
                let is_file = |file: &OwnedFd| {
                    rustix::fs::fstat(file)
                        .is_ok_and(|stat| Kind::from_raw_mode(stat.st_mode) != Kind::Directory)
                };
                if self.fault_config.has_lie(Lie::RenameTwice)
                    && let Some(file) = moved.filter(is_file)
                {
                    self.past.remember_renamed(parent, &old, file);
                }
                Ok(())
            }
            Err(Errno::NOENT)
                if self.fault_config.has_lie(Lie::RenameTwice)
                    && self.past.renamed(parent, name).is_some() =>
            {
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST)
                if flags.is_empty()
                    && (self.fault_config.has_lie(Lie::ReplaceFull) || self.replaces_now()) =>
            {
                rustix::fs::renameat_with(&from, &old, &to, &new, RenameFlags::EXCHANGE)?;
                remove_all(from, &old)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn replaces_now(&self) -> bool {
        let times = &mut self.past.remembered().refused;
        *times += 1;
        self.fault_config.has_lie(Lie::ReplaceFullAtTimes) && *times % 4 != 1
    }

    pub(super) fn remove_dir(&self, parent: INodeNo, name: &OsStr) -> io::Result<()> {
        let name = self.true_name(parent, name)?;
        let parent = self.nodes.node(parent)?;
        match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.fault_config.has_lie(Lie::RmdirFull) => {
                remove_all(parent, &name)
            }
            done => Ok(done?),
        }
    }

    pub(super) fn list(&self, number: INodeNo) -> io::Result<List> {
        let truth = || list(self.nodes.node(number)?);
        if !self.fault_config.has_lie(Lie::StaleList) {
            return truth();
        }
        let lists = &mut self.past.remembered().lists;
        lists.retain(|_, (taken, _)| taken.elapsed() < STALE);
        if let Some((_, old)) = lists.get(&number.0) {
            return Ok(old.clone());
        }
        let list = truth()?;
        lists.insert(number.0, (Instant::now(), list.clone()));
        Ok(list)
    }
}

fn list(node: impl AsFd) -> io::Result<List> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut list = Vec::new();
    for entry in Dir::new(rustix::fs::openat(node, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        list.push((entry.file_type(), entry.file_name().to_bytes().to_vec()));
    }
    Ok(list)
}

fn remove_all(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    let folder = path_of(folder.as_fd());
    fs::remove_dir_all(std::path::Path::new(&folder).join(name))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
