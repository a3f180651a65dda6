//! The command line as a contract: real processes, their exit codes and what they print.

// These tests need a shell, signals and modes; `windows.rs` has those for Windows.
#![cfg(unix)]
#![allow(missing_docs, reason = "test names are sentences")]

mod at_least;
mod attacks;
mod bad_input;
#[cfg(feature = "bench")]
mod bench;
mod busy;
mod clutter;
#[cfg(target_os = "linux")]
mod contain;
#[cfg(target_os = "linux")]
mod continued;
#[cfg(target_os = "linux")]
mod deadlock;
mod doctor;
mod flock;
mod full_disk;
mod keys;
#[cfg(feature = "player")]
mod limits;
mod looks;
mod loss;
mod names;
mod nested;
#[cfg(all(feature = "player", target_os = "linux"))]
mod observed;
mod others;
mod outputs;
#[cfg(feature = "player")]
mod play;
mod queue;
mod ran;
#[cfg(all(feature = "player", feature = "bench"))]
mod readme;
mod running;
#[cfg(feature = "player")]
mod serve;
mod several;
mod slots;
#[cfg(all(feature = "etcd", feature = "player", feature = "bench", target_os = "linux"))]
mod snapshots;
#[cfg(target_os = "linux")]
mod start_cost;
#[cfg(target_os = "linux")]
mod supervision;
mod terminal;
#[cfg(feature = "player")]
mod watch;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockbydir_testbed::leave_out;
use serde_json::Value;

pub(crate) use ran::Ran;

/// Returns whether this user sees the processes of others: `/proc` may hide them (`hidepid`).
pub(crate) fn sees_others(user: u32) -> bool {
    use std::os::unix::process::CommandExt;

    let mut look = Command::new("test");
    look.args(["-e", "/proc/1/stat"]).uid(user).gid(user);
    look.status().expect("test runs").success()
}

/// A folder to lock in. When it is dropped, it must be empty.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns a `lockbydir` command in this folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        command_in(self.path(), args)
    }

    /// Runs `lockbydir` in this folder to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).stdin(Stdio::null()).output().expect("lockbydir runs"))
    }

    /// Starts `run` with these options, and waits until its command has printed its PID.
    pub(crate) fn hold(&self, options: &[&str], script: &str) -> Holding {
        let script = format!("echo $$; {script}");
        let mut args = vec!["run"];
        args.extend(options);
        args.extend(["jobs", "--", "sh", "-c", &script]);
        Holding::start(self.command(&args))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        names(self.path())
    }

    /// Returns the output of `status --json`.
    pub(crate) fn status(&self) -> Value {
        let ran = self.run(&["status", "jobs", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).expect("one JSON object")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.names(), Vec::<String>::new(), "left behind");
        }
    }
}

pub(crate) fn command_in(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbydir"));
    command.args(args).current_dir(folder);
    for name in ["LOCKBYDIR_DIR", "LOCKBYDIR_TIMEOUT", "LOCKBYDIR_PATIENCE", "LOCKBYDIR_HELD"] {
        command.env_remove(name);
    }
    command
}

/// Returns the program's path for a shell's command line.
pub(crate) fn quoted_program() -> String {
    quoted(env!("CARGO_BIN_EXE_lockbydir"))
}

/// Returns a path as one word of a shell's command line.
pub(crate) fn quoted(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().to_str().expect("UTF-8");
    format!("'{}'", path.replace('\'', "'\\''"))
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A `run` whose command has begun.
pub(crate) struct Holding {
    pub(crate) child: Child,
    /// The command's PID, as seen from outside its namespace.
    pub(crate) pid: i32,
    lines: BufReader<std::process::ChildStdout>,
}

impl Holding {
    pub(crate) fn start(mut command: Command) -> Holding {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lockbydir starts");
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut holding = Holding { child, pid: 0, lines };
        let pid = holding.line().parse().expect("the command's PID");
        holding.pid = seen_from_here(holding.child.id(), pid);
        holding
    }

    /// Reads the command's next line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    /// Lets the command continue (its stdin ends) and waits for the end of both.
    pub(crate) fn finish(mut self) -> Ran {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        let mut ran = Ran::of(self.child.wait_with_output().unwrap());
        ran.out = rest;
        ran
    }
}

/// Finds a descendant of `ancestor` by the PID that it has in its own namespace. The search goes from each
/// process up to its ancestors, since a list of children may omit some while others end.
pub(crate) fn seen_from_here(ancestor: u32, pid: i32) -> i32 {
    let field = |of: i32, name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{of}/status")).ok()?;
        let pids = status.lines().find_map(|line| line.strip_prefix(name))?;
        pids.split_whitespace().last()?.parse::<i32>().ok()
    };
    let is_below = |found: i32| {
        let parents = std::iter::successors(Some(found), |&one| field(one, "PPid:"));
        parents.take_while(|&one| one > 1).any(|one| one == ancestor.cast_signed())
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut same = pids.filter(|&found| field(found, "NSpid:") == Some(pid));
    same.find(|&found| is_below(found)).unwrap_or(pid)
}

/// Returns all descendants of a process, as far as the system shows them.
pub(crate) fn below(pid: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<i32> = lists.flat_map(|list| numbers(&list)).collect();
    let deeper = children.iter().flat_map(|child| below(*child));
    children.iter().copied().chain(deeper).collect()
}

fn numbers(list: &str) -> Vec<i32> {
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Returns the options of `run` that the tests of supervision are repeated with: none, and `--contain`
/// where that is possible.
pub(crate) fn ways() -> Vec<&'static [&'static str]> {
    let folder = Folder::new();
    let ran = folder.run(&["run", "--contain", "jobs", "--", "true"]);
    if ran.code == 0 {
        return vec![&[], &["--contain"]];
    }
    leave_out!("the tests with --contain", ran.err.trim());
    vec![&[]]
}

/// Whether this process is alive and not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Plays a scene until it takes less time than this, for a minute at most: a busy machine delays some, a fault
/// delays all.
#[track_caller]
pub(crate) fn soon(limit: Duration, mut scene: impl FnMut() -> Duration) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut late = Vec::new();
    loop {
        let took = scene();
        if took < limit {
            return;
        }
        late.push(took);
        assert!(Instant::now() < end, "never less than {limit:?}: {late:?}");
    }
}

/// Waits until a condition is true, for a minute at most.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
