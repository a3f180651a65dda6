//! What it costs a lock that an observer looks on.
//!
//! `cargo bench -p lockbydir-bench --bench observe`: processes hand one lock over, as fast as they
//! can; in each round once with an observer and once without, in turns. The median over the rounds
//! counts. `-- --dir DIR` measures elsewhere than in `/dev/shm`, `-- --rounds 101` more often,
//! `-- --processes 2` with others.

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

/// How often each process has the lock in one measurement.
const TURNS: u32 = 4000;

/// A process that takes the lock so often, each time it is told a line, and says when it is done.
struct Worker {
    process: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Worker {
    fn start(lock: &Path) -> Outcome<Worker> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--work").arg(lock).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let told = process.stdin.take().ok_or("no input")?;
        let says = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Worker { process, told, says })
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

/// Seconds for one turn of everybody.
fn measure(workers: &mut [Worker]) -> Outcome<f64> {
    let begun = Instant::now();
    for worker in &mut *workers {
        worker.told.write_all(b"go\n")?;
    }
    for worker in &mut *workers {
        worker.says.read_line(&mut String::new())?;
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
    let told = [(); 2].map(|()| AtomicU64::new(0));
    for round in 0..=rounds {
        for place in 0..2 {
            let has_observer = (round + place) % 2 == 1;
            let is_over = AtomicBool::new(false);
            let time = thread::scope(|scope| -> Outcome<f64> {
                if has_observer {
                    let mut observer = Observer::of(folder.path())?;
                    let (is_over, told) = (&is_over, &told);
                    scope.spawn(move || {
                        while !is_over.load(Ordering::Relaxed) {
                            for event in
                                observer.next(Duration::from_millis(20)).unwrap_or_default()
                            {
                                match event.what {
                                    What::Acquired { .. } => {
                                        told[0].fetch_add(1, Ordering::Relaxed)
                                    }
                                    What::Missed(number) => {
                                        told[1].fetch_add(number, Ordering::Relaxed)
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
        drop(worker.told);
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
    let [seen, missed] = told.map(AtomicU64::into_inner);
    println!("The observer told of {seen} holdings, and of {missed} more that it did not see.");
    Ok(())
}
