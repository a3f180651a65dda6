//! Four sleepers, one bed: real processes that share a scarce resource.
//!
//! Each wants to sleep 6 s, and waits at most 13 s for the bed. One in four forgets to give it
//! back; then the others wait until the timeout (10 s) gives it back for them. Every step is logged
//! with its time and process. At the end the bed must be empty, and two sleepers must never have
//! been in it at once; otherwise the exit code is 1.
//!
//! No process owns the lock (`Owner::Nobody`), as if a shell script had made it: otherwise the
//! death of the process of a forgetful sleeper would free the bed at once, and no timeout would be
//! seen.
//!
//! `--scale 0.1` makes everything ten times shorter; `--forgets 1` makes all of them forgetful;
//! `--folder DIR` puts the bed there.
//!
//! After the example "one bed" in Andreas Krueger's `lockbydir` (2015).

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use lockbydir::{Lock, Owner, State};

const SLEEPERS: usize = 4;
const SLEEP: f64 = 6.0;
const TIMEOUT: f64 = 10.0;
const PATIENCE: f64 = 13.0;

/// The exit code of a sleeper that got no bed.
const GAVE_UP: u8 = 3;

/// The parameters of a run, the same for the house and all its sleepers.
#[derive(Clone, Copy)]
struct Story {
    /// The factor of all times.
    scale: f64,
    /// The probability that a sleeper forgets to give the bed back.
    forgets: f64,
    begun: SystemTime,
}

impl Story {
    fn time(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.scale)
    }

    fn bed(self, folder: &Path) -> Lock {
        Lock::new(folder.join("bed"))
            .timeout(self.time(TIMEOUT))
            .patience(self.time(PATIENCE))
            .owner(Owner::Nobody)
    }

    /// Prints a line of the log: time since the story began, process, what happened.
    fn log(self, text: &str) {
        let since = self.begun.elapsed().unwrap_or_default().as_secs_f64();
        println!("{since:7.3} s  process {:<8} {text}", std::process::id());
    }
}

/// Returns a random number in 0..1. Every `RandomState` has fresh keys, so no crate is needed for
/// this.
fn chance() -> f64 {
    let number = RandomState::new().build_hasher().finish() >> 11;
    number as f64 / (1_u64 << 53) as f64
}

/// Runs one sleeper; returns false if it found no bed in time.
fn sleeper(story: Story, folder: &Path, number: &str) -> Result<bool, Box<dyn Error>> {
    story.log("is tired, and looks for the bed");
    let guard = match story.bed(folder).label(format!("sleeper {number}")).acquire() {
        Ok(guard) => guard,
        Err(error) if error.is_patience_over() => {
            story.log("has no patience left, and sleeps on the floor");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    // The pillow is the proof: a second sleeper in the bed would find it taken.
    let pillow = folder.join("pillow");
    fs::create_dir(&pillow).map_err(|_| "somebody lies in the bed already")?;
    story.log("lies down");
    thread::sleep(story.time(SLEEP));
    fs::remove_dir(&pillow)?;

    if chance() < story.forgets {
        story.log("gets up, and FORGETS to give the bed back");
        let _forgotten = guard.keep();
    } else {
        guard.release()?;
        story.log("gets up, and gave the bed back");
    }
    Ok(true)
}

/// Runs the sleepers; returns true if all went well and the bed is empty.
fn house(story: Story, folder: &Path, myself: Myself) -> Result<bool, Box<dyn Error>> {
    println!(
        "{SLEEPERS} sleepers, 1 bed. Each sleeps {:?}, waits at most {:?}, and forgets with\n\
         probability {} to give the bed back, which then opens by itself {:?} after it was taken.\n",
        story.time(SLEEP),
        story.time(PATIENCE),
        story.forgets,
        story.time(TIMEOUT)
    );

    let begun = story.begun.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    let sleepers: Vec<_> = (1..=SLEEPERS)
        .map(|number| {
            myself()?
                .args(["--scale", &story.scale.to_string()])
                .args(["--forgets", &story.forgets.to_string()])
                .args(["--begun", &begun.to_string()])
                .args(["--sleeper", &number.to_string()])
                .arg("--folder")
                .arg(folder)
                .spawn()
        })
        .collect();
    let (mut slept, mut gave_up, mut failed) = (0, 0, 0);
    for sleeper in sleepers {
        match sleeper.and_then(|mut child| child.wait())?.code() {
            Some(0) => slept += 1,
            Some(code) if code == i32::from(GAVE_UP) => gave_up += 1,
            _ => failed += 1,
        }
    }

    let bed = story.bed(folder);
    let empty = is_empty_at_last(story, &bed).unwrap_or_else(|error| {
        story.log(&format!("(the house) cannot make the bed: {error}"));
        false
    });
    println!("\n{slept} slept in the bed, {gave_up} gave up waiting, {failed} failed.");
    println!(
        "Verdict: the bed is {}, and {}.",
        if empty { "empty" } else { "NOT EMPTY" },
        if failed == 0 { "never were two in it" } else { "something WENT WRONG" }
    );
    Ok(empty && failed == 0 && slept > 0)
}

/// Waits for the timeout, if the last one forgot; returns true if the bed is empty then.
fn is_empty_at_last(story: Story, bed: &Lock) -> Result<bool, lockbydir::Error> {
    if bed.is_locked()? {
        story.log("(the house) the last one forgot: the timeout will empty the bed");
        bed.acquire()?.release()?;
        story.log("(the house) now it is empty");
    }
    bed.break_stale()?;
    let status = bed.status()?;
    Ok(status.state == State::Free && !status.path.exists())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    play(&|| env::current_exe().map(Command::new), env::args_os().skip(1))
}

/// Returns the command that starts this program again, as another process.
type Myself<'a> = &'a dyn Fn() -> io::Result<Command>;

pub(crate) fn play(
    myself: Myself,
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut story = Story { scale: 1.0, forgets: 0.25, begun: SystemTime::now() };
    let (mut folder, mut number) = (None, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        let text = value.to_str().unwrap_or_default();
        match argument.to_str() {
            Some("--scale") => story.scale = text.parse()?,
            Some("--forgets") => story.forgets = text.parse()?,
            Some("--folder") => folder = Some(PathBuf::from(value)),
            // The house passes these two to its sleepers.
            Some("--begun") => {
                story.begun = SystemTime::UNIX_EPOCH + Duration::from_nanos(text.parse()?);
            }
            Some("--sleeper") => number = Some(text.to_owned()),
            _ => return Err("usage: one_bed [--scale 1] [--forgets 0.25] [--folder DIR]".into()),
        }
    }
    let (folder, _fresh) = match folder {
        Some(folder) => (folder, None),
        None => {
            let fresh = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
            (fresh.path().to_path_buf(), Some(fresh))
        }
    };
    let Some(number) = number else {
        let good = house(story, &folder, myself)?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    Ok(match sleeper(story, &folder, &number) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(GAVE_UP),
        Err(error) => {
            story.log(&format!("has a nightmare: {error}"));
            ExitCode::FAILURE
        }
    })
}
