//! Forks in a small range of PIDs: several chains of processes compete for one lock. Each process holds it
//! once, forks its successor and ends, so that most successors have the PID of an ancestor.
//!
//! Must be PID 1 of its own PID namespace, with the `/proc` of that namespace:
//!
//! ```text
//! unshare --map-root-user --pid --fork --mount-proc lockbydir-forks FOLDER FORKS
//! ```
//!
//! It prints `overlaps N lost N reused N longest_wait_ms N`.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lockbydir::Lock;
use lockbydir_proof::{chance::Dice, torture::contender::Outcome};

/// The number of processes that compete for the lock at any time.
const CHAINS: u64 = 4;
/// The PIDs that are assigned.
const PIDS: std::ops::Range<u64> = 400..500;
/// The time for which a process holds the lock, in which the others can look at it.
const INSIDE: Duration = Duration::from_micros(500);

/// The folder that all chains share.
struct Place(PathBuf);

impl Place {
    fn note(&self, file: &str, line: &str) -> Outcome<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(self.0.join(file))?;
        // One write per line, which other processes do not interleave.
        file.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// Acquires the lock once, and checks whether another process is inside.
    fn hold_once(&self) -> Outcome<()> {
        let lock = Lock::new(self.0.join("jobs")).timeout(Duration::from_secs(60));
        let begun = Instant::now();
        let guard = lock.patience(Duration::from_secs(120)).acquire()?;
        self.note("holds", &format!("{} {}", std::process::id(), begun.elapsed().as_millis()))?;
        let inside = self.0.join("inside");
        match OpenOptions::new().write(true).create_new(true).open(&inside) {
            Ok(_) => {
                std::thread::sleep(INSIDE);
                fs::remove_file(inside)?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.note("overlaps", &std::process::id().to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
        match guard.release() {
            Err(error) if error.is_lost() => self.note("lost", &error.to_string()),
            done => Ok(done?),
        }
    }

    /// Runs a chain of `length` processes; this process is the first.
    fn chain(&self, length: u64) -> Outcome<()> {
        let mut dice = Dice::default();
        for _ in 0..length {
            self.hold_once()?;
            let next = PIDS.start + dice.below(PIDS.end - PIDS.start);
            fs::write("/proc/sys/kernel/ns_last_pid", next.to_string())?;
            if let fork::Fork::Parent(_) = fork::fork()? {
                std::process::exit(0);
            }
        }
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let usage = "FOLDER FORKS";
    let place = Place(PathBuf::from(args.next().ok_or(usage)?));
    let forks: u64 = args.next().ok_or(usage)?.parse()?;
    if std::process::id() != 1 {
        return Err("this is not the first process of a PID namespace of its own".into());
    }
    for _ in 0..CHAINS {
        if let fork::Fork::Child = fork::fork()? {
            let code = match place.chain(forks / CHAINS) {
                Ok(()) => 0,
                Err(error) => {
                    place.note("errors", &format!("{} {error}", std::process::id()))?;
                    1
                }
            };
            std::process::exit(code);
        }
    }
    // Every process whose parent has ended is a child of PID 1.
    while fork::wait_any().is_ok() {}

    let read = |file: &str| fs::read_to_string(Path::new(&place.0).join(file)).unwrap_or_default();
    let (errors, holds) = (read("errors"), read("holds"));
    if !errors.is_empty() {
        return Err(errors.into());
    }
    let holds: Vec<_> = holds.lines().filter_map(|line| line.split_once(' ')).collect();
    let pids: HashSet<_> = holds.iter().map(|(pid, _)| pid).collect();
    let waits = holds.iter().filter_map(|(_, waited)| waited.parse::<u64>().ok());
    println!(
        "overlaps {} lost {} reused {} longest_wait_ms {}",
        read("overlaps").lines().count(),
        read("lost").lines().count(),
        holds.len() - pids.len(),
        waits.max().unwrap_or(0)
    );
    Ok(())
}
