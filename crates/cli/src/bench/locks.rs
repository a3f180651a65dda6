//! The two kinds of locks that `bench` compares, by one name, and the clock that its processes share.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir::{Guard, Lock};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::time::{ClockId, clock_gettime};

use super::report::Engine;

/// A timeout that is longer than any run: only a lock with a timeout of its own expires.
const LONG: Duration = Duration::from_secs(3600);
/// The patience of a worker: a worker that waits longer was forgotten by the bench.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the nanoseconds of the clock that all processes of this machine share.
pub(super) fn clock() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// A lock that is held.
pub(super) enum Held {
    Ours(Guard),
    Flock(OwnedFd),
}

pub(super) type Outcome<T> = Result<T, String>;

/// One lock name, for both engines.
pub(super) struct Locks {
    pub(super) ours: Lock,
    pub(super) file: PathBuf,
}

impl Locks {
    /// Makes the lock of this name in a folder, and the file beside it for flock.
    pub(super) fn new(folder: &Path, name: &str) -> Locks {
        let lock = Lock::new(folder.join(name));
        Locks {
            ours: lock.timeout(LONG).patience(PATIENCE),
            file: folder.join(format!("{name}.flock")),
        }
    }

    pub(super) fn flock(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.file, flags, Mode::RUSR | Mode::WUSR)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                done => return done.map(|()| file),
            }
        }
    }

    pub(super) fn acquire(&self, engine: Engine) -> Outcome<Held> {
        match engine {
            Engine::Lockbydir => self.ours.acquire().map(Held::Ours).map_err(|e| e.to_string()),
            Engine::Flock => self.flock().map(Held::Flock).map_err(|e| format!("flock: {e}")),
        }
    }
}

impl Held {
    pub(super) fn release(self) -> Outcome<()> {
        match self {
            Held::Ours(guard) => guard.release().map_err(|error| error.to_string()),
            Held::Flock(file) => unlock(file).map_err(|error| format!("flock: {error}")),
        }
    }
}

pub(super) fn unlock(file: OwnedFd) -> rustix::io::Result<()> {
    flock(file, FlockOperation::Unlock)
}
