//! Measures how often a holder works beyond its lock on a loaded machine. For each timeout, holders that
//! never renew or release work as long as `is_held` returns true, beside busy loops. A hold overlaps if
//! its last work is not before the next hold of the same lock.
//!
//! `overlaps SECONDS LOCKS BUSY TIMEOUT_MS...`

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockbydir::engine::boot;
use lockbydir::{Lock, Owner};

type Failure = Box<dyn std::error::Error>;

/// The number of contenders for each lock.
const HOLDERS: usize = 2;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role] if role == "busy" => loop {
            std::hint::spin_loop();
        },
        [role, name, timeout, until] if role == "hold" => {
            hold(name.as_ref(), millis(timeout)?, millis(until)?)
        }
        [seconds, locks, busy, timeouts @ ..] => {
            let (seconds, locks, busy) = (seconds.parse()?, locks.parse()?, busy.parse()?);
            println!("timeout  overlapping holds  all holds  longest overlap");
            for timeout in timeouts {
                measure(timeout, Duration::from_secs(seconds), locks, busy)?;
            }
            Ok(())
        }
        _ => Err("usage: overlaps SECONDS LOCKS BUSY TIMEOUT_MS...".into()),
    }
}

fn millis(text: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(text.parse()?))
}

/// Prints when each hold began and when its last work was, on the boot clock.
fn hold(name: &Path, timeout: Duration, until: Duration) -> Result<(), Failure> {
    let lock =
        Lock::new(name).timeout(timeout).patience(Duration::from_secs(60)).owner(Owner::Nobody);
    let mut holds = String::new();
    while boot() < until {
        let guard = lock.acquire()?;
        let begun = boot();
        let mut last = begun;
        while guard.is_held() {
            // This is the work.
            last = boot();
        }
        let _left_to_expire = guard.keep();
        holds += &format!("{} {}\n", begun.as_nanos(), last.as_nanos());
    }
    print!("{holds}");
    Ok(())
}

fn start(arguments: &[&str]) -> Result<Child, Failure> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?)
}

fn measure(timeout: &str, time: Duration, locks: usize, busy: usize) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("overlaps-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut loops = (0..busy).map(|_| start(&["busy"])).collect::<Result<Vec<_>, _>>()?;
    let until = (boot() + time).as_millis().to_string();
    let mut holders = Vec::new();
    for lock in 0..locks {
        let name = folder.join(format!("{timeout}-{lock}")).display().to_string();
        for _ in 0..HOLDERS {
            holders.push((lock, start(&["hold", &name, timeout, &until])?));
        }
    }
    let mut holds: Vec<Vec<(u64, u64)>> = vec![Vec::new(); locks];
    for (lock, mut holder) in holders {
        let mut output = String::new();
        holder.stdout.take().ok_or("no pipe")?.read_to_string(&mut output)?;
        if !holder.wait()?.success() {
            return Err("a holder failed".into());
        }
        for hold in output.lines() {
            let (begun, last) = hold.split_once(' ').ok_or("no hold")?;
            holds[lock].push((begun.parse()?, last.parse()?));
        }
    }
    for busy in &mut loops {
        busy.kill()?;
        busy.wait()?;
    }
    let (mut overlapping, mut longest) = (0, 0);
    for holds in &mut holds {
        holds.sort_unstable();
        for pair in holds.windows(2) {
            if let Some(over) = pair[0].1.checked_sub(pair[1].0) {
                overlapping += 1;
                longest = longest.max(over);
            }
        }
    }
    let all: usize = holds.iter().map(Vec::len).sum();
    println!("{timeout:>4} ms {overlapping:>18} {all:>10} {:>13} ms", longest / 1_000_000);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
