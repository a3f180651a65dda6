//! A worker process that executes one command at a time.
//!
//! Each command is a line on its standard input, each answer a line on its standard output. So a test
//! steps several processes in any order, without sleeping. When the handle is dropped, the process is
//! killed. A failed exchange ends the test with a panic.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The environment variable that gives a preloaded clock its step, in seconds.
pub const STEP: &str = "LOCKBYDIR_PROOF_STEP";

/// The test's end of a worker process.
#[derive(Debug)]
pub struct ScriptedWorker {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A worker's answer after it acquired a lock: `held TOKEN MOMENT HOW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The fencing token.
    pub token: u64,
    /// The moment of the acquisition, by [`crate::clock`].
    pub moment: u64,
    /// How the lock was acquired.
    pub how: String,
}

impl Held {
    /// Parses an answer; returns `None` if it is any other answer.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let mut words = answer.strip_prefix("held ")?.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (token, moment) = (number()?, number()?);
        Some(Self { token, moment, how: words.next()?.to_owned() })
    }
}

impl ScriptedWorker {
    /// Starts the worker program.
    #[must_use]
    pub fn start(worker: impl AsRef<OsStr>) -> Self {
        Self::spawn(&mut Command::new(worker))
    }

    /// Starts the worker as the first process of its own PID namespace.
    #[must_use]
    pub fn start_in_another_pid_namespace(worker: impl AsRef<OsStr>) -> Self {
        Self::spawn(unshare(&["--pid", "--mount-proc"]).arg(worker))
    }

    /// The same, with the `/proc` of the outer namespace, where its own PID is another process.
    #[must_use]
    pub fn start_in_another_pid_namespace_with_our_proc(worker: impl AsRef<OsStr>) -> Self {
        Self::spawn(unshare(&["--pid"]).arg(worker))
    }

    /// Starts the worker in the namespaces of another process.
    #[must_use]
    pub fn start_beside(worker: impl AsRef<OsStr>, other: u32) -> Self {
        let mut command = Command::new("nsenter");
        command.args(["--target", &other.to_string(), "--pid", "--", "unshare", "--mount-proc"]);
        Self::spawn(command.arg(worker))
    }

    /// Starts the worker in a time namespace whose boot clock is `ahead` seconds ahead of ours.
    #[must_use]
    pub fn start_in_another_time_namespace(worker: impl AsRef<OsStr>, ahead: i64) -> Self {
        Self::spawn(unshare(&["--time", "--boottime", &ahead.to_string()]).arg(worker))
    }

    /// Starts the worker with a wall clock that is `ahead` seconds ahead of ours, made by a library that
    /// reads [`STEP`].
    #[must_use]
    pub fn start_with_stepped_clock(worker: impl AsRef<OsStr>, library: &Path, ahead: i64) -> Self {
        let mut command = Command::new(worker);
        step_clock(&mut command, library, ahead);
        Self::spawn(&mut command)
    }

    /// Starts the worker as another user, which only root may do.
    #[must_use]
    pub fn start_as(worker: impl AsRef<OsStr>, user: u32) -> Self {
        Self::spawn(Command::new(worker).uid(user).gid(user))
    }

    /// Starts the worker by this command.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("a worker starts");
        let commands = child.stdin.take().expect("it was piped");
        let answers = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, commands, answers }
    }

    /// Sends a command, and does not wait for the answer.
    pub fn order(&mut self, command: &str) {
        let written = self.commands.write_all(format!("{command}\n").as_bytes());
        written.unwrap_or_else(|error| panic!("nobody reads '{command}': {error}"));
    }

    /// Waits for the next answer; returns `None` if the process has ended.
    pub fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).expect("an answer can be read");
        (length > 0).then(|| line.trim_end().to_owned())
    }

    /// Sends a command, and waits for the answer.
    pub fn ask(&mut self, command: &str) -> String {
        self.order(command);
        self.answer().unwrap_or_else(|| panic!("no answer to '{command}': the process is gone"))
    }

    /// Acquires the lock by this command, or fails the test.
    pub fn hold(&mut self, command: &str) -> Held {
        let answer = self.ask(command);
        Held::parse(&answer).unwrap_or_else(|| panic!("'{command}' was answered '{answer}'"))
    }

    /// Sends a command that is answered with a number.
    pub fn number(&mut self, command: &str) -> u64 {
        let answer = self.ask(command);
        answer.parse().unwrap_or_else(|_| panic!("'{command}' was answered '{answer}'"))
    }

    /// Sets the lock that the next commands use.
    pub fn lock(&mut self, name: &Path, options: &str) {
        assert_eq!(self.ask(&format!("lock {options}\t{}", name.display())), "ok");
    }

    /// Returns the PID, in our namespace, of the process that does the work, whether it has its own
    /// namespaces or not.
    #[must_use]
    pub fn inner(&self) -> u32 {
        let outer = self.child.id().to_string();
        let is_child = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit(") ").next();
            rest.is_some_and(|rest| rest.split(' ').nth(1) == Some(&outer))
        };
        let all = std::fs::read_dir("/proc").expect("the processes");
        let pids = all.filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok());
        pids.into_iter().find(is_child).unwrap_or(self.child.id())
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits until the process is stopped by a signal (true) or has ended (false).
    pub fn wait_stopped(&mut self) -> bool {
        loop {
            if self.child.try_wait().expect("a worker's state").is_some() {
                return false;
            }
            if is_stopped(self.child.id()) {
                return true;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until the process ends.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a worker ends")
    }
}

impl Drop for ScriptedWorker {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a command start with a wall clock that is `ahead` seconds ahead of ours, made by a library that reads
/// [`STEP`].
pub fn step_clock(command: &mut Command, library: &Path, ahead: i64) {
    // The path of a library to load first must not contain spaces; that of its folder may.
    let (name, folder) = (library.file_name(), library.parent());
    command.env("LD_PRELOAD", name.expect("a file")).env(STEP, ahead.to_string());
    command.env("LD_LIBRARY_PATH", folder.expect("a file in a folder"));
}

/// Returns a command that starts another in namespaces of its own.
#[must_use]
pub fn unshare(namespaces: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--fork", "--kill-child"]).args(namespaces);
    command
}

/// Sends a signal to a child that has not been waited for yet.
pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, signal).expect("a child can be sent a signal");
}

/// Returns true if the process is stopped by a signal, according to `/proc`.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}
