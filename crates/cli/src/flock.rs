//! The options of flock(1): accepted where they mean something here, refused with the counterpart
//! named where they do not.

use crate::exit::{Failure, USAGE};

/// The part of `run --help` for users of flock.
pub(crate) const HELP: &str = "\
For users of flock:
  --timeout is how long the lock lasts. How long to wait is --wait, 30s unless
  given; `--wait forever` is flock's default.
  Exit codes: 75 where the lock is busy (flock: 1), 126 and 127 where CMD cannot
  be run (69), 73 where NAME cannot be locked (66).
  -x, -e and -o are accepted, and change nothing.
  What CMD leaves in the background does not keep the lock, unless with
  --wait-children.";

#[derive(clap::Args)]
pub(crate) struct Flock {
    /// Every lock is exclusive
    #[arg(short = 'x', short_alias = 'e', long, hide = true)]
    exclusive: bool,
    /// CMD has no descriptor of the lock in any case
    #[arg(short = 'o', long, hide = true)]
    close: bool,
    #[arg(short, long, hide = true)]
    shared: bool,
    #[arg(short, long, hide = true)]
    unlock: bool,
    #[arg(short = 'F', long, hide = true)]
    no_fork: bool,
    #[arg(long, hide = true)]
    fcntl: bool,
}

impl Flock {
    /// Refuses options that would mean something else here, or nothing.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let (option, why) = if self.shared {
            ("-s, --shared", "there are no shared locks yet: every lock is exclusive")
        } else if self.unlock {
            (
                "-u, --unlock",
                "`run` unlocks when CMD ends; a lock without a command is unlocked by `lockbydir release NAME KEY`",
            )
        } else if self.no_fork {
            (
                "-F, --no-fork",
                "`run` stays to renew the lock and to end CMD if the lock is lost; to lock for a process that already runs, use `lockbydir acquire --pid PID NAME`",
            )
        } else if self.fcntl {
            (
                "--fcntl",
                "a lock is a directory, which both kinds of locks of the system leave alone; leave the option out",
            )
        } else {
            // The other options change nothing here.
            let Flock { exclusive: _, close: _, .. } = self;
            return Ok(());
        };
        Err(Failure::new(USAGE, format!("{option} is flock's: {why}")))
    }
}
