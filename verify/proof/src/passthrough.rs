//! A file system in user space that passes everything through to a folder, and that can be configured to
//! lack features and to lie: for testing a lock on FUSE, and on file systems that behave differently.
//!
//! Nothing is cached: names and attributes are valid for no time at all. A node is a handle of the file
//! that it represents, so it stays correct across renames. Needs root, because files that other users make
//! must become theirs.

mod calls;
mod fault_config;
mod mounted;
mod names;
mod nodes;
mod past;

use std::{io, path::Path, sync::Mutex};

use fuser::{Config, MountOption, SessionACL};

use self::{mounted::Passthrough, nodes::Nodes, past::Past};

pub use self::fault_config::{FaultConfig, Lack, Lie};

/// Mounts `source` on `at`, and serves it until it is unmounted.
///
/// # Errors
/// If it cannot be mounted.
pub fn serve(source: &Path, at: &Path, fault_config: FaultConfig) -> io::Result<()> {
    let nodes = Nodes::new(source)?;
    let passthrough =
        Passthrough { fault_config, nodes, handles: Mutex::default(), past: Past::default() };
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
