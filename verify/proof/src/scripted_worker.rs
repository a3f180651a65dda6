//! A worker process that does one thing at a time, as told.
//!
//! One command goes to its standard input, one answer comes from its standard output, a line
//! each. So a test steps several processes in any order, without a sleep. When the handle is
//! dropped, the process is killed. What goes wrong between the two ends the test by a panic.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The environment variable by which a preloaded clock learns its step, in seconds.
pub const STEP: &str = "LOCKBYDIR_PROOF_STEP";

/// The test's end of a worker process.
#[derive(Debug)]
pub struct ScriptedWorker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A worker's answer when it got a lock: `held TOKEN PASS_OVER_AFTER HOW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The fencing token.
    pub token: u64,
    /// When it had it, by [`crate::clock`].
    pub moment: u64,
    /// How it was got.
    pub how: String,
}

impl Held {
    /// Reads an answer; none if it says anything else.
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

    /// Starts it as the first process of a PID namespace of its own.
    #[must_use]
    pub fn start_in_another_pid_namespace(worker: impl AsRef<OsStr>) -> Self {
        Self::spawn(unshare(&["--pid", "--mount-proc"]).arg(worker))
    }

    /// The same, with the `/proc` of the namespace outside, where its own PID is another process.
    #[must_use]
    pub fn start_in_another_pid_namespace_with_our_proc(worker: impl AsRef<OsStr>) -> Self {
        Self::spawn(unshare(&["--pid"]).arg(worker))
    }

    /// Starts it in the namespaces of a process of somebody else's.
    #[must_use]
    pub fn start_beside(worker: impl AsRef<OsStr>, other: u32) -> Self {
        let mut command = Command::new("nsenter");
        command.args(["--target", &other.to_string(), "--pid", "--", "unshare", "--mount-proc"]);
        Self::spawn(command.arg(worker))
    }

    /// Starts it in a time namespace whose boot clock is so many seconds ahead of ours.
    #[must_use]
    pub fn start_in_another_time_namespace(worker: impl AsRef<OsStr>, ahead: i64) -> Self {
        Self::spawn(unshare(&["--time", "--boottime", &ahead.to_string()]).arg(worker))
    }

    /// Starts it with a wall clock that is so many seconds ahead of ours, made by a library that
    /// obeys [`STEP`].
    #[must_use]
    pub fn start_with_stepped_clock(worker: impl AsRef<OsStr>, library: &Path, ahead: i64) -> Self {
        let mut command = Command::new(worker);
        Self::spawn(command.env("LD_PRELOAD", library).env(STEP, ahead.to_string()))
    }

    /// Starts it as another user, which only root may.
    #[must_use]
    pub fn start_as(worker: impl AsRef<OsStr>, user: u32) -> Self {
        Self::spawn(Command::new(worker).uid(user).gid(user))
    }

    /// Starts it as this command says.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("a worker starts");
        let orders = child.stdin.take().expect("it was piped");
        let answers = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, orders, answers }
    }

    /// Says what to do, and does not wait for the answer.
    pub fn order(&mut self, command: &str) {
        let heard = self.orders.write_all(format!("{command}\n").as_bytes());
        heard.unwrap_or_else(|error| panic!("nobody hears '{command}': {error}"));
    }

    /// Waits for the next answer; none when the process is gone.
    pub fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).expect("an answer can be read");
        (length > 0).then(|| line.trim_end().to_owned())
    }

    /// Says what to do, and waits for the answer.
    pub fn ask(&mut self, command: &str) -> String {
        self.order(command);
        self.answer().unwrap_or_else(|| panic!("no answer to '{command}': the process is gone"))
    }

    /// Gets the lock by this command, or fails the test.
    pub fn hold(&mut self, command: &str) -> Held {
        let answer = self.ask(command);
        Held::parse(&answer).unwrap_or_else(|| panic!("'{command}' was answered '{answer}'"))
    }

    /// Asks for a number.
    pub fn number(&mut self, command: &str) -> u64 {
        let answer = self.ask(command);
        answer.parse().unwrap_or_else(|_| panic!("'{command}' was answered '{answer}'"))
    }

    /// Tells which lock the next commands are about.
    pub fn lock(&mut self, name: &Path, options: &str) {
        assert_eq!(self.ask(&format!("lock {} {options}", name.display())), "ok");
    }

    /// The PID, out here, of the one that does the work, be it in namespaces of its own or not.
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

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits until it is stopped by a signal (true) or gone (false).
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

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a worker ends")
    }
}

impl Drop for ScriptedWorker {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that starts another in namespaces of its own.
#[must_use]
pub fn unshare(namespaces: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--fork", "--kill-child"]).args(namespaces);
    command
}

/// Sends a signal to a child that was not yet waited for.
pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, signal).expect("a child can be sent a signal");
}

/// True if the process is stopped by a signal, as `/proc` says.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}
