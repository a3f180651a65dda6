//! Four sleepers, one bed: real processes that share one scarce thing.
//!
//! Each wants to sleep 6 s, and waits at most 13 s for the bed. One in four forgets to give it
//! back; then the others must wait until the timeout (10 s) gives it back for them. Every step is
//! logged with its time and process. At the end the bed must be empty, and nobody may ever have
//! lain down beside another.
//!
//! The lock is held by nobody in particular (`Owner::Nobody`), as if a shell script had made it:
//! else the death of a forgetful sleeper's process would free the bed at once, and there would be
//! no timeout to see.
//!
//! `--scale 0.1` makes everything ten times shorter.
//!
//! After the example "one bed" in Andreas Krueger's `lockbydir` (2015).

use std::{
    collections::hash_map::RandomState,
    error::Error,
    ffi::OsString,
    fs,
    hash::{BuildHasher, Hasher},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, SystemTime},
};

use lockbydir::{Lock, Owner, State};

const SLEEPERS: usize = 4;
const SLEEP: f64 = 6.0;
const TIMEOUT: f64 = 10.0;
const PATIENCE: f64 = 13.0;
const FORGETS: f64 = 0.25;

const GAVE_UP: u8 = 3;

/// Seconds of the story, scaled to seconds of this run.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn seconds(self, story: f64) -> Duration {
        Duration::from_secs_f64(story * self.0)
    }
}

fn bed(folder: &Path, scale: Scale) -> Lock {
    Lock::new(folder.join("bed"))
        .timeout(scale.seconds(TIMEOUT))
        .patience(scale.seconds(PATIENCE))
        .owner(Owner::Nobody)
}

/// One line of the log: time since the story began, process, what happened.
fn log(begun: SystemTime, text: &str) {
    let since = begun.elapsed().unwrap_or_default().as_secs_f64();
    println!("{since:7.3} s  process {:<8} {text}", std::process::id());
}

/// A number in 0..1. Every `RandomState` has fresh keys, so no crate is needed for one coin.
fn chance() -> f64 {
    let number = RandomState::new().build_hasher().finish() >> 11;
    number as f64 / (1_u64 << 53) as f64
}

fn sleeper(folder: &Path, scale: Scale, begun: SystemTime) -> Result<ExitCode, Box<dyn Error>> {
    log(begun, "is tired, and looks for the bed");
    let guard = match bed(folder, scale).acquire() {
        Ok(guard) => guard,
        Err(error) if error.is_patience_over() => {
            log(begun, "has no patience left, and sleeps on the floor");
            return Ok(ExitCode::from(GAVE_UP));
        }
        Err(error) => return Err(error.into()),
    };
    // The pillow proves it: a second one in the bed would find it taken.
    let pillow = folder.join("pillow");
    fs::create_dir(&pillow).map_err(|_| "there is somebody in the bed already!")?;
    log(begun, "lies down");
    thread::sleep(scale.seconds(SLEEP));
    fs::remove_dir(&pillow)?;

    if chance() < FORGETS {
        log(begun, "gets up, and FORGETS to give the bed back");
        let _forgotten = guard.keep();
    } else {
        log(begun, "gets up, and gives the bed back");
        guard.release()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn house(scale: Scale) -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
    let begun = SystemTime::now();
    println!(
        "{SLEEPERS} sleepers, 1 bed: each sleeps {:?}, waits at most {:?}, and one in four forgets",
        scale.seconds(SLEEP),
        scale.seconds(PATIENCE)
    );
    println!(
        "to give the bed back, which then opens by itself {:?} after it was taken.\n",
        scale.seconds(TIMEOUT)
    );

    let myself = std::env::current_exe()?;
    let born = begun.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    let sleepers = (0..SLEEPERS)
        .map(|_| {
            Command::new(&myself)
                .arg("--sleeper")
                .arg(folder.path())
                .arg(scale.0.to_string())
                .arg(born.to_string())
                .spawn()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (mut slept, mut gave_up, mut failed) = (0, 0, 0);
    for mut child in sleepers {
        match child.wait()?.code() {
            Some(0) => slept += 1,
            Some(code) if code == i32::from(GAVE_UP) => gave_up += 1,
            _ => failed += 1,
        }
    }

    let bed = bed(folder.path(), scale);
    if bed.is_locked()? {
        log(begun, "(the house) the last one forgot; the timeout will make the bed");
        bed.acquire()?.release()?;
    }
    bed.break_lapsed()?;
    let status = bed.status()?;
    let empty = matches!(status.state, State::Free) && !status.path.exists();
    println!("\n{slept} slept in the bed, {gave_up} gave up waiting, {failed} failed.");
    let good = empty && failed == 0 && slept + gave_up == SLEEPERS && slept > 0;
    println!(
        "Verdict: the bed is {}, and {}.",
        if empty { "empty" } else { "NOT EMPTY" },
        if failed == 0 { "never were two in it" } else { "something WENT WRONG" }
    );
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text =
        |index: usize| arguments.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    match text(0) {
        "--sleeper" => {
            let folder = PathBuf::from(arguments.get(1).ok_or("no folder")?);
            let begun = SystemTime::UNIX_EPOCH + Duration::from_nanos(text(3).parse()?);
            sleeper(&folder, Scale(text(2).parse()?), begun)
        }
        "--scale" => house(Scale(text(1).parse()?)),
        "" => house(Scale(1.0)),
        other => Err(format!("unknown argument {other}; usage: one_bed [--scale 0.1]").into()),
    }
}
