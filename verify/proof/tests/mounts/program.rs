//! The program `lockbydir`, as people run it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lockbydir_proof::scripted_worker::ScriptedWorker;

/// The worker program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_lockbydir-worker");

/// Where it is.
pub(crate) fn lockbydir() -> PathBuf {
    let program = Path::new(WORKER).with_file_name("lockbydir");
    let shown = program.display();
    assert!(program.exists(), "`cargo build -p lockbydir-cli` of this profile makes {shown}");
    program
}

/// What a finished one left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Ended with this code, and these words on stderr.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words), "no `{words}` in {self:?}");
    }

    /// Ended well, having said only this.
    #[track_caller]
    pub(crate) fn said(&self, out: &str) {
        assert_eq!((self.code, self.out.trim()), (0, out), "{self:?}");
    }
}

/// Runs it in a folder.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    finished(Command::new(lockbydir()).args(arguments).current_dir(folder))
}

/// Runs a shell's script in a folder and in namespaces of its own, with the program as `$L`.
pub(crate) fn run_within(folder: &Path, namespaces: &[&str], script: &str) -> Ran {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--kill-child"]).args(namespaces).args(["sh", "-ec", script]);
    finished(command.env("L", lockbydir()).current_dir(folder))
}

pub(crate) fn finished(command: &mut Command) -> Ran {
    for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE"] {
        command.env_remove(name);
    }
    Ran::of(&command.stdin(Stdio::null()).output().expect("it runs"))
}

/// A worker that plays with the lock `jobs` in a folder.
pub(crate) fn puppet(folder: &Path, options: &str) -> ScriptedWorker {
    playing(ScriptedWorker::start(WORKER), folder, options)
}

/// The same, of a worker that was started already.
pub(crate) fn playing(mut puppet: ScriptedWorker, folder: &Path, options: &str) -> ScriptedWorker {
    puppet.lock(&folder.join("jobs"), options);
    puppet
}
