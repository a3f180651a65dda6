//! The worker for lockbydir in the comparison: reads one command per line, and answers with one line. The
//! Python and the Node workers use the same protocol; see `workers/README.md`.
//!
//! It has two other uses: `child` is the command that a lock of the shell runs; `loop` runs a command again
//! and again and counts.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockbydir::{Guard, Lock, Owner};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Returns the time of the clock that all workers of all languages share.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn sleep_until(at: u64) {
    std::thread::sleep(Duration::from_nanos(at.saturating_sub(now())));
}

fn spin_until(at: u64) {
    sleep_until(at.saturating_sub(1_000_000));
    while now() < at {
        std::hint::spin_loop();
    }
}

fn print_line(line: &str) {
    let mut out = stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn lock(path: &str, linger: bool) -> Lock {
    let lock = Lock::new(path).patience(Duration::from_secs(120));
    if linger { lock.linger(Duration::from_secs(1)) } else { lock }
}

/// Maps a word of shared memory that contains the process in the critical section.
fn witness(path: &str) -> Outcome<&'static AtomicU64> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    // SAFETY: a new mapping, never removed, of a file that has these 8 bytes.
    let at = unsafe {
        mmap(
            std::ptr::null_mut(),
            8,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &file,
            0,
        )
    }?;
    // SAFETY: aligned to a page, and only ever used as this word.
    Ok(unsafe { &*at.cast::<AtomicU64>() })
}

fn cost(lock: &Lock, turns: usize) -> Outcome<String> {
    let mut times = Vec::with_capacity(turns);
    for _ in 0..turns {
        let start = now();
        lock.acquire()?.release()?;
        times.push(now() - start);
    }
    times.sort_unstable();
    Ok(format!("cost {}", times[turns / 2]))
}

fn hammer(lock: &Lock, start: u64, end: u64, shared: &str) -> Outcome<String> {
    let word = witness(shared)?;
    let me = u64::from(std::process::id());
    let (mut count, mut longest, mut overlaps) = (0_u64, 0, 0_u64);
    sleep_until(start);
    loop {
        let asked = now();
        if asked >= end {
            break;
        }
        let guard = lock.acquire()?;
        let got = now();
        longest = longest.max(got - asked);
        overlaps += u64::from(word.swap(me, Ordering::SeqCst) != 0);
        overlaps += u64::from(word.swap(0, Ordering::SeqCst) != me);
        guard.release()?;
        count += u64::from(got < end);
    }
    Ok(format!("hammered {count} {longest} {overlaps}"))
}

/// Tries once at exactly this time; reports whether another process is in the critical section, too.
fn try_at(lock: &Lock, at: u64, hold: u64, shared: &str) -> Outcome<String> {
    spin_until(at);
    let Some(guard) = lock.try_acquire()? else {
        return Ok("tried out".into());
    };
    let alone = std::fs::OpenOptions::new().write(true).create_new(true).open(shared).is_ok();
    std::thread::sleep(Duration::from_millis(hold));
    if alone {
        std::fs::remove_file(shared)?;
    }
    // After an overlap the release may fail; the count shows the overlap.
    let _ = guard.release();
    Ok(format!("tried {}", if alone { "in" } else { "overlap" }))
}

/// Leaves a lock that nobody holds any more: alternately that of a dead process, and one that has
/// expired.
fn corpse(path: &str, expired: bool) -> Outcome {
    if expired {
        // The shortest that the library accepts.
        let timeout = Duration::from_millis(100);
        let _key = Lock::new(path).owner(Owner::Nobody).timeout(timeout).acquire()?.keep();
        std::thread::sleep(timeout + Duration::from_millis(20));
        return Ok(());
    }
    let status = Command::new(std::env::current_exe()?).args(["die", path]).status()?;
    if status.success() { Ok(()) } else { Err("the one to die did not get the lock".into()) }
}

fn serve(linger: bool) -> Outcome {
    let mut path = String::new();
    let mut current = lock("", linger);
    let mut guard: Option<Guard> = None;
    let mut expired = false;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["path", to] => {
                path = to.into();
                current = lock(to, linger);
                "ok".into()
            }
            ["cost", turns] => cost(&current, turns.parse()?)?,
            ["acquire"] => {
                guard = Some(current.acquire()?);
                format!("got {}", now())
            }
            ["release"] => {
                let start = now();
                guard.take().ok_or("nothing is held")?.release()?;
                format!("released {start}")
            }
            ["hammer", start, end, shared] => {
                hammer(&current, start.parse()?, end.parse()?, shared)?
            }
            ["try", at, hold, shared] => try_at(&current, at.parse()?, hold.parse()?, shared)?,
            ["corpse"] => {
                expired = !expired;
                corpse(&path, expired)?;
                "ok".into()
            }
            ["work"] => {
                let on_lost =
                    |error: &lockbydir::Error| print_line(&format!("notified {} {error}", now()));
                let lock = current.clone().renew_automatically(true).on_lost(on_lost);
                guard = Some(lock.acquire()?);
                format!("got {}", now())
            }
            _ => return Err(format!("no such command: {line}").into()),
        };
        print_line(&answer);
    }
    Ok(())
}

/// Runs under a lock of the shell: reports when it started, and ends when it receives a line.
fn child() -> Outcome {
    print_line(&format!("got {}", now()));
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    print_line(&format!("released {}", now()));
    Ok(())
}

/// Runs a command again and again: a number of times, or from one time until another.
fn run_loop(words: &[String]) -> Outcome {
    let run = |command: &[String]| -> Outcome {
        let status = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
    };
    if words[0] == "cost" {
        let turns: usize = words[1].parse()?;
        let mut times = Vec::with_capacity(turns);
        for _ in 0..turns {
            let start = now();
            run(&words[2..])?;
            times.push(now() - start);
        }
        times.sort_unstable();
        print_line(&format!("cost {}", times[turns / 2]));
        return Ok(());
    }
    let (start, end): (u64, u64) = (words[0].parse()?, words[1].parse()?);
    let (mut count, mut longest) = (0_u64, 0);
    sleep_until(start);
    loop {
        let asked = now();
        if asked >= end {
            break;
        }
        run(&words[2..])?;
        let done = now();
        longest = longest.max(done - asked);
        count += u64::from(done < end);
    }
    print_line(&format!("hammered {count} {longest} 0"));
    Ok(())
}

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("plain") => serve(false),
        Some("linger") => serve(true),
        Some("child") => child(),
        Some("loop") => run_loop(&words[1..]),
        Some("die") => {
            let _guard = Lock::new(&words[1]).acquire()?;
            // Nothing is dropped: the lock stays behind.
            std::process::exit(0)
        }
        _ => Err("usage: rivals-worker plain|linger|child|loop|die".into()),
    }
}
