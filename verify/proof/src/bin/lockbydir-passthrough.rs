//! Mounts a folder again, through a file system in user space that may lack features and lie.

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
  lockbydir-passthrough /tmp/folder /mnt --case-insensitive --granularity 2s --clock -3600"
)]
struct Command {
    /// The folder
    source: PathBuf,
    /// Where it is mounted
    at: PathBuf,
    #[command(flatten)]
    fault_config: FaultConfig,
}

fn main() -> ExitCode {
    let Command { source, at, fault_config } = Command::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("lockbydir-passthrough: it needs root, to mount");
        return ExitCode::from(2);
    }
    match passthrough::serve(&source, &at, fault_config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockbydir-passthrough: {} on {}: {error}", source.display(), at.display());
            ExitCode::from(2)
        }
    }
}
