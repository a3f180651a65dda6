//! Mounts a folder anew, through a file system in user space that may lack things and lie.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lockbydir_proof::passthrough::{self, FaultConfig};

/// Mounts a folder anew, through a file system in user space (FUSE), and serves it until somebody
/// unmounts it (`umount AT`).
///
/// Nothing is cached. It needs root and /dev/fuse.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  lockbydir-passthrough /tmp/folder /mnt --lack no-replace,flock,named-pipes
  lockbydir-passthrough /tmp/folder /mnt --lies rename-twice,stale-list
  lockbydir-passthrough /tmp/folder /mnt --case-insensitive --grain 2s --clock -3600"
)]
struct Command {
    /// The folder
    source: PathBuf,
    /// Where it is mounted
    at: PathBuf,
    #[command(flatten)]
    manners: FaultConfig,
}

fn main() -> ExitCode {
    let Command { source, at, manners } = Command::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("lockbydir-passthrough: it needs root, to mount");
        return ExitCode::from(2);
    }
    match passthrough::serve(&source, &at, manners) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockbydir-passthrough: {} on {}: {error}", source.display(), at.display());
            ExitCode::from(2)
        }
    }
}
