//! The program `lockbydir`, as users run it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lockbydir_proof::scripted_worker::ScriptedWorker;

#[path = "../../../../crates/cli/tests/it/ran.rs"]
mod ran;

pub(crate) use ran::Ran;

/// The worker program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_lockbydir-worker");

/// Returns the path of the program.
pub(crate) fn lockbydir() -> PathBuf {
    let program = Path::new(WORKER).with_file_name("lockbydir");
    let shown = program.display();
    assert!(program.exists(), "`cargo build -p lockbydir-cli` of this profile makes {shown}");
    program
}

impl Ran {
    /// Checks that it succeeded, and printed only this.
    #[track_caller]
    pub(crate) fn printed(&self, out: &str) {
        assert_eq!((self.code, self.out.trim()), (0, out), "{self:?}");
    }
}

/// Runs the program in a folder.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    finished(Command::new(lockbydir()).args(arguments).current_dir(folder))
}

/// Runs a shell script in a folder and in namespaces of its own, with the program as `$L`.
pub(crate) fn run_within(folder: &Path, namespaces: &[&str], script: &str) -> Ran {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child"]).args(namespaces).args(["sh", "-ec", script]);
    finished(command.env("L", lockbydir()).current_dir(folder))
}

pub(crate) fn finished(command: &mut Command) -> Ran {
    for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE"] {
        command.env_remove(name);
    }
    Ran::of(command.stdin(Stdio::null()).output().expect("it runs"))
}

/// Starts a worker that uses the lock `jobs` in a folder.
pub(crate) fn scripted_worker(folder: &Path, options: &str) -> ScriptedWorker {
    with_jobs(ScriptedWorker::start(WORKER), folder, options)
}

/// The same, with a worker that was started already.
pub(crate) fn with_jobs(
    mut worker: ScriptedWorker,
    folder: &Path,
    options: &str,
) -> ScriptedWorker {
    worker.lock(&folder.join("jobs"), options);
    worker
}
