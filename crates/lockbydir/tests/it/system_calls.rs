//! The budget of system calls: how many each cycle of a lock makes, compared with the tables in
//! `snapshots/`. To accept other numbers:
//!
//! `INSTA_UPDATE=always cargo test -p lockbydir --all-features --test it system_calls`
//!
//! * `counted`: the calls that pass `os/syscalls.rs`, and those that `Kind` lists in addition, as
//!   the library counts them. A question for a process and a listing count once each, whatever they
//!   consist of; `close`, `fcntl`, `getdents64`, `geteuid`, `getpid` and `futex` are not counted.
//! * `traced`: all calls, as the kernel sees them (by strace), except these. `futex`: how often a
//!   thread finds a mutex locked depends on the machine's load. `fcntl`: by it the standard library
//!   of a debug build checks before a close that the handle is open. `read`: how often a file in
//!   `/proc` is read depends on its length, and that on the machine. `statfs`: kernels before 6.8 are
//!   asked again for each lock.
//!
//! Each cycle runs in a process of its own, which is this test program again.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Instant;

use lockbydir::simulated::{Kind, calls};
use lockbydir::{Lock, Patience};
use lockbydir_testbed::needs;

use crate::process_calls::has_mount_numbers;
use crate::{ms, secs};

/// The calls of one cycle, by their names.
type Calls = BTreeMap<String, u64>;

/// Cycles of one process.
const ALONE: [&str; 5] = ["uncontended", "lingering", "fenced again", "failing try", "status"];
/// How often a process repeats its cycle.
const TIMES: u64 = 100;
/// How often the lock passes from one process to the other.
const HANDOFFS: usize = 40;

/// The user whose number a user namespace shows for all users without one in it.
const NOBODY: u32 = 65534;

/// The cycle of this process, in the environment of a process that the test starts; then how often
/// it is repeated, and the folder of the lock.
const CYCLE: &str = "LOCKBYDIR_TEST_CYCLE";
const REPEATED: &str = "LOCKBYDIR_TEST_REPEATED";
const FOLDER: &str = "LOCKBYDIR_TEST_FOLDER";
/// What begins the part of a line that such a process prints for the test.
const MARK: &str = "number of calls: ";

#[test]
fn the_calls_of_each_cycle_are_in_the_budget() {
    if let Ok(cycle) = env::var(CYCLE) {
        return run(&cycle);
    }
    let mut table = Table::default();
    for cycle in ALONE {
        let folder = folder();
        let _guard = is_refused(cycle).then(|| lock(folder.path()).acquire().unwrap());
        let calls = Player::start(cycle, TIMES, folder.path()).calls();
        table.add(cycle, divided(&calls, &Calls::new()));
    }
    table.add("handoff", handoff());
    insta::assert_snapshot!("counted", table.0);
}

#[test]
fn the_calls_that_the_kernel_sees_are_in_the_budget() {
    needs!(Strace);
    if !has_mount_numbers() {
        return lockbydir_testbed::leave_out!("traced", "mounts have no numbers (Linux 6.8)");
    }
    if rustix::process::geteuid().as_raw() == NOBODY {
        return lockbydir_testbed::leave_out!("traced", "`nobody` checks the owner of each handle");
    }
    let mut table = Table::default();
    for cycle in ALONE {
        let folder = folder();
        let _guard = is_refused(cycle).then(|| lock(folder.path()).acquire().unwrap());
        let [few, many] = [TIMES, 2 * TIMES].map(|times| traced(cycle, times, folder.path()));
        table.add(cycle, divided(&many, &few));
    }
    insta::assert_snapshot!("traced", table.0);
}

/// Makes a folder on a file system whose properties are the same everywhere.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// Returns a lock that is not renewed during the test.
fn lock(folder: &Path) -> Lock {
    Lock::new(folder.join("jobs")).timeout(secs(3600)).patience(Patience::FOREVER)
}

/// Returns true for a cycle that finds the lock held by another process.
fn is_refused(cycle: &str) -> bool {
    matches!(cycle, "failing try" | "status")
}

/// What a process does that the test has started.
fn run(cycle: &str) {
    let folder = env::var_os(FOLDER).unwrap();
    let times: u64 = env::var(REPEATED).unwrap().parse().unwrap();
    let lock = lock(Path::new(&folder));
    let acquire_and_release = |lock: &Lock| lock.acquire().unwrap().release().unwrap();
    let repeated: Box<dyn Fn()> = match cycle {
        "uncontended" => Box::new(|| acquire_and_release(&lock)),
        "lingering" => {
            let lock = lock.clone().linger(secs(3600));
            Box::new(move || acquire_and_release(&lock))
        }
        "fenced again" => {
            let lock = lock.clone().fenced(true);
            Box::new(move || acquire_and_release(&lock))
        }
        "failing try" => Box::new(|| assert!(lock.try_acquire().unwrap().is_none())),
        "status" => Box::new(|| assert!(lock.status().unwrap().is_locked())),
        _ => return hand_over(&lock),
    };
    // The renewer's thread ends when it finds no lock held: often or never, by the machine's load.
    let _held = Lock::new(Path::new(&folder).join("other")).timeout(secs(3600)).acquire().unwrap();
    // What is found out once in a process does not count.
    repeated();
    let before = calls();
    (0..times).for_each(|_| repeated());
    print_calls_since(&before);
}

fn print_calls_since(before: &[u64]) {
    let made = Kind::ALL.iter().zip(calls()).zip(before);
    let made = made.map(|((kind, now), before)| format!("{kind:?}={}", now - before));
    println!("{MARK}{}", made.collect::<Vec<_>>().join(" "));
}

/// Acquires the lock, and releases and acquires it in turn, each time for a line that it reads.
/// Prints the calls from one holding to the next.
fn hand_over(lock: &Lock) {
    let mut before = calls();
    let mut lines = std::io::stdin().lines();
    loop {
        let guard = lock.acquire().unwrap();
        print_calls_since(&before);
        if lines.next().is_none() {
            return;
        }
        before = calls();
        guard.release().unwrap();
        if lines.next().is_none() {
            return;
        }
    }
}

/// A process that runs a cycle.
struct Player {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Player {
    fn start(cycle: &str, times: u64, folder: &Path) -> Player {
        Player::of(Command::new(env::current_exe().unwrap()), cycle, times, folder)
    }

    fn of(mut command: Command, cycle: &str, times: u64, folder: &Path) -> Player {
        command
            .args(["system_calls::the_calls_of_each_cycle_are_in_the_budget", "--exact"])
            .args(["--nocapture", "--test-threads=1"])
            .env(CYCLE, cycle)
            .env(REPEATED, times.to_string())
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Player { child, input, output: BufReader::new(output) }
    }

    /// Returns the calls that it prints next.
    fn calls(&mut self) -> Calls {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the process has ended");
            let Some((_, calls)) = line.split_once(MARK) else { continue };
            let calls = calls.split_whitespace().map(|one| one.split_once('=').unwrap());
            return calls.map(|(kind, count)| (kind.to_owned(), count.parse().unwrap())).collect();
        }
    }

    /// Waits until all its threads sleep, and the queue of the lock is as long as this.
    fn await_rest(&self, lock: &Lock, queued: usize) {
        let deadline = Instant::now() + secs(60);
        let mut seen = 0;
        // Seen once, it may be between two short sleeps.
        while seen < 2 {
            let is_at_rest = self.sleeps() && lock.status().unwrap().queue.len() == queued;
            seen = if is_at_rest { seen + 1 } else { 0 };
            assert!(Instant::now() < deadline, "the waiter does not come to rest");
            thread::sleep(ms(2));
        }
    }

    fn sleeps(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|state| state.starts_with('S'))
        })
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the calls of one handoff: of the process that acquires, from its own release on. So they
/// include that it joins the queue and waits. It joins only after the other one has left the queue:
/// which of the two is faster changes the calls.
fn handoff() -> Calls {
    let folder = folder();
    let lock = lock(folder.path());
    let mut holder = Player::start("handoff", 0, folder.path());
    holder.calls();
    let mut waiter = Player::start("handoff", 0, folder.path());
    let mut found: BTreeMap<Calls, usize> = BTreeMap::new();
    for nth in 0..HANDOFFS {
        waiter.await_rest(&lock, 1);
        writeln!(holder.input).unwrap();
        let calls = waiter.calls();
        writeln!(holder.input).unwrap();
        // Its first acquisition follows no release.
        if nth > 0 {
            *found.entry(calls).or_default() += 1;
        }
        std::mem::swap(&mut holder, &mut waiter);
    }
    // Where the machine is loaded, a waiter looks at the lock more often, or less.
    found.into_iter().max_by_key(|(_, times)| *times).unwrap().0
}

/// Returns how many calls a process makes that repeats its cycle this often, by strace.
fn traced(cycle: &str, times: u64, folder: &Path) -> Calls {
    let output = folder.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&output).arg(env::current_exe().unwrap());
    let mut player = Player::of(strace, cycle, times, folder);
    player.calls();
    assert!(player.child.wait().unwrap().success());
    let text = fs::read_to_string(&output).unwrap();
    fs::remove_file(&output).unwrap();
    let mut calls = Calls::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, count, .., name] = fields[..] else { continue };
        // Some architectures have only the second one.
        let name = if name == "open" { "openat" } else { name };
        if let Ok(count) = count.parse::<u64>()
            && !matches!(name, "fcntl" | "futex" | "read" | "statfs" | "total")
        {
            *calls.entry(name.to_owned()).or_default() += count;
        }
    }
    assert!(calls.contains_key("openat"), "no table of calls: {text}");
    calls
}

/// Returns the calls of one cycle: `TIMES` of them are between these.
fn divided(many: &Calls, few: &Calls) -> Calls {
    let once = |(name, &count): (&String, &u64)| {
        let made = count.saturating_sub(few.get(name).copied().unwrap_or_default());
        (name.clone(), (made + TIMES / 2) / TIMES)
    };
    many.iter().map(once).collect()
}

/// A row for each kind of call of each cycle.
#[derive(Default)]
struct Table(String);

impl Table {
    fn add(&mut self, cycle: &str, calls: Calls) {
        let all: u64 = calls.values().sum();
        let made = calls.iter().filter(|(_, count)| **count > 0);
        for (name, count) in made.map(|(name, count)| (name.as_str(), *count)).chain([("all", all)])
        {
            writeln!(self.0, "{cycle:<12}   {name:<13} {count:>3}").unwrap();
        }
    }
}
