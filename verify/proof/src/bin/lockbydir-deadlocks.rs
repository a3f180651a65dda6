//! Random deadlocks, each of which one waiter must learn of soon; and random waits without a deadlock, of
//! which none may be taken for one.
//!
//! A deadlock is a ring of 2 to 5 processes: each holds a lock, and then wants that of the next; some wait
//! in a child. In waits without a deadlock, processes take several locks in one order, hold them for up
//! to 2 s, hold one while a child waits for it, or give up; so most waits are examined at least once.
//!
//! It prints what it counted, one line, and fails if a deadlock was not reported to exactly one of its
//! waiters within a minute, or a wait was taken for a deadlock. How soon a deadlock was reported is
//! printed: on a busy machine it depends on the machine.

use std::{
    io::{BufRead, BufReader, Write, stdin, stdout},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use lockbydir::{ErrorKind, Lock};
use lockbydir_proof::{chance::Dice, clock, torture::contender::Outcome};

/// A wait that lasts this long has been examined.
const EXAMINED: Duration = Duration::from_millis(1150);
/// A waiter in a ring gives up after this time, which is a failure of the proof.
const PATIENCE: Duration = Duration::from_secs(60);
/// The locks of one group of processes without a deadlock.
const LOCKS: u64 = 4;
const NANOS_PER_MS: u64 = 1_000_000;

#[derive(Parser)]
struct Args {
    /// How many deadlocks there are
    #[arg(long, default_value_t = 1000)]
    deadlocks: u64,
    /// How many waits without a deadlock are examined
    #[arg(long, default_value_t = 10_000)]
    waits: u64,
    /// How many groups of processes run at once
    #[arg(long, default_value_t = 16)]
    at_once: u64,
    /// What the random numbers depend on
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a process of a group does; for the program itself
    #[arg(long, num_args = 1.., hide = true, allow_hyphen_values = true)]
    part: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.part.as_slice() {
        [] => prove(&args),
        part => play(part).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: impl std::fmt::Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn lock(folder: &Path, number: u64) -> Lock {
    Lock::new(folder.join(number.to_string())).renew_automatically(true)
}

/// Starts this program with another part to play.
fn start(part: &[&str]) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--part").args(part);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

fn play(part: &[String]) -> Outcome<()> {
    let texts: Vec<&str> = part.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["ring", folder, own, next, delay, way] => {
            ring(folder.as_ref(), own.parse()?, next, delay.parse()?, way)
        }
        ["want", folder, next] => want(folder.as_ref(), next.parse()?),
        ["queue", folder, seed] => queue(folder.as_ref(), seed.parse()?),
        ["once", folder, number] => {
            lock(folder.as_ref(), number.parse()?).patience(PATIENCE).acquire()?.release()?;
            Ok(())
        }
        other => Err(format!("no such part: {other:?}").into()),
    }
}

/// A process of a ring: holds a lock until it may go on, and wants the next one.
fn ring(folder: &Path, own: u64, next: &str, delay: u64, way: &str) -> Outcome<()> {
    let guard = lock(folder, own).acquire()?;
    say("holds");
    stdin().read_line(&mut String::new())?;
    thread::sleep(Duration::from_millis(delay));
    match way {
        "itself" => want(folder, next.parse()?)?,
        _ => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--part", "want"]).arg(folder).arg(next).status()?;
        }
    }
    guard.release()?;
    Ok(())
}

/// Wants a lock, and says when it began to wait, and how that ended.
fn want(folder: &Path, next: u64) -> Outcome<()> {
    say(format_args!("waits {}", clock::now()));
    match lock(folder, next).patience(PATIENCE).acquire() {
        Ok(guard) => {
            say(format_args!("got {}", clock::now()));
            guard.release()?;
        }
        Err(error) if error.kind() == ErrorKind::Deadlock => {
            say(format_args!("deadlock {} {error}", clock::now()));
        }
        Err(error) => say(format_args!("failed {} {error}", clock::now())),
    }
    Ok(())
}

/// A process that takes locks in one order only, until its input ends. Says how long each wait has
/// lasted, and whether it was taken for a deadlock.
fn queue(folder: &Path, seed: u64) -> Outcome<()> {
    let mut dice = Dice::seeded(seed);
    // A thread that reads the input would make this process one that is never examined.
    while !has_input_ended()? {
        let mut guards = Vec::new();
        for number in 0..LOCKS {
            if dice.once_in(2) {
                continue;
            }
            let patience = if dice.once_in(8) { 1000 + dice.below(1500) } else { 60_000 };
            let begun = Instant::now();
            let got = lock(folder, number).patience(Duration::from_millis(patience)).acquire();
            match got {
                Ok(guard) => guards.push((number, guard)),
                Err(error) if error.is_patience_over() => {}
                Err(error) if error.kind() == ErrorKind::Deadlock => {
                    say(format_args!("deadlock {error}"))
                }
                Err(error) => say(format_args!("failed {error}")),
            }
            say(format_args!("waited {}", begun.elapsed().as_millis()));
        }
        thread::sleep(Duration::from_millis(dice.below(2000)));
        // A child waits for what its parent holds, and the parent does not wait for the child.
        let child = match guards.first().filter(|_| dice.once_in(4)) {
            Some((number, _)) => {
                let child = start(&["once", &folder.to_string_lossy(), &number.to_string()])?;
                thread::sleep(Duration::from_millis(800 + dice.below(1500)));
                Some(child)
            }
            None => None,
        };
        while !guards.is_empty() {
            let at = usize::try_from(dice.below(guards.len() as u64))?;
            guards.swap_remove(at).1.release()?;
        }
        if let Some(mut child) = child
            && !child.wait()?.success()
        {
            say("deadlock in a child");
        }
    }
    Ok(())
}

/// Returns whether the coordinator has closed our input.
fn has_input_ended() -> Outcome<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let input = stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let instant = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&instant))? > 0)
}

/// What was counted.
#[derive(Default)]
struct Counts {
    deadlocks: AtomicU64,
    examined: AtomicU64,
    faults: Mutex<Vec<String>>,
    /// How long each deadlock lasted before it was reported, in milliseconds.
    took: Mutex<Vec<u64>>,
}

impl Counts {
    fn fault(&self, what: String) {
        eprintln!("{what}");
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

fn prove(args: &Args) -> Outcome<bool> {
    let counts = Counts::default();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..args.at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    if number >= args.deadlocks {
                        break;
                    }
                    if let Err(error) = one_ring(args.seed.wrapping_mul(1 << 32) + number, &counts)
                    {
                        counts.fault(format!("ring {number}: {error}"));
                    }
                }
            });
        }
    });
    thread::scope(|scope| {
        for number in 0..args.at_once {
            let counts = &counts;
            scope.spawn(move || {
                if args.waits > 0
                    && let Err(error) = one_group(args, number, counts)
                {
                    counts.fault(format!("group {number}: {error}"));
                }
            });
        }
    });
    let mut took = counts.took.into_inner()?;
    took.sort_unstable();
    let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
    let at = |share| at(share).copied().unwrap_or(0);
    let soon = took.iter().filter(|&&took| took <= 1500).count();
    let faults = counts.faults.into_inner()?;
    println!(
        "deadlocks {} reported_ms median {} 99% {} longest {} within_1500 {soon} waits {} faults {}",
        counts.deadlocks.into_inner(),
        at(50),
        at(99),
        at(100),
        counts.examined.into_inner(),
        faults.len()
    );
    Ok(faults.is_empty())
}

/// Makes one deadlock, and counts who learns of it.
fn one_ring(seed: u64, counts: &Counts) -> Outcome<()> {
    let mut dice = Dice::seeded(seed);
    let folder = tempfile::tempdir()?;
    let size = 2 + dice.below(4);
    let mut members = Vec::new();
    for own in 0..size {
        let (next, delay) = ((own + 1) % size, dice.below(400));
        let way = if dice.once_in(4) { "child" } else { "itself" };
        let mut child = start(&[
            "ring",
            &folder.path().to_string_lossy(),
            &own.to_string(),
            &next.to_string(),
            &delay.to_string(),
            way,
        ])?;
        let output = child.stdout.take().ok_or("no output")?;
        members.push((child, BufReader::new(output)));
    }
    let mut line = String::new();
    for (_, output) in &mut members {
        line.clear();
        output.read_line(&mut line)?;
        if line != "holds\n" {
            return Err(format!("no holder: {line}").into());
        }
    }
    for (child, _) in &mut members {
        child.stdin.as_ref().ok_or("no input")?.write_all(b"go\n")?;
    }
    let (mut formed, mut reports, mut got) = (0, Vec::new(), 0);
    for (mut child, output) in members {
        for line in output.lines() {
            let line = line?;
            let mut words = line.splitn(3, ' ');
            let (what, when) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let when: u64 = when.parse()?;
            match what {
                "waits" => formed = formed.max(when),
                "got" => got += 1,
                "deadlock" => reports.push((when, line)),
                _ => counts.fault(format!("ring {seed}: {line}")),
            }
        }
        if !child.wait()?.success() {
            counts.fault(format!("ring {seed}: a process failed"));
        }
    }
    counts.deadlocks.fetch_add(1, SeqCst);
    match reports.as_slice() {
        [(when, line)] if got == size - 1 => {
            let steps = line.matches(" holds ").count() as u64;
            if steps != size - 1 {
                counts.fault(format!("ring {seed} of {size}: {line}"));
            }
            let took = when.saturating_sub(formed) / NANOS_PER_MS;
            counts.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
        reports => {
            counts.fault(format!("ring {seed} of {size}: {got} got it, reported {reports:?}"))
        }
    }
    Ok(())
}

/// Runs one group without a deadlock until enough waits were examined in all.
fn one_group(args: &Args, number: u64, counts: &Counts) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path: PathBuf = folder.path().to_owned();
    thread::scope(|scope| {
        for member in 0..6 {
            let path = &path;
            scope.spawn(move || {
                let seed = args.seed.wrapping_mul(1 << 40) + number * 100 + member;
                if let Err(error) = one_member(path, seed, args.waits, counts) {
                    counts.fault(format!("group {number}: {error}"));
                }
            });
        }
    });
    Ok(())
}

fn one_member(folder: &Path, seed: u64, enough: u64, counts: &Counts) -> Outcome<()> {
    let mut child = start(&["queue", &folder.to_string_lossy(), &seed.to_string()])?;
    let output = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("waited", waited)) => {
                if Duration::from_millis(waited.parse()?) >= EXAMINED {
                    counts.examined.fetch_add(1, SeqCst);
                }
            }
            _ => counts.fault(line),
        }
        if counts.examined.load(SeqCst) >= enough {
            child.stdin.take();
        }
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => Err("a process failed".into()),
    }
}
