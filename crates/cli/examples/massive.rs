//! Three hundred threads, or as many processes, want one lock at the same time.
//!
//! Each holds it for 0.05 s, and notes the time at the end of that, just before the release. If the
//! lock excluded them from each other, each of these times is more than 0.05 s after the one
//! before. The excess over 0.05 s is the overhead of a handoff, whose extremes, median, mean and
//! deviation are printed. Patience is 5 s, and all together would need 15 s, so about two thirds
//! give up, and are counted.
//!
//! `--patience 60` serves them all; `--threads 50` starts fewer; `--processes 300` starts processes
//! instead, each with its own place in the queue, where threads share one; `--scale 0.1` makes all
//! times ten times shorter; `--folder DIR` puts the lock there. The exit code is 1 when the verdict
//! is bad.
//!
//! After the example "massive" in Andreas Krueger's `lockbydir` (2015).

mod clock;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{env, thread};

use lockbydir::Lock;

use self::clock::clock;

const HOLD: f64 = 0.05;

/// The outcome of one thread or process.
enum Story {
    /// Held the lock, until this time.
    Held(Duration),
    /// Ran out of patience.
    GaveUp,
    /// Held the lock, and lost it before the release.
    Lost,
}

fn one(lock: &Lock, hold: Duration) -> Result<Story, lockbydir::Error> {
    let guard = match lock.acquire() {
        Ok(guard) => guard,
        Err(error) if error.is_patience_over() => return Ok(Story::GaveUp),
        Err(error) => return Err(error),
    };
    thread::sleep(hold);
    let end = clock();
    match guard.release() {
        Ok(()) => Ok(Story::Held(end)),
        Err(error) if error.is_lost() => Ok(Story::Lost),
        Err(error) => Err(error),
    }
}

type Stories = Result<Vec<Story>, Box<dyn Error>>;

/// Runs threads, which begin together when all are ready.
fn threads(count: usize, lock: &Lock, hold: Duration) -> Stories {
    let together = Arc::new(Barrier::new(count));
    let crowd: Vec<_> = (0..count)
        .map(|_| {
            let (lock, together) = (lock.clone(), Arc::clone(&together));
            thread::spawn(move || {
                together.wait();
                one(&lock, hold)
            })
        })
        .collect();
    let join =
        |thread: thread::JoinHandle<_>| Ok(thread.join().map_err(|_| "a thread panicked")??);
    crowd.into_iter().map(join).collect()
}

/// Runs processes. Each prints a line when it is ready, and begins when the pipe that is the
/// standard input of all of them ends.
fn processes(count: usize, mut each: impl FnMut(usize) -> io::Result<Command>) -> Stories {
    let (start, not_yet) = io::pipe()?;
    let mut crowd = Vec::new();
    for number in 1..=count {
        let mut command = each(number)?;
        let mut child = command.stdin(start.try_clone()?).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("a process has no output")?;
        crowd.push((child, BufReader::new(output).lines()));
    }
    for (_, lines) in &mut crowd {
        lines.next().ok_or("a process ended before it began")??;
    }
    drop(not_yet);
    let ended = |(mut child, mut lines): (std::process::Child, io::Lines<_>)| {
        let story = lines.next().ok_or("a process printed no story")??;
        child.wait()?;
        Ok(match story.as_str() {
            "gave up" => Story::GaveUp,
            "lost" => Story::Lost,
            end => Story::Held(Duration::from_nanos(end.parse()?)),
        })
    };
    crowd.into_iter().map(ended).collect()
}

/// Runs one of these processes.
fn process(lock: &Lock, hold: Duration) -> Result<(), Box<dyn Error>> {
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    match one(lock, hold)? {
        Story::Held(end) => println!("{}", end.as_nanos()),
        Story::GaveUp => println!("gave up"),
        Story::Lost => println!("lost"),
    }
    Ok(())
}

/// Prints min, max, median, mean and deviation, in milliseconds.
fn describe(mut overheads: Vec<f64>) {
    overheads.sort_by(f64::total_cmp);
    let count = overheads.len();
    let (min, max) = (overheads[0], overheads[count - 1]);
    let median = f64::midpoint(overheads[(count - 1) / 2], overheads[count / 2]);
    let mean = overheads.iter().sum::<f64>() / count as f64;
    let squares = overheads.iter().map(|each| (each - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (count - 1).max(1) as f64).sqrt();
    println!(
        "Overhead of a handoff in ms: min {min:.3}, max {max:.3}, median {median:.3}, \
         mean {mean:.3}, deviation {deviation:.3}"
    );
}

/// Prints the figures; returns true if there was never more than one holder.
fn judge(stories: &[Story], hold: Duration, lock: &Lock) -> Result<bool, Box<dyn Error>> {
    let count = |is: fn(&Story) -> bool| stories.iter().filter(|story| is(story)).count();
    let gave_up = count(|story| matches!(story, Story::GaveUp));
    let lost = count(|story| matches!(story, Story::Lost));
    let mut ends: Vec<Duration> = stories
        .iter()
        .filter_map(|story| if let Story::Held(end) = story { Some(*end) } else { None })
        .collect();
    println!(
        "\n{} held it, {gave_up} gave up waiting, {lost} lost it while they held.",
        ends.len()
    );

    ends.sort();
    let differences: Vec<Duration> =
        ends.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
    if differences.is_empty() {
        println!("Verdict: too FEW held it to compare their times.");
        return Ok(false);
    }
    let beyond = |each: &Duration| (each.as_secs_f64() - hold.as_secs_f64()) * 1e3;
    describe(differences.iter().map(beyond).collect());

    let apart = differences.iter().all(|each| *each > hold);
    let gone = !lock.path()?.exists();
    println!(
        "Verdict: of {} differences {} greater than {:.3} s; the lock is {}.",
        differences.len(),
        if apart { "all are" } else { "NOT ALL are" },
        hold.as_secs_f64(),
        if gone { "gone" } else { "STILL THERE" }
    );
    Ok(apart && gone && lost == 0)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    play(&|| env::current_exe().map(Command::new), env::args_os().skip(1))
}

pub(crate) fn play(
    // Returns the command that starts this program again, as another process.
    myself: &dyn Fn() -> io::Result<Command>,
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, Box<dyn Error>> {
    let (mut count, mut of_processes, mut scale, mut patience) = (300, false, 1.0, 5.0);
    let (mut folder, mut number) = (None, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        let text = value.to_str().unwrap_or_default();
        match argument.to_str() {
            Some("--threads") => (count, of_processes) = (text.parse()?, false),
            Some("--processes") => (count, of_processes) = (text.parse()?, true),
            Some("--patience") => patience = text.parse()?,
            Some("--scale") => scale = text.parse()?,
            Some("--folder") => folder = Some(PathBuf::from(value)),
            // Passed to each process: its number.
            Some("--number") => number = Some(text.to_owned()),
            _ => {
                return Err("usage: massive [--threads 300 | --processes 300] [--patience 5] \
                            [--scale 1] [--folder DIR]"
                    .into());
            }
        }
    }
    let (folder, _fresh) = match folder {
        Some(folder) => (folder, None),
        None => {
            let fresh = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
            (fresh.path().to_path_buf(), Some(fresh))
        }
    };
    let hold = Duration::try_from_secs_f64(HOLD * scale)?;
    let waits = Duration::try_from_secs_f64(patience * scale)?;
    let lock = Lock::new(folder.join("counter")).patience(waits);
    if let Some(number) = number {
        process(&lock.label(format!("number {number}")), hold)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{count} {}, one lock; each holds it for {hold:?}, and waits at most {waits:?}.",
        if of_processes { "processes" } else { "threads" }
    );
    let stories = match of_processes {
        false => threads(count, &lock, hold)?,
        true => processes(count, |number| {
            let mut command = myself()?;
            command.args(["--scale", &scale.to_string(), "--patience", &patience.to_string()]);
            command.args(["--number", &number.to_string(), "--folder"]).arg(&folder);
            Ok(command)
        })?,
    };
    let good = judge(&stories, hold, &lock)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
