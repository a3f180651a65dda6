//! What a name stands for, and what becomes of names: the calls on which the file system may lie.

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fuser::{FileAttr, INodeNo};
use rustix::{
    fs::{AtFlags, Dir, FileType as Kind, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    Passthrough,
    fault_config::{Lack, Lie},
    nodes::path_of,
};

/// As old a listing may be.
const STALE: Duration = Duration::from_secs(3);
/// So many names of the past are known.
const MOST_GONE: usize = 64;

pub(super) type List = Vec<(Kind, Vec<u8>)>;

/// What liars remember.
#[derive(Default)]
pub(super) struct Past(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    lists: HashMap<u64, (Instant, List)>,
    renamed: VecDeque<Renamed>,
    /// How often a directory was to replace one that is not empty.
    refused: u64,
}

/// A name that a file had.
struct Renamed {
    parent: u64,
    name: OsString,
    file: Arc<OwnedFd>,
}

impl Past {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renamed(&self, parent: INodeNo, name: &OsStr) -> Option<Arc<OwnedFd>> {
        let was = |past: &&Renamed| past.parent == parent.0 && past.name == name;
        self.remembered().renamed.iter().rev().find(was).map(|past| Arc::clone(&past.file))
    }

    fn remember_renamed(&self, parent: INodeNo, name: &OsStr, file: OwnedFd) {
        let renamed = &mut self.remembered().renamed;
        renamed.push_back(Renamed { parent: parent.0, name: name.into(), file: Arc::new(file) });
        if renamed.len() > MOST_GONE {
            renamed.pop_front();
        }
    }
}

impl Passthrough {
    /// How that which is asked for by a name is really called.
    pub(super) fn called(&self, parent: INodeNo, name: &OsStr) -> io::Result<OsString> {
        if u32::try_from(name.len()).unwrap_or(u32::MAX) > self.manners.longest_name {
            return Err(Errno::NAMETOOLONG.into());
        }
        if self.manners.case_insensitive {
            let names = || list(self.nodes.node(parent)?);
            let alike = |(_, other): &(Kind, Vec<u8>)| other.eq_ignore_ascii_case(name.as_bytes());
            if let Some((_, other)) = names()?.into_iter().find(alike) {
                return Ok(OsString::from_vec(other));
            }
        }
        Ok(name.to_owned())
    }

    pub(super) fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        match self.nodes.enter(parent, &self.called(parent, name)?) {
            Err(error) if is(&error, Errno::NOENT) && self.manners.tells(Lie::RenameTwice) => {
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
        if self.manners.lacks(Lack::NoReplace) && !flags.is_empty() {
            return Err(Errno::INVAL.into());
        }
        let old = self.called(parent, name)?;
        let replaced = self.called(new_parent, new_name)?;
        // Only its case may change.
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
                if self.manners.tells(Lie::RenameTwice)
                    && let Some(file) = moved.filter(is_file)
                {
                    self.past.remember_renamed(parent, &old, file);
                }
                Ok(())
            }
            Err(Errno::NOENT)
                if self.manners.tells(Lie::RenameTwice)
                    && self.past.renamed(parent, name).is_some() =>
            {
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST)
                if flags.is_empty()
                    && (self.manners.tells(Lie::ReplaceFull) || self.replaces_now()) =>
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
        self.manners.tells(Lie::ReplaceFullAtTimes) && *times % 4 != 1
    }

    pub(super) fn remove_dir(&self, parent: INodeNo, name: &OsStr) -> io::Result<()> {
        let name = self.called(parent, name)?;
        let parent = self.nodes.node(parent)?;
        match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.manners.tells(Lie::RmdirFull) => {
                remove_all(parent, &name)
            }
            done => Ok(done?),
        }
    }

    pub(super) fn list(&self, number: INodeNo) -> io::Result<List> {
        let truth = || list(self.nodes.node(number)?);
        if !self.manners.tells(Lie::StaleList) {
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
