//! Acquire and release, compared with the raw calls that they consist of, and with flock.
//!
//! `cargo bench -p lockbydir-bench`: all in one run and in the same directory; in every round the contestants
//! take turns, each round beginning with another one; the median over the rounds counts. Only the ratios
//! are meaningful on other machines. Some have an aim; this is a command and not a test, so a missed aim is
//! only printed.
//!
//! The cost of `mkdir + rmdir` depends on the mount: with `discard` each `rmdir` waits for the disk, and
//! without a journal ext4 searches longer for an inode the more were deleted recently. So the least that the
//! protocol needs, as raw calls, is measured, too: the time beyond that is ours.
//!
//! It measures in the build's own directory (usually on a disk) and in `/dev/shm`; `-- --dir DIR` measures
//! elsewhere, `-- --rounds 101` more often. The program is built for it, or taken from the path in
//! `LOCKBYDIR_BIN`.

use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockbydir::Lock;
use lockbydir_bench::{Aim, Ratio, median};
use rustix::fs::{FlockOperation, Mode, OFlags, statfs};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A name, and an operation.
type Subject<'a> = (&'static str, Box<dyn FnMut() -> Outcome<()> + 'a>);

/// The names of the two operations of a ratio, and its aim.
type Question = (&'static str, &'static str, Option<Aim>);

const MKDIR: &str = "mkdir + rmdir";
const RENAMES: &str = "rename + rename";
const FLOCK: &str = "open + flock + close";
const STAGED: &str = "the protocol's raw calls";
const DEFAULT: &str = "acquire + release";
const LINGER: &str = "acquire + release, linger";
const FENCED: &str = "acquire + release, fenced";
const RUN: &str = "lockbydir run x -- true";
const RUN_FLOCK: &str = "flock x true";

/// The aims were set for ext4, where making a directory is expensive.
const ON_EXT4: [Question; 9] = [
    (STAGED, MKDIR, None),
    (DEFAULT, MKDIR, Some(Aim::AtMost(1.6))),
    (DEFAULT, STAGED, None),
    (DEFAULT, FLOCK, None),
    (LINGER, RENAMES, Some(Aim::AtMost(2.0))),
    (LINGER, MKDIR, Some(Aim::Below(0.25))),
    (LINGER, FLOCK, None),
    (FENCED, RENAMES, None),
    (FENCED, MKDIR, None),
];
const OF_PROGRAMS: [Question; 1] = [(RUN, RUN_FLOCK, Some(Aim::AtMost(2.0)))];

/// Returns the median microseconds of each, over interleaved rounds of `turns` each.
fn compete(contestants: &mut [Subject<'_>], turns: u32, rounds: usize) -> Outcome<Vec<f64>> {
    let count = contestants.len();
    let mut times = vec![Vec::new(); count];
    for round in 0..=rounds {
        for place in 0..count {
            let who = (round + place) % count;
            let (_, act) = &mut contestants[who];
            let begun = Instant::now();
            for _ in 0..turns {
                act()?;
            }
            // The first round warms up.
            if round > 0 {
                times[who].push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(turns));
            }
        }
    }
    Ok(times.iter().map(|times| median(times)).collect())
}

/// Prints the times and then the ratios.
fn print_ratios(
    contestants: &[Subject<'_>],
    times: &[f64],
    questions: &[Question],
    has_aims: bool,
) -> Vec<Ratio> {
    for ((name, _), time) in contestants.iter().zip(times) {
        println!("  {name:<28} {time:>10.2} us");
    }
    let time = |name: &str| {
        contestants.iter().zip(times).find(|((one, _), _)| *one == name).map(|(_, time)| *time)
    };
    let mut ratios: Vec<Ratio> = Vec::new();
    for &(of, to, aim) in questions {
        if let (Some(above), Some(below)) = (time(of), time(to)) {
            let ratio = Ratio { of, to, value: above / below, aim: aim.filter(|_| has_aims) };
            if ratios.last().is_none_or(|last| last.of != of) {
                println!("  {of}:");
            }
            println!("  {ratio}");
            ratios.push(ratio);
        }
    }
    ratios
}

fn in_process(folder: &Path, rounds: usize, has_aims: bool) -> Outcome<Vec<Ratio>> {
    let (directory, file) = (folder.join("raw"), folder.join("file"));
    let (here, there) = (folder.join("entry.0"), folder.join("entry.1"));
    fs::write(&file, "")?;
    fs::write(&here, "")?;
    let (stage, staged) = (folder.join("staged.0"), folder.join("staged"));
    let (entry, renewed) = ("0".repeat(120), "1".repeat(120));
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let lock = Lock::new(folder.join("plain"));
    let fenced = Lock::new(folder.join("fenced")).fenced(true);
    let lingering = Lock::new(folder.join("hot")).linger(Duration::from_secs(60));
    let mut contestants: Vec<Subject<'_>> = vec![
        (
            MKDIR,
            Box::new(|| {
                fs::create_dir(&directory)?;
                Ok(fs::remove_dir(&directory)?)
            }),
        ),
        (
            RENAMES,
            Box::new(|| {
                fs::rename(&here, &there)?;
                Ok(fs::rename(&there, &here)?)
            }),
        ),
        (
            FLOCK,
            Box::new(|| {
                let open = rustix::fs::open(&file, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
                rustix::fs::flock(&open, FlockOperation::LockExclusive)?;
                drop(black_box(open));
                Ok(())
            }),
        ),
        (
            STAGED,
            Box::new(|| {
                fs::create_dir(&stage)?;
                drop(rustix::fs::open(stage.join(&entry), create, Mode::RUSR)?);
                fs::rename(&stage, &staged)?;
                fs::rename(staged.join(&entry), staged.join(&renewed))?;
                fs::remove_file(staged.join(&renewed))?;
                Ok(fs::remove_dir(&staged)?)
            }),
        ),
        (DEFAULT, Box::new(|| Ok(lock.acquire()?.release()?))),
        (LINGER, Box::new(|| Ok(lingering.acquire()?.release()?))),
        (FENCED, Box::new(|| Ok(fenced.acquire()?.release()?))),
    ];
    let times = compete(&mut contestants, 25, rounds)?;
    Ok(print_ratios(&contestants, &times, &ON_EXT4, has_aims))
}

/// Compares the program with flock's: wall time, from start to end.
fn programs(folder: &Path, rounds: usize, program: &Path) -> Outcome<Vec<Ratio>> {
    let run = |command: &mut Command| -> Outcome<()> {
        let status = command.current_dir(folder).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
    };
    let Some(flock) = find("flock") else {
        println!("  (no flock program here to compare with)");
        return Ok(Vec::new());
    };
    let mut contestants: Vec<Subject<'_>> = vec![
        ("true", Box::new(|| run(&mut Command::new("true")))),
        (RUN_FLOCK, Box::new(|| run(Command::new(&flock).args(["x", "true"])))),
        (RUN, Box::new(|| run(Command::new(program).args(["run", "x", "--", "true"])))),
    ];
    let times = compete(&mut contestants, 10, rounds)?;
    Ok(print_ratios(&contestants, &times, &OF_PROGRAMS, true))
}

/// Returns the path at which the shell would find this program.
fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|it| it.is_file())
}

fn measure(parent: &Path, rounds: usize, program: &Path) -> Outcome<Vec<Ratio>> {
    let (kind, is_ext4) = match statfs(parent)?.f_type as u64 {
        0xEF53 => ("ext4".to_owned(), true),
        0x0102_1994 => ("tmpfs".to_owned(), false),
        0x5846_5342 => ("xfs".to_owned(), false),
        0x9123_683E => ("btrfs".to_owned(), false),
        0x794C_7630 => ("overlay".to_owned(), false),
        other => (format!("file system {other:#x}"), false),
    };
    println!("{kind}: {}", parent.display());
    let folder = parent.join(format!("lockbydir-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = in_process(&folder, rounds, is_ext4).and_then(|mut ratios| {
        ratios.extend(programs(&folder, rounds, program)?);
        Ok(ratios)
    });
    println!();
    fs::remove_dir_all(&folder)?;
    outcome
}

/// Returns the release build of the program, built again unless `LOCKBYDIR_BIN` names one.
fn program() -> Outcome<PathBuf> {
    if let Some(path) = env::var_os("LOCKBYDIR_BIN") {
        return Ok(fs::canonicalize(path)?);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("a build has a folder")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "lockbydir-cli", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    let built = target.join("release").join(format!("lockbydir{}", env::consts::EXE_SUFFIX));
    if status.success() && built.exists() {
        Ok(built)
    } else {
        Err(format!("no {}; let LOCKBYDIR_BIN say where it is", built.display()).into())
    }
}

fn main() -> Outcome<()> {
    let (mut folders, mut rounds, mut measures) = (Vec::new(), 31, false);
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("--dir and --rounds take a value");
        match argument.to_str() {
            Some("--dir") => folders.push(fs::canonicalize(value()?)?),
            Some("--rounds") => rounds = value()?.to_str().unwrap_or_default().parse()?,
            Some("--bench") => measures = true,
            _ => return Err("usage: cost [--dir DIR]... [--rounds 31]".into()),
        }
    }
    if !measures {
        println!("Nothing measured: that is for `cargo bench`, which says --bench.");
        return Ok(());
    }
    if folders.is_empty() {
        folders.push(PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
        let memory = PathBuf::from("/dev/shm");
        folders.extend(memory.is_dir().then_some(memory));
    }
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    let program = program()?;

    println!("Medians of {rounds} rounds; times are this machine's, only ratios compare.\n");
    let mut ratios = Vec::new();
    for folder in &folders {
        ratios.extend(measure(folder, rounds, &program)?);
    }
    let missed = ratios.iter().filter(|ratio| ratio.is_missed()).count();
    let aims = ratios.iter().filter(|ratio| ratio.aim.is_some()).count();
    println!("Aims met: {} of {aims}.", aims - missed);
    Ok(())
}
