//! The share that one waiter of ours gets beside lockers of the first version, which know nothing of a queue.
//!
//! `cargo bench -p lockbydir-bench --bench plain`: three processes in Python lock as the lockbydir of 2015
//! does, by `mkdir` and `rmdir`, and look every 2 ms; one of ours competes for the same lock. Each works 5 ms
//! with it, and pauses 2 ms after it. `-- --seconds 60` measures longer, `-- --rivals 7` beside more, and
//! `-- --dir DIR` elsewhere than in `/dev/shm`.

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lockbydir::Lock;
use lockbydir_bench::{Aim, Ratio};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const WORK: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Locks until its standard input ends, then prints how often it had the lock.
const RIVAL: &str = "
import os, select, sys, time
directory, had = sys.argv[1], 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        os.mkdir(directory)
    except FileExistsError:
        time.sleep(0.002)
        continue
    time.sleep(0.005)
    os.rmdir(directory)
    had += 1
    time.sleep(0.002)
print(had)
";

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() -> Outcome {
    let (mut dir, mut seconds, mut rivals) = (PathBuf::from("/dev/shm"), 10_u64, 3_u32);
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or("a value is missing");
        match argument.to_str() {
            Some("--dir") => dir = next()?.into(),
            Some("--seconds") => seconds = next()?.to_string_lossy().parse()?,
            Some("--rivals") => rivals = next()?.to_string_lossy().parse()?,
            Some("--bench") => {}
            _ => return Err(format!("no such option: {}", argument.to_string_lossy()).into()),
        }
    }
    let folder = tempfile::tempdir_in(dir)?;
    let lock = Lock::new(folder.path().join("jobs"));
    let mut others = Vec::new();
    for _ in 0..rivals {
        let mut command = Command::new("python3");
        command.args(["-c", RIVAL]).arg(lock.path()?);
        others.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }

    let (begun, cpu_before, mut ours) = (Instant::now(), cpu(), 0_u32);
    let end = begun + Duration::from_secs(seconds);
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        let Ok(guard) = lock.clone().patience(rest).acquire() else { break };
        sleep(WORK);
        guard.release()?;
        ours += 1;
        sleep(PAUSE);
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - cpu_before);

    let mut theirs = Vec::new();
    for mut other in others {
        drop(other.stdin.take());
        let output = other.wait_with_output()?;
        theirs.push(String::from_utf8(output.stdout)?.trim().parse::<u32>()?);
    }
    let all = f64::from(ours + theirs.iter().sum::<u32>());
    let fair = all / f64::from(rivals + 1);
    println!("{ours:>10}  times ours had it in {took:.0} s; the others: {theirs:?}");
    println!("{:>10.2} % of a core is what ours used", 100.0 * used / took);
    let value = f64::from(ours) / fair;
    println!(
        "{}",
        Ratio { of: "our share", to: "a fair share", value, aim: Some(Aim::AtLeast(0.5)) }
    );
    std::io::stdout().flush()?;
    Ok(())
}
