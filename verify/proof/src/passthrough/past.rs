//! The past of a mounted folder, which the lies need: former names and former listings.

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fuser::INodeNo;
use rustix::fs::FileType as Kind;

/// The number of former names that are remembered.
const MOST_REMEMBERED: usize = 64;

pub(super) type List = Vec<(Kind, Vec<u8>)>;

/// The past that the lies need.
#[derive(Default)]
pub(super) struct Past(Mutex<Remembered>);

#[derive(Default)]
pub(super) struct Remembered {
    pub(super) lists: HashMap<u64, (Instant, List)>,
    pub(super) renamed: VecDeque<Renamed>,
    /// The number of tries to replace a directory that is not empty.
    pub(super) refused: u64,
}

/// A former name of a file.
pub(super) struct Renamed {
    pub(super) parent: u64,
    pub(super) name: OsString,
    pub(super) file: Arc<OwnedFd>,
}

impl Past {
    pub(super) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn renamed(&self, parent: INodeNo, name: &OsStr) -> Option<Arc<OwnedFd>> {
        let was = |past: &&Renamed| past.parent == parent.0 && past.name == name;
        self.remembered().renamed.iter().rev().find(was).map(|past| Arc::clone(&past.file))
    }

    pub(super) fn remember_renamed(&self, parent: INodeNo, name: &OsStr, file: OwnedFd) {
        let renamed = &mut self.remembered().renamed;
        renamed.push_back(Renamed { parent: parent.0, name: name.into(), file: Arc::new(file) });
        if renamed.len() > MOST_REMEMBERED {
            renamed.pop_front();
        }
    }
}
