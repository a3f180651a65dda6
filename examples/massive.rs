//! Three hundred threads want one lock, all at once.
//!
//! Each holds it for 0.05 s, and notes the time at the end of that, just before it lets go.
//! If the lock kept them apart, these times are more than 0.05 s from each other, every one.
//! What is beyond 0.05 s is the overhead of a hand-over, of which the extremes, median, mean and
//! deviation are printed. Patience is 5 s and all together would need 15 s: so about two thirds
//! give up, and are counted.
//!
//! `--patience 60` serves them all; `--threads 50` makes fewer; `--scale 0.1` makes all times ten
//! times shorter. The exit code is 1 when the verdict is bad.
//!
//! After the example "massive" in Andreas Krueger's `lockbydir` (2015).

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::Lock;

const HOLD: f64 = 0.05;

/// What one thread lived through.
enum Story {
    /// Held the lock, until this time.
    Held(Instant),
    /// Ran out of patience.
    GaveUp,
    /// Held the lock, and was told at the end that it was not its own any more.
    Lost,
}

fn one(lock: &Lock, hold: Duration) -> Result<Story, lockbydir::Error> {
    let guard = match lock.acquire() {
        Ok(guard) => guard,
        Err(error) if error.is_patience_over() => return Ok(Story::GaveUp),
        Err(error) => return Err(error),
    };
    thread::sleep(hold);
    let end = Instant::now();
    match guard.release() {
        Ok(()) => Ok(Story::Held(end)),
        Err(error) if error.is_lost() => Ok(Story::Lost),
        Err(error) => Err(error),
    }
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
        "Overhead of a hand-over in ms: min {min:.3}, max {max:.3}, median {median:.3}, \
         mean {mean:.3}, deviation {deviation:.3}"
    );
}

fn massive(threads: usize, hold: Duration, patience: Duration) -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("lockbydir-").tempdir()?;
    let lock = Lock::new(folder.path().join("counter")).patience(patience);
    println!(
        "{threads} threads, one lock; each holds it for {hold:?}, and waits at most {patience:?}."
    );

    let together = Arc::new(Barrier::new(threads));
    let crowd: Vec<_> = (0..threads)
        .map(|_| {
            let (lock, together) = (lock.clone(), Arc::clone(&together));
            thread::spawn(move || {
                together.wait();
                one(&lock, hold)
            })
        })
        .collect();
    let (mut ends, mut gave_up, mut lost) = (Vec::new(), 0, 0);
    for thread in crowd {
        match thread.join().map_err(|_| "a thread panicked")?? {
            Story::Held(end) => ends.push(end),
            Story::GaveUp => gave_up += 1,
            Story::Lost => lost += 1,
        }
    }
    println!("{} held it, {gave_up} gave up waiting, {lost} lost it while they held.", ends.len());

    ends.sort();
    let differences: Vec<Duration> = ends.windows(2).map(|two| two[1] - two[0]).collect();
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
    let (mut threads, mut scale, mut patience) = (300_usize, 1.0_f64, 5.0_f64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        match argument.as_str() {
            "--threads" => threads = value.parse()?,
            "--patience" => patience = value.parse()?,
            "--scale" => scale = value.parse()?,
            _ => return Err("usage: massive [--threads 300] [--patience 5] [--scale 1]".into()),
        }
    }
    let hold = Duration::try_from_secs_f64(HOLD * scale)?;
    let patience = Duration::try_from_secs_f64(patience * scale)?;
    let good = massive(threads, hold, patience)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
