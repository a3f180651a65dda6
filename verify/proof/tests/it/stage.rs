//! Where a test plays: a folder on a file system of its choice, and the machine for itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use lockbydir::{Lock, Owner, State};
use lockbydir_proof::{scripted_worker::ScriptedWorker, torture::Plan};
use tempfile::TempDir;

/// The worker program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_lockbydir-worker");
/// The torture program.
pub(crate) const TORTURE: &str = env!("CARGO_BIN_EXE_lockbydir-torture");

/// Every test here starts many processes or measures time: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// A fresh folder, and the machine.
pub(crate) struct Stage {
    folder: TempDir,
    begun: Instant,
    _machine: MutexGuard<'static, ()>,
}

impl Stage {
    /// On the disk that the build is on, or wherever `LOCKBYDIR_PROOF_DIR` says.
    pub(crate) fn on_disk() -> Self {
        let chosen = std::env::var_os("LOCKBYDIR_PROOF_DIR");
        Self::on(Path::new(chosen.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR").as_ref())))
    }

    /// In memory.
    pub(crate) fn on_tmpfs() -> Self {
        Self::on(Path::new("/dev/shm"))
    }

    fn on(parent: &Path) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The directory of the lock `name`.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.lockdir"))
    }

    /// How long this test has had the machine.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A worker that plays with the lock `name`.
    pub(crate) fn puppet(&self, name: &str, options: &str) -> ScriptedWorker {
        let mut puppet = ScriptedWorker::start(WORKER);
        puppet.lock(&self.path(name), options);
        puppet
    }

    /// A run of the torture here. How fast it is is not asked: tests are built for debugging, and run
    /// beside others.
    pub(crate) fn plan(&self) -> Plan {
        Plan { least_rate: 1, ..Plan::new(TORTURE, self.folder()) }
    }

    /// What is in the folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder())
            .expect("the stage can be listed")
            .map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Breaks what the dead held, and cleans.
    pub(crate) fn sweep(&self) {
        for name in self.names() {
            if let Some(name) = name.strip_suffix(".lockdir") {
                Lock::new(self.path(name)).break_stale().expect("a dead one's lock can be broken");
            }
        }
        self.clean();
    }

    /// Cleans away what crashes left beside locks. A stage that its maker had no time to put an
    /// entry into tells nobody whose it is, and only its age speaks against it, as against a
    /// doctor's folder: a day is made to pass.
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

    /// Fails when something of the test was left.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.names(), Vec::<String>::new(), "something was left behind");
    }
}

/// Fails unless a lock of this timeout was followed when it expired, not before and soon after. The
/// holder's stamp may be up to a millisecond early, for names count whole ones.
pub(crate) fn assert_followed(waited: Duration, timeout: Duration) {
    assert!(waited + Duration::from_millis(1) > timeout, "followed after {waited:?} already");
    assert!(waited < timeout + Duration::from_secs(2), "followed after {waited:?} only");
}

/// Dates a directory back.
pub(crate) fn make_older(directory: &Path, age: Duration) {
    date(directory, SystemTime::now() - age);
}

/// Dates a directory.
pub(crate) fn date(directory: &Path, time: SystemTime) {
    let dated = File::open(directory).and_then(|open| open.set_modified(time));
    dated.expect("a directory of ours can be dated");
}

/// Makes locks that expired, held by no process.
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
