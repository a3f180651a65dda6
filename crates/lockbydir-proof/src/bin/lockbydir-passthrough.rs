//! Mounts a folder anew, through a file system in user space that may lack things.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lockbydir_proof::passthrough::{self, Lacks};

/// Mounts a folder anew, through a file system in user space (FUSE), and serves it until somebody
/// unmounts it (`umount AT`).
///
/// Nothing is cached. It needs root and /dev/fuse.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// The folder
    source: PathBuf,
    /// Where it is mounted
    at: PathBuf,
    /// Lack the rename that refuses to replace: it answers EINVAL
    #[arg(long)]
    without_no_replace: bool,
    /// Lack flock(2): it answers ENOLCK
    #[arg(long)]
    without_flock: bool,
}

fn main() -> ExitCode {
    let Command { source, at, without_no_replace, without_flock } = Command::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("lockbydir-passthrough: it needs root, to mount");
        return ExitCode::from(2);
    }
    let lacks = Lacks { no_replace: without_no_replace, flock: without_flock };
    match passthrough::serve(&source, &at, lacks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockbydir-passthrough: {} on {}: {error}", source.display(), at.display());
            ExitCode::from(2)
        }
    }
}
