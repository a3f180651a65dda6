//! A mounted folder: its configuration, its nodes, and what is open.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fuser::FileHandle;

use super::{
    fault_config::FaultConfig,
    nodes::Nodes,
    past::{List, Past},
};

pub(super) struct Passthrough {
    pub(super) fault_config: FaultConfig,
    pub(super) nodes: Nodes,
    pub(super) handles: Mutex<Handles>,
    pub(super) past: Past,
}

#[derive(Default)]
pub(super) struct Handles {
    pub(super) files: HashMap<u64, File>,
    pub(super) lists: HashMap<u64, List>,
    pub(super) last: u64,
}

impl Passthrough {
    pub(super) fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_file(&self, file: File) -> FileHandle {
        let mut handles = self.handles();
        handles.last += 1;
        let number = handles.last;
        handles.files.insert(number, file);
        FileHandle(number)
    }

    pub(super) fn file(&self, handle: FileHandle) -> io::Result<File> {
        self.handles().files.get(&handle.0).ok_or(rustix::io::Errno::BADF)?.try_clone()
    }
}
