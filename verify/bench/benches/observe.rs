//! The cost that an observer causes for a lock.
//!
//! `cargo bench -p lockbydir-bench --bench observe`: processes hand one lock over, as fast as they can; each
//! round runs once with an observer and once without, in alternating order. The median over the rounds
//! counts.
//! with another number of processes.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockbydir::Lock;
use lockbydir::observe::{Observer, What};
use lockbydir_bench::{Aim, Ratio, median};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The number of acquisitions by each process in one measurement.
const TURNS: u32 = 4000;

/// A process that acquires the lock `TURNS` times for each line of input, and prints a line when it is done.
struct Worker {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(lock: &Path) -> Outcome<Worker> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--work").arg(lock).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Worker { process, input, output })
    }
}

fn work(lock: &Path) -> Outcome<()> {
    let lock = Lock::new(lock).patience(Duration::from_secs(60));
    for line in std::io::stdin().lines() {
        line?;
        for _ in 0..TURNS {
            lock.acquire()?.release()?;
        }
        println!("done");
    }
    Ok(())
}

/// Returns the seconds for one turn of all.
fn measure(workers: &mut [Worker]) -> Outcome<f64> {
    let begun = Instant::now();
    for worker in &mut *workers {
        worker.input.write_all(b"go\n")?;
    }
    for worker in &mut *workers {
        worker.output.read_line(&mut String::new())?;
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(TURNS))
}

fn main() -> Outcome<()> {
    let (mut dir, mut rounds, mut processes) = (PathBuf::from("/dev/shm"), 31_usize, 4_usize);
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or("a value is missing");
        let number = |text: std::ffi::OsString| text.to_string_lossy().parse();
        match argument.to_str() {
            Some("--work") => return work(Path::new(&next()?)),
            Some("--dir") => dir = next()?.into(),
            Some("--rounds") => rounds = number(next()?)?,
            Some("--processes") => processes = number(next()?)?,
            Some("--bench") => {}
            _ => return Err(format!("no such option: {}", argument.to_string_lossy()).into()),
        }
    }
    let folder = tempfile::tempdir_in(dir)?;
    let lock = folder.path().join("jobs");
    let mut workers = Vec::new();
    for _ in 0..processes {
        workers.push(Worker::start(&lock)?);
    }

    let (mut alone, mut observed) = (Vec::new(), Vec::new());
    let counts = [(); 2].map(|()| AtomicU64::new(0));
    for round in 0..=rounds {
        for place in 0..2 {
            let has_observer = (round + place) % 2 == 1;
            let is_over = AtomicBool::new(false);
            let time = thread::scope(|scope| -> Outcome<f64> {
                if has_observer {
                    let mut observer = Observer::of(folder.path())?;
                    let (is_over, counts) = (&is_over, &counts);
                    scope.spawn(move || {
                        while !is_over.load(Ordering::Relaxed) {
                            for event in
                                observer.next(Duration::from_millis(20)).unwrap_or_default()
                            {
                                match event.what {
                                    What::Acquired { .. } => {
                                        counts[0].fetch_add(1, Ordering::Relaxed)
                                    }
                                    What::Missed(number) => {
                                        counts[1].fetch_add(number, Ordering::Relaxed)
                                    }
                                    _ => 0,
                                };
                            }
                        }
                    });
                }
                let time = measure(&mut workers);
                is_over.store(true, Ordering::Relaxed);
                time
            })?;
            // The first round warms up.
            match (round, has_observer) {
                (0, _) => {}
                (_, true) => observed.push(time),
                (_, false) => alone.push(time),
            }
        }
    }
    for worker in workers {
        drop(worker.input);
        let mut process = worker.process;
        process.wait()?;
    }
    let (alone, observed) = (median(&alone), median(&observed));
    let each = processes as f64 / 1e6;
    println!("{:>10.1} us  a handoff among {processes} processes", alone / each);
    println!("{:>10.1} us  the same, observed", observed / each);
    let ratio = Ratio {
        of: "observed",
        to: "not observed",
        value: observed / alone,
        aim: Some(Aim::AtMost(1.02)),
    };
    println!("{ratio}");
    let [seen, missed] = counts.map(AtomicU64::into_inner);
    println!(
        "The observer reported {seen} holdings, and counted {missed} more that it did not see."
    );
    Ok(())
}
