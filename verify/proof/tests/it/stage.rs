//! The environment of a test: a folder on a file system of its choice, and exclusive use of the machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use lockbydir::{Lock, Owner, State};
use lockbydir_proof::{scripted_worker::ScriptedWorker, torture::Plan};
use lockbydir_testbed::{WholeMachine, whole_machine};
use tempfile::TempDir;

/// The worker program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_lockbydir-worker");
/// The torture program.
pub(crate) const TORTURE: &str = env!("CARGO_BIN_EXE_lockbydir-torture");

/// A fresh folder, and exclusive use of the machine.
pub(crate) struct Stage {
    folder: TempDir,
    begun: Instant,
    _machine: WholeMachine,
}

impl Stage {
    /// Makes a folder on the disk of the build, or in the folder in `LOCKBYDIR_PROOF_DIR`.
    pub(crate) fn on_disk() -> Self {
        let chosen = std::env::var_os("LOCKBYDIR_PROOF_DIR");
        Self::on(Path::new(chosen.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR").as_ref())))
    }

    /// Makes a folder in memory.
    pub(crate) fn on_tmpfs() -> Self {
        Self::on(Path::new("/dev/shm"))
    }

    fn on(parent: &Path) -> Self {
        // Each test starts many processes or measures time.
        let machine = whole_machine();
        fs::create_dir_all(parent).expect("the parent of the stage can be made");
        let folder = tempfile::Builder::new().prefix("lockbydir-proof-").tempdir_in(parent);
        let folder = folder.expect("a folder for the stage");
        Self { folder, begun: Instant::now(), _machine: machine }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the directory of the lock `name`.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.lockdir"))
    }

    /// Returns how long this test has used the machine.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Starts a worker that uses the lock `name`.
    pub(crate) fn worker(&self, name: &str, options: &str) -> ScriptedWorker {
        let mut worker = ScriptedWorker::start(WORKER);
        worker.lock(&self.path(name), options);
        worker
    }

    /// Returns a plan of the torture here. No speed is required: tests are built for debugging, and run
    /// beside others.
    pub(crate) fn plan(&self) -> Plan {
        Plan { least_rate: 1, ..Plan::new(TORTURE, self.folder()) }
    }

    /// Returns the names in the folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder())
            .expect("the stage can be listed")
            .map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Breaks the locks of dead processes, and cleans.
    pub(crate) fn sweep(&self) {
        for name in self.names() {
            if let Some(name) = name.strip_suffix(".lockdir") {
                Lock::new(self.path(name)).break_stale().expect("a dead one's lock can be broken");
            }
        }
        self.clean();
    }

    /// Removes what crashes left beside locks. A stage that its process had no time to put an entry into does
    /// not show whose it is, so that only its age permits its removal, as for a doctor's folder: it is made a
    /// day old.
    pub(crate) fn clean(&self) {
        let is_empty = |stage: &Path| fs::read_dir(stage).expect("a stage").next().is_none();
        for name in self.names() {
            let stage = self.path(&name);
            let is_empty_stage = name.contains(".lockdir.") && is_empty(&stage);
            if name.starts_with("lockbydir-doctor.") || is_empty_stage {
                make_older(&stage, Duration::from_secs(24 * 3600));
            }
        }
        lockbydir::clean(self.folder()).expect("the folder can be cleaned");
    }

    /// Fails if the test left anything.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.names(), Vec::<String>::new(), "something was left behind");
    }
}

/// Fails unless a lock with this timeout was taken over when it expired, not before and soon after. The
/// holder's stamp may be up to a millisecond early, because names contain whole milliseconds.
pub(crate) fn assert_followed(waited: Duration, timeout: Duration) {
    assert!(waited + Duration::from_millis(1) > timeout, "followed after {waited:?} already");
    assert!(waited < timeout + Duration::from_secs(2), "followed after {waited:?} only");
}

/// Sets the time of a directory back by `age`.
pub(crate) fn make_older(directory: &Path, age: Duration) {
    date(directory, SystemTime::now() - age);
}

/// Sets the time of a directory.
pub(crate) fn date(directory: &Path, time: SystemTime) {
    let dated = File::open(directory).and_then(|open| open.set_modified(time));
    dated.expect("a directory of ours can be dated");
}

/// Makes locks that have expired and that no process holds.
pub(crate) fn make_expired(names: &[PathBuf]) {
    let locks: Vec<Lock> = names
        .iter()
        .map(|name| {
            let lock = Lock::new(name).timeout(Duration::from_millis(100)).owner(Owner::Nobody);
            let _key = lock.acquire().expect("a lock that will expire").keep();
            lock
        })
        .collect();
    for lock in locks {
        while !matches!(lock.status().expect("a look").state, State::Expired) {
            thread::yield_now();
        }
    }
}

/// Makes a bare lock, older than a timeout of 100 ms.
pub(crate) fn make_old_bare(directory: &Path) {
    fs::create_dir(directory).expect("a bare lock");
    thread::sleep(Duration::from_millis(200));
}
