//! A file system in user space that passes everything through to a folder, and can be told to lack
//! things and to lie: to try a lock on FUSE, and on file systems of other manners.
//!
//! Nothing is cached: names and attributes hold for no time at all. A node is the handle of what it
//! stands for, so it stays true whatever is renamed. Needs root, for what others make becomes
//! theirs.

mod calls;
mod fault_config;
mod names;
mod nodes;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fuser::{Config, FileHandle, MountOption, SessionACL};

use self::{
    names::{List, Past},
    nodes::Nodes,
};

pub use self::fault_config::{FaultConfig, Lack, Lie};

/// Mounts `source` on `at`, and serves it until it is unmounted.
///
/// # Errors
/// When it cannot be mounted.
pub fn serve(source: &Path, at: &Path, manners: FaultConfig) -> io::Result<()> {
    let nodes = Nodes::new(source)?;
    let passthrough =
        Passthrough { manners, nodes, handles: Mutex::default(), past: Past::default() };
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
    manners: FaultConfig,
    nodes: Nodes,
    handles: Mutex<Handles>,
    past: Past,
}

#[derive(Default)]
struct Handles {
    files: HashMap<u64, File>,
    lists: HashMap<u64, List>,
    last: u64,
}

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
}
