//! Three hundred threads want one lock, all at once.
//!
//! Each holds it for 0.05 s and notes the time at the end of that; patience is 5 s, so the lock
//! cannot serve them all, and the rest goes home unserved. If the lock kept them apart, the times
//! are more than 0.05 s from each other, every one. What is beyond 0.05 s is the overhead of a
//! hand-over, of which the extremes, median, mean and deviation are printed.
//!
//! `--scale 0.1` makes all times ten times shorter; `--threads 50` has fewer threads.
//!
//! After the example "massive" in Andreas Krueger's `lockbydir` (2015).

use std::{
    error::Error,
    process::ExitCode,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use lockbydir::Lock;

const HOLD: f64 = 0.05;
const PATIENCE: f64 = 5.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut threads, mut scale) = (300_usize, 1.0_f64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        match argument.as_str() {
            "--threads" => threads = value.parse()?,
            "--scale" => scale = value.parse()?,
            _ => return Err("usage: massive [--threads 300] [--scale 1]".into()),
        }
    }
    let hold = Duration::from_secs_f64(HOLD * scale);
    let patience = Duration::from_secs_f64(PATIENCE * scale);

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
                match lock.acquire() {
                    Ok(guard) => {
                        thread::sleep(hold);
                        let end = Instant::now();
                        guard.release().map(|()| Some(end))
                    }
                    Err(error) if error.is_patience_over() => Ok(None),
                    Err(error) => Err(error),
                }
            })
        })
        .collect();

    let (mut ends, mut gave_up) = (Vec::new(), 0);
    for one in crowd {
        match one.join().map_err(|_| "a thread panicked")?? {
            Some(end) => ends.push(end),
            None => gave_up += 1,
        }
    }
    ends.sort();
    println!("{} held it, {gave_up} ran out of patience.", ends.len());

    let differences: Vec<Duration> = ends.windows(2).map(|two| two[1] - two[0]).collect();
    let mut overheads: Vec<f64> =
        differences.iter().map(|each| (each.as_secs_f64() - hold.as_secs_f64()) * 1e3).collect();
    overheads.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (overheads.first(), overheads.last()) else {
        return Err("too few held the lock to compare their times".into());
    };
    let count = overheads.len() as f64;
    let mean = overheads.iter().sum::<f64>() / count;
    let deviation =
        (overheads.iter().map(|each| (each - mean).powi(2)).sum::<f64>() / count).sqrt();
    println!(
        "Overhead of a hand-over in ms: min {min:.3}, max {max:.3}, median {:.3}, mean {mean:.3}, deviation {deviation:.3}",
        overheads[overheads.len() / 2]
    );

    let apart = differences.iter().all(|each| *each > hold);
    let clean = !lock.path()?.exists();
    println!(
        "Verdict: {} differences, {} {:.3} s; the lock is {}.",
        differences.len(),
        if apart { "all greater than" } else { "NOT ALL greater than" },
        hold.as_secs_f64(),
        if clean { "gone" } else { "STILL THERE" }
    );
    Ok(if apart && clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
